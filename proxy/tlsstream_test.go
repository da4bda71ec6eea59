package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules"
)

// newTLSStreamBed is a port of protocol tls in front of servers in the clear.
func newTLSStreamBed(t *testing.T, change func(*tlsBed), backends ...string) *tlsBed {
	return newTLSBed(t, func(b *tlsBed) {
		b.rule.Protocol = rules.TLS
		b.server.NextProtos = nil
		if change != nil {
			change(b)
		}
	}, backends...)
}

func TestTLSStream_EndsTLSAndCarriesTheRest(t *testing.T) {
	b := newTLSStreamBed(t, nil, echoServer(t, "a"), echoServer(t, "b"))
	long := strings.Repeat("0123456789abcdef", 1<<17) // 2 MiB: more than sockets hold, so both directions wait
	for _, name := range []string{"a", "b", "a"} {
		c := b.dialTLS(func(c *tls.Config) { c.NextProtos = []string{"postgresql"} })
		go func() { // ends with the last byte, for which the reader waits
			_, _ = io.WriteString(c, long)
			_ = c.CloseWrite()
		}()
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Equal(t, len(name+long), len(got))
		require.True(t, string(got) == name+long)
	}
}

func TestTLSStream_ChoosesByServerName(t *testing.T) {
	b := newTLSStreamBed(t, func(b *tlsBed) { b.rule.Hostname = "a.test" }, echoServer(t, "a"))
	c := b.dialTLS()
	got := make([]byte, 1)
	_, err := io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, "a", string(got))
	other := b.dialTLS(func(c *tls.Config) { c.ServerName = "b.test" }) // has a certificate, and no rule
	_, err = io.ReadAll(other)
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

// A name that only looks like one that demands client certificates is another name.
func TestTLSStream_NamesLikeADemandingOneDoNotGetAroundIt(t *testing.T) {
	b := newTLSStreamBed(t, func(b *tlsBed) {
		withClientAuth(b)
		b.rule.Hostname = "b.test"
		inner := b.server.GetCertificate
		b.server.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { // a default for every name
			return inner(&tls.ClientHelloInfo{})
		}
	}, echoServer(t, "secret"))
	for _, name := range []string{"b.test:443", "[b.test]", "[b.test]:1"} {
		c := b.dialTLS(func(c *tls.Config) { c.ServerName, c.InsecureSkipVerify = name, true })
		_, err := io.ReadAll(c)
		require.ErrorIs(t, err, syscall.ECONNRESET, name)
	}
	c := b.dialTLS(func(c *tls.Config) {
		c.ServerName, c.Certificates = "b.test", []tls.Certificate{b.ca.issue(t, "client")}
	})
	got := make([]byte, 6)
	_, err := io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, "secret", string(got))
}

func TestTLSStream_Postgres(t *testing.T) {
	b := newTLSStreamBed(t, nil, echoServer(t, "ready"))
	c := b.dial()
	_, err := io.WriteString(c, "\x00\x00\x00\x08\x04\xd2\x16\x2f")
	require.NoError(t, err)
	said := make([]byte, 1)
	_, err = io.ReadFull(c, said)
	require.NoError(t, err)
	require.Equal(t, "S", string(said))
	s := tls.Client(c, b.client)
	got := make([]byte, 5)
	_, err = io.ReadFull(s, got)
	require.NoError(t, err)
	require.Equal(t, "ready", string(got))
}

func TestTLSStream_ToServersThatSpeakTLS(t *testing.T) {
	ca := newAuthority(t)
	config := &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "back.test")}, NextProtos: []string{"postgresql"}}
	at := server(t, func(c *net.TCPConn) {
		s := tls.Server(c, config)
		_, _ = io.WriteString(s, "inside")
		_, _ = io.Copy(s, s)
		_ = s.Close()
	})
	b := newBed(t, func(b *bed) {
		b.rule.Protocol = rules.TCP
		securely(ca)(b)
	}, at)
	got, err := b.say(" and out")
	require.NoError(t, err)
	require.Equal(t, "inside and out", got)
}

func TestTLSStream_NoCertificate(t *testing.T) {
	b := newTLSStreamBed(t, nil, echoServer(t, "a"))
	b.opts.TLS = map[string]*tls.Config{}
	b.apply()
	c := tls.Client(b.dial(), b.client)
	require.Error(t, c.Handshake())
}

func TestTLSStream_NotTLS(t *testing.T) {
	f := func(sent, detail, want string) {
		t.Helper()
		l := newLogged(t, "json", streams(rules.TLS), echoServer(t, "a"))
		c := l.dial()
		_, err := io.WriteString(c, sent)
		require.NoError(t, err)
		got, err := io.ReadAll(c)
		require.True(t, err == nil || errors.Is(err, syscall.ECONNRESET), "%v", err)
		require.Contains(t, string(got), want)
		require.False(t, want == "" && len(got) > 0, "%q", got)
		lines := l.end()
		require.Len(t, lines, 1)
		require.Contains(t, lines[0], `"reason":"bad_hello"`)
		require.Contains(t, lines[0], detail)
	}
	f("GET / HTTP/1.1\r\n\r\n", "not TLS but text, such as HTTP in the clear", "HTTP/1.1 400 Bad Request\r\n")
	f("EHLO a\r\n", "not TLS but text", "")
	f("\x05\x01\x00", "not TLS", "")
}

// records notes the last record that is read from a connection of TLS 1.2.
type records struct {
	net.Conn
	seen []byte
}

func (r *records) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.seen = append(r.seen, p[:n]...)
	return n, err
}

// last is the type of the last one.
func (r *records) last() (kind byte) {
	for b := r.seen; len(b) >= 5; b = b[5+int(b[3])<<8+int(b[4]):] {
		kind = b[0]
	}
	return kind
}

func TestTLSStream_EndIsPassedOnAsItWas(t *testing.T) {
	const alert, data = 21, 23
	ca := newAuthority(t)
	config := &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "back.test")}, MaxVersion: tls.VersionTLS12}
	f := func(end func(s *tls.Conn, c net.Conn) error, want byte) {
		t.Helper()
		heard := make(chan byte, 1)
		at := server(t, func(c *net.TCPConn) {
			r := &records{Conn: c}
			s := tls.Server(r, config)
			_, _ = io.WriteString(s, "half")
			_ = end(s, c)
			_, _ = io.Copy(io.Discard, s)
			heard <- r.last()
		})
		b := newTLSStreamBed(t, func(b *tlsBed) {
			b.client.MaxVersion = tls.VersionTLS12
			securely(ca)(b.bed)
		}, at)
		c := b.dial()
		r := &records{Conn: c}
		s := tls.Client(r, b.client)
		got, err := io.ReadAll(s)
		require.NoError(t, err)
		require.Equal(t, "half", string(got))
		require.Equal(t, want, r.last(), "to the client")
		_, err = io.WriteString(s, "other half")
		require.NoError(t, err)
		require.NoError(t, end(s, c))
		require.Equal(t, want, <-heard, "to the server")
	}
	f(func(s *tls.Conn, _ net.Conn) error { return s.CloseWrite() }, alert)
	f(func(_ *tls.Conn, c net.Conn) error { return c.(*net.TCPConn).CloseWrite() }, data)
}
