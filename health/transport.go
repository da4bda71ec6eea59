package health

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// Transport is how a server is spoken to below its protocol. The zero value is
// a bare connection.
type Transport struct {
	TLS   *TLS
	Host  string // the server as it was written: its name for a TLS without ServerName
	Proxy uint8  // version of the PROXY protocol header that comes first, 1 or 2; 0: none
}

// Key is the canonical text of t, "" for a bare connection: two Transports with
// the same Key may share connections and verdicts. Certificates and keys stand
// in it as digests. See KeyFor for many servers.
func (t *Transport) Key() string { return KeyFor(t.TLS, t.Proxy)(t.Host) }

// KeyFor gives the Key of the Transports that differ in their Host alone.
func KeyFor(t *TLS, proxy uint8) func(host string) string {
	var b []byte
	if proxy != 0 {
		b = strconv.AppendUint(append(b, "proxy=v"...), uint64(proxy), 10)
	}
	if t == nil {
		bare := string(b)
		return func(string) string { return bare }
	}
	if proxy != 0 {
		b = append(b, ' ')
	}
	b = append(b, "tls"...)
	if t.Insecure {
		b = append(b, " insecure"...)
	}
	for _, pem := range []struct {
		key  string
		text []byte
	}{{" ca=", t.CA}, {" cert=", t.Cert}, {" key=", t.Key}} {
		if len(pem.text) > 0 {
			sum := sha256.Sum256(pem.text)
			b = fmt.Appendf(append(b, pem.key...), "%x", sum[:16])
		}
	}
	secure := string(b) + " name="
	return func(host string) string { return secure + strconv.Quote(t.name(host)) }
}

// proxyHeaders are the headers of connections that are for nobody but the sender,
// by version (proxy-protocol.txt, sections 2.1 and 2.2): a check has no client.
var proxyHeaders = [...]string{
	1: "PROXY UNKNOWN\r\n",
	2: "\r\n\r\n\x00\r\nQUIT\n" + "\x20" + "\x00" + "\x00\x00", // LOCAL, no address
}

// entrance is what a probe goes through before it is where requests go.
type entrance struct {
	proxy string      // header to begin with, "" for none
	tls   *tls.Config // nil: in the clear
}

// entranceTo is how c reaches a server that is spoken to by t. A check of
// another port than the server's own meets another listener, most likely a
// plain one: what it takes to reach it must be said.
func entranceTo(t *Transport, c *Check, serverPort uint16) (entrance, error) {
	var e entrance
	own := c.Port == 0 || c.Port == serverPort
	if own && t.Proxy != 0 {
		e.proxy = proxyHeaders[t.Proxy]
	}
	secure := t.TLS
	switch {
	case c.Scheme == "http" || c.Scheme == "" && !own:
		secure = nil
	case c.Scheme == "https" && secure == nil:
		secure = &TLS{}
	}
	var err error
	e.tls, err = secure.Config(t.Host)
	return e, err
}

// enter is conn once it is where requests go, and the step that failed.
func (e *entrance) enter(conn net.Conn) (inner net.Conn, step string, err error) {
	if e.proxy != "" {
		if _, err := io.WriteString(conn, e.proxy); err != nil {
			return conn, "send", err
		}
	}
	if e.tls == nil {
		return conn, "", nil
	}
	secure := tls.Client(conn, e.tls)
	if err := secure.Handshake(); err != nil {
		return conn, "tls handshake", err
	}
	return secure, "", nil
}

// leave ends a probe that has nothing to ask. What the server has sent after the
// handshake (tickets) is read, because a close with unread bytes is a reset, which
// servers report as an error.
func leave(conn net.Conn) {
	secure, ok := conn.(*tls.Conn)
	if ok && secure.CloseWrite() == nil && secure.SetReadDeadline(time.Now().Add(drainTime)) == nil {
		_, _ = io.CopyN(io.Discard, secure, maxDrain) // best effort by nature
	}
}
