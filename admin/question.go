package admin

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"arzur.net/lb/certs"
	"arzur.net/lb/rules"
)

// Question is a request that is asked about: which rule takes it, and why not another?
type Question struct {
	URL    string   // "http://arzur.net:8010/blog"; without a scheme it is http
	Method string   // "": GET
	Header []string // "Name: value"; Host stands instead of the one in URL
	Client string   // IP address; "": 127.0.0.1
}

// asked is a Question as the engine would see it. It is the Fields of its Request.
type asked struct {
	rules.Request
	url    *url.URL
	port   uint16
	at     netip.Addr // the host of the URL if that is an address
	fields []rules.HeaderField
}

// defaultPorts are those of URLs that name none.
var defaultPorts = map[string]string{"http": "80", "ws": "80", "https": "443", "wss": "443"}

// longestHost is what a client may name: a DNS name, or a little more.
const longestHost = 255

// read says what is wrong with q.
func (q *Question) read() (*asked, error) {
	text := q.URL
	if text == "" {
		return nil, errors.New("url: missing; want http://arzur.net:8010/blog")
	}
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("url %q: %w", q.URL, errors.Unwrap(err))
	}
	a := &asked{url: u}
	if a.port, err = portOf(u); err != nil {
		return nil, fmt.Errorf("url %q: %w", q.URL, err)
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		a.at = ip.Unmap().WithZone("")
	}
	a.Method, a.Query, a.Fields = []byte("GET"), []byte(u.RawQuery), a
	if q.Method != "" {
		a.Method = []byte(q.Method)
	}
	a.Client = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if q.Client != "" {
		if a.Client, err = netip.ParseAddr(q.Client); err != nil {
			return nil, fmt.Errorf("client %q: want an IP address", q.Client)
		}
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	a.Path, _ = rules.CleanPath(nil, []byte(path))
	return a, a.readHeader(q.Header)
}

func portOf(u *url.URL) (uint16, error) {
	text := u.Port()
	if text == "" {
		text = defaultPorts[u.Scheme]
	}
	if text == "" {
		return 0, fmt.Errorf("no port; want %s://%s:PORT", u.Scheme, u.Host)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("port %s; want 1 to 65535", text)
	}
	return uint16(port), nil
}

func (a *asked) readHeader(lines []string) error {
	host := a.url.Host
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		switch {
		case !ok || name == "":
			return fmt.Errorf("header %q: want Name: value", line)
		case strings.EqualFold(name, "Host"):
			host = value
		default:
			a.fields = append(a.fields, rules.HeaderField{Name: name, Value: value})
		}
	}
	if a.Host = rules.NormalizeHost(nil, []byte(host)); len(a.Host) > longestHost {
		return fmt.Errorf("host: %d letters; want %d at most", len(a.Host), longestHost)
	}
	return nil
}

// Value implements rules.Fields.
func (a *asked) Value(name string, i int) ([]byte, bool) {
	for _, f := range a.fields {
		if !strings.EqualFold(f.Name, name) {
			continue
		}
		if i == 0 {
			return []byte(f.Value), true
		}
		i--
	}
	return nil, false
}

// secure says that the client begins with TLS.
func (a *asked) secure() bool { return defaultPorts[a.url.Scheme] == "443" }

// certificate is what the client gets to see, in words.
func (a *asked) certificate(store *certs.Store) string {
	name := a.url.Hostname()
	if a.at.IsValid() {
		name = a.at.String() // a client asks for none then, and means where it connects to
	}
	var c *tls.Certificate
	if store != nil {
		c, _ = store.GetCertificate(&tls.ClientHelloInfo{ServerName: name})
	}
	if c == nil {
		return fmt.Sprintf("no certificate for %q: the handshake is refused (unrecognized_name)", name)
	}
	names := slices.Clone(c.Leaf.DNSNames)
	for _, ip := range c.Leaf.IPAddresses {
		names = append(names, ip.String())
	}
	text, end := "certificate for "+strings.Join(names, ", "), c.Leaf.NotAfter.UTC().Format(time.RFC3339)
	switch {
	case time.Now().After(c.Leaf.NotAfter):
		return text + ", expired on " + end
	case c.Leaf.VerifyHostname(name) != nil:
		return text + ", which is not for " + name
	}
	return text + " until " + end
}

// listeners are those that may get the request: of the port, at the address of
// the URL if it has one.
func (a *asked) listeners(t *rules.Table) ([]rules.Listen, error) {
	var here, named, anywhere []rules.Listen
	for _, l := range t.Ports() {
		switch {
		case l.Port != a.port || (l.Protocol == rules.UDP) != (a.url.Scheme == rules.UDP):
			continue
		case l.Address == a.at && a.at.IsValid():
			here = append(here, l)
		case l.Address.IsValid():
			named = append(named, l)
		default:
			anywhere = append(anywhere, l)
		}
	}
	switch {
	case len(here) > 0:
		return here, nil
	case !a.at.IsValid():
		anywhere = slices.Concat(named, anywhere) // whose address the name has is not ours to know
	}
	if len(anywhere) == 0 {
		return nil, fmt.Errorf("nobody listens on %s; %s", at(a.at, a.port), listeners(t))
	}
	return anywhere, nil
}

func at(address netip.Addr, port uint16) string {
	return rules.Listen{Address: address, Port: port}.String()
}

// listeners is where t listens, in words.
func listeners(t *rules.Table) string {
	const most = 10
	ports := t.Ports()
	if len(ports) == 0 {
		return "there is no listener"
	}
	var names []string
	for _, l := range ports[:min(len(ports), most)] {
		names = append(names, l.String())
	}
	text := "listeners are " + strings.Join(names, ", ")
	if n := len(ports) - most; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}
