package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// ednsSize is what fits every path without fragments, as agreed on DNS flag day 2020.
	ednsSize = 1232
	// dnsTimeout and dnsAttempts hold for servers that the configuration names;
	// resolv.conf has its own.
	dnsTimeout  = 2 * time.Second
	dnsAttempts = 2
)

// resolvConf is where the system says which name servers there are.
const resolvConf = "/etc/resolv.conf"

// dnsClient asks name servers. It is immutable.
type dnsClient struct {
	servers  []string // host:port, asked in this order
	search   *dns.ClientConfig
	timeout  time.Duration // for one answer
	attempts int           // rounds over all servers
	exchange exchangeFunc
}

// exchangeFunc sends a query to a server by "udp" or "tcp" and returns its response.
type exchangeFunc func(ctx context.Context, network, server string, q *dns.Msg) (*dns.Msg, error)

// newDNSClient is a client of the servers, or of the system's when there are none.
func newDNSClient(servers []string, exchange exchangeFunc) (*dnsClient, error) {
	if len(servers) > 0 {
		// Names are looked up as they are: the system's search list is about its own servers.
		return &dnsClient{servers, &dns.ClientConfig{}, dnsTimeout, dnsAttempts, exchange}, nil
	}
	return systemDNSClient(resolvConf, exchange)
}

// systemDNSClient is a client of the servers that a resolv.conf(5) names; without
// one, of this machine's.
func systemDNSClient(file string, exchange exchangeFunc) (*dnsClient, error) {
	conf, err := dns.ClientConfigFromFile(file)
	if errors.Is(err, os.ErrNotExist) {
		conf, err = &dns.ClientConfig{Port: "53", Timeout: int(dnsTimeout / time.Second), Attempts: dnsAttempts}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read name servers: %w", err)
	}
	if len(conf.Servers) == 0 {
		conf.Servers = []string{"127.0.0.1"}
	}
	c := &dnsClient{nil, conf, time.Duration(conf.Timeout) * time.Second, conf.Attempts, exchange}
	for _, host := range conf.Servers {
		c.servers = append(c.servers, net.JoinHostPort(host, conf.Port))
	}
	return c, nil
}

// noRecords is the error of a name about which a server knows that it has none.
type noRecords struct {
	name  string
	kind  uint16
	rcode int
}

func (e *noRecords) Error() string {
	if e.rcode == dns.RcodeNameError {
		return withoutDot(e.name) + " does not exist (NXDOMAIN)"
	}
	return fmt.Sprintf("%s has no %s record", withoutDot(e.name), dns.TypeToString[e.kind])
}

func isNone(err error) bool {
	var none *noRecords
	return errors.As(err, &none)
}

// withoutDot is an absolute name as people write it.
func withoutDot(name string) string { return strings.TrimSuffix(name, ".") }

// ask returns the answer to one question, over TCP if it does not fit a packet.
// A name that does not exist has an empty answer.
func (c *dnsClient) ask(ctx context.Context, name string, kind uint16) (*dns.Msg, error) {
	var last error
	for range c.attempts {
		for _, server := range c.servers {
			r, err := c.askServer(ctx, server, name, kind)
			if err == nil {
				return r, nil
			}
			last = err
			if ctx.Err() != nil {
				return nil, last
			}
		}
	}
	return nil, last
}

func (c *dnsClient) askServer(ctx context.Context, server, name string, kind uint16) (*dns.Msg, error) {
	q := new(dns.Msg).SetQuestion(name, kind).SetEdns0(ednsSize, false)
	r, err := c.send(ctx, server, q)
	if err == nil && (r.Rcode == dns.RcodeFormatError || r.Rcode == dns.RcodeNotImplemented) {
		// RFC 6891 section 7: the server may be older than EDNS.
		r, err = c.send(ctx, server, new(dns.Msg).SetQuestion(name, kind))
	}
	if err == nil && r.Rcode != dns.RcodeSuccess && r.Rcode != dns.RcodeNameError {
		err = errors.New(dns.RcodeToString[r.Rcode])
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s for %s %s: %w", server, withoutDot(name), dns.TypeToString[kind], err)
	}
	return r, nil
}

// send asks by UDP, and by TCP when the response was cut short, or may have been:
// Consul leaves out what does not fit without a word, unless told otherwise.
func (c *dnsClient) send(ctx context.Context, server string, q *dns.Msg) (*dns.Msg, error) {
	short, err := c.sendBy(ctx, "udp", server, q)
	if short == nil || !short.Truncated && (err != nil || !isFull(short)) {
		return short, err
	}
	r, err := c.sendBy(ctx, "tcp", server, q)
	switch {
	case err != nil && !short.Truncated:
		return short, nil // it says that it is all there is
	case err != nil:
		return nil, err
	case r.Truncated:
		return nil, errors.New("cut short even over TCP")
	}
	return r, nil
}

// isFull says whether a response takes up so much of a packet that one more record
// may have had no room. Servers reckon without compression.
func isFull(r *dns.Msg) bool {
	plain := *r
	plain.Compress = false
	return plain.Len() > ednsSize/2
}

func (c *dnsClient) sendBy(ctx context.Context, network, server string, q *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r, err := c.exchange(ctx, network, server, q)
	// The socket may notice before the context does.
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, fmt.Errorf("no answer by %s within %v", network, c.timeout)
	}
	if err == nil && !answers(r, q) {
		return nil, errors.New("the response is not to this question")
	}
	return r, err
}

// answers says whether r is about the question of q.
func answers(r, q *dns.Msg) bool {
	return r.Response && r.Opcode == q.Opcode && len(r.Question) == 1 && r.Question[0].Qtype == q.Question[0].Qtype &&
		strings.EqualFold(r.Question[0].Name, q.Question[0].Name)
}

// exchangeBySocket is an exchangeFunc over a socket of its own, so that every
// query has a source port that nobody can foretell (RFC 5452 section 9.2).
func exchangeBySocket(ctx context.Context, network, server string, q *dns.Msg) (*dns.Msg, error) {
	client := dns.Client{Net: network}
	conn, err := client.DialContext(ctx, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// The client knows ctx's deadline, but not that it ends early.
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if deadline, ok := ctx.Deadline(); ok {
		client.Timeout = time.Until(deadline)
	}
	r, _, err := client.ExchangeWithConnContext(ctx, q, conn)
	return r, err
}
