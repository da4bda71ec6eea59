package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/proxy/proxyproto"
	"arzur.net/lb/rules"
)

var (
	someClient = netip.MustParseAddrPort("192.0.2.7:4711")
	someFront  = netip.MustParseAddrPort("198.51.100.9:443")

	headerV1 = string(proxyproto.AppendLine(nil, someClient, someFront))
	headerV2 = string(proxyproto.AppendBinary(nil, someClient, someFront))
	localV2  = string(proxyproto.AppendBinary(nil, netip.AddrPort{}, netip.AddrPort{}))
)

// behindProxy has the port of a bed expect headers from this machine.
func behindProxy(b *bed) {
	b.rule.ProxyIn = true
	b.opts.Trusted = loopback
}

// forwardedFor is a server that answers with X-Forwarded-For.
func forwardedFor(t *testing.T) string {
	return backend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-For"))
	})
}

func TestProxyIn_HTTP(t *testing.T) {
	b := newBed(t, behindProxy, forwardedFor(t))
	const request = "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.1\r\nConnection: close\r\n\r\n"
	f := func(header, want string) {
		t.Helper()
		got := b.exchange(header + request)
		require.Equal(t, "200 OK", status(got))
		require.True(t, strings.HasSuffix(got, "\r\n\r\n"+want), got)
	}
	f(headerV1, "192.0.2.7") // whose own word is not believed: it is no trusted proxy
	f(headerV2, "192.0.2.7")
	f("PROXY UNKNOWN\r\n", "203.0.113.1, 127.0.0.1") // the connection's own end, which is
	f(localV2, "203.0.113.1, 127.0.0.1")

	c := b.dial() // in small pieces, and then two requests
	for i := range len(headerV2) {
		_, err := io.WriteString(c, headerV2[i:i+1])
		require.NoError(t, err)
	}
	r := bufio.NewReader(c)
	for range 2 {
		_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		res, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, "192.0.2.7", string(body))
	}
}

func TestProxyIn_TLS(t *testing.T) {
	b := newTLSBed(t, func(b *tlsBed) { behindProxy(b.bed) }, forwardedFor(t))
	f := func(write func(c net.Conn)) {
		t.Helper()
		c := b.dial()
		write(c)
		s := tls.Client(c, b.client)
		_, body := ask(t, s, getA)
		require.Equal(t, "192.0.2.7", body)
	}
	f(func(c net.Conn) {
		_, err := io.WriteString(c, headerV1)
		require.NoError(t, err)
	})
	f(func(c net.Conn) {
		for i := range len(headerV2) {
			_, err := io.WriteString(c, headerV2[i:i+1])
			require.NoError(t, err)
		}
	})
	c := &prefixed{Conn: b.dial(), prefix: headerV1} // together with the ClientHello
	_, body := ask(t, tls.Client(c, b.client), getA)
	require.Equal(t, "192.0.2.7", body)

	// The rest of the header and a ClientHello that is longer than the buffer in
	// which the header was begun.
	before := b.scrape()["lb_client_read_bytes_total"]
	c = &prefixed{Conn: b.dial(), prefix: headerV1[10:]}
	_, err := io.WriteString(c.Conn, headerV1[:10])
	require.NoError(t, err)
	require.Eventually(t, func() bool { return b.scrape()["lb_client_read_bytes_total"] == before+10 }, eventually, tick)
	_, body = ask(t, tls.Client(c, b.client), getA)
	require.Equal(t, "192.0.2.7", body)
}

// prefixed writes prefix before, and with, the first write.
type prefixed struct {
	net.Conn
	prefix string
}

func (p *prefixed) Write(b []byte) (int, error) {
	if p.prefix == "" {
		return p.Conn.Write(b)
	}
	_, err := p.Conn.Write(append([]byte(p.prefix), b...))
	p.prefix = ""
	return len(b), err
}

func TestProxyIn_Streams(t *testing.T) {
	b := newBed(t, func(b *bed) {
		behindProxy(b)
		b.rule.Protocol = rules.TCP
	}, echoServer(t, ""))
	got, err := b.say(headerV2 + "data")
	require.NoError(t, err)
	require.Equal(t, "data", got)

	sni := newBed(t, func(b *bed) {
		behindProxy(b)
		b.rule.Protocol, b.rule.Hostname = rules.SNI, "*.arzur.net"
	}, tlsServer(t, "hello"))
	got, err = hear(&prefixed{Conn: sni.dial(), prefix: headerV1}, "blog.arzur.net")
	require.NoError(t, err)
	require.Equal(t, "hello", got)
}

func TestProxyIn_OnlyFromTrustedPeers(t *testing.T) {
	b := newBed(t, func(b *bed) { b.rule.ProxyIn = true }, forwardedFor(t)) // nobody is
	require.Equal(t, "400 Bad Request", status(b.exchange(headerV1+"GET / HTTP/1.1\r\nHost: x\r\n\r\n")))
	_, body := get(t, b.url("/"))
	require.Equal(t, "127.0.0.1", body)

	stream := newBed(t, func(b *bed) { b.rule.ProxyIn, b.rule.Protocol = true, rules.TCP }, echoServer(t, ""))
	got, err := stream.say(headerV1)
	require.NoError(t, err)
	require.Equal(t, headerV1, got, "bytes like any other")
}

func TestProxyIn_WhatIsNoHeader(t *testing.T) {
	f := func(protocol, sent, detail string) {
		t.Helper()
		l := newLogged(t, "json", func(b *bed) {
			behindProxy(b)
			b.rule.Protocol = protocol
		}, echoServer(t, "a"))
		c := l.dial()
		_, err := io.WriteString(c, sent)
		require.NoError(t, err)
		got, err := io.ReadAll(c)
		require.ErrorIs(t, err, syscall.ECONNRESET)
		require.Empty(t, got)
		lines := l.end()
		require.Len(t, lines, 1)
		require.Contains(t, lines[0], `"reason":"bad_proxy_header","detail":"`+detail)
	}
	f(rules.HTTP, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "no PROXY protocol header")
	f(rules.HTTP, "PROXY TCP4 192.0.2.7\r\n", "PROXY line has not the form of its protocol")
	f(rules.TCP, "PROXY TCP4 192.0.2.7 192.0.2.8 1 x\r\n", "PROXY line has an invalid port")
	f(rules.TCP, headerV2[:12]+"\x11", "PROXY protocol header of an unknown version or command")
	f(rules.SNI, "\x16\x03\x01", "no PROXY protocol header")
}

// announced is a server that reads a header and answers with whom it speaks for.
func announced(t *testing.T) string {
	return server(t, func(c *net.TCPConn) {
		defer func() { _ = c.Close() }()
		var b []byte
		for {
			h, ok, err := proxyproto.Parse(b)
			if err != nil {
				_, _ = io.WriteString(c, err.Error())
				return
			}
			if ok {
				rest := string(b[h.Size:])
				_, _ = io.WriteString(c, h.Source.String()+" to "+h.Destination.String()+" says "+rest)
				_, _ = io.Copy(c, c)
				return
			}
			one := make([]byte, 1)
			if _, err := c.Read(one); err != nil {
				return
			}
			b = append(b, one...)
		}
	})
}

func TestProxyOut_Streams(t *testing.T) {
	for _, version := range []rules.ProxyProtocol{rules.ProxyV1, rules.ProxyV2} {
		b := newBed(t, func(b *bed) {
			b.rule.Protocol = rules.TCP
			b.service.ProxyProtocol = version
		}, refusing(t), announced(t))
		for range 3 {
			c := b.dialTCP()
			_, err := io.WriteString(c, "hi")
			require.NoError(t, err)
			require.NoError(t, c.CloseWrite())
			got, err := io.ReadAll(c)
			require.NoError(t, err)
			require.Equal(t, c.LocalAddr().String()+" to "+b.addr()+" says hi", string(got))
		}

		through := newBed(t, func(b *bed) { // what one proxy says is passed on
			behindProxy(b)
			b.rule.Protocol = rules.TCP
			b.service.ProxyProtocol = version
		}, announced(t))
		got, err := through.say(headerV1)
		require.NoError(t, err)
		require.Equal(t, someClient.String()+" to "+someFront.String()+" says ", got)
	}
}

// headerConn is a connection behind its header.
type headerConn struct {
	net.Conn
	r      *bufio.Reader
	source netip.AddrPort
}

func (c *headerConn) Read(p []byte) (int, error) { return c.r.Read(p) }
func (c *headerConn) RemoteAddr() net.Addr       { return net.TCPAddrFromAddrPort(c.source) }

// headerListener takes the header off each connection.
type headerListener struct{ net.Listener }

func (l headerListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	h := &headerConn{Conn: c, r: bufio.NewReaderSize(c, proxyproto.MaxSize)}
	for n := 1; ; n++ {
		b, err := h.r.Peek(n)
		if err != nil {
			return nil, err
		}
		header, ok, err := proxyproto.Parse(b)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		if ok {
			h.source = header.Source
			_, err = h.r.Discard(header.Size)
			return h, err
		}
	}
}

func TestProxyOut_HTTPHasAConnectionForEachRequest(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.RemoteAddr)
	})}
	go func() { _ = s.Serve(headerListener{l}) }() // ends with Close
	t.Cleanup(func() { _ = s.Close() })
	b := newBed(t, func(b *bed) {
		b.service.ProxyProtocol = rules.ProxyV2
		b.opts.UpstreamKeepAlive = time.Minute
	}, l.Addr().String())
	for range 3 {
		c := b.dial()
		for range 2 {
			_, body := ask(t, c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			require.Equal(t, c.LocalAddr().String(), body)
		}
	}
	require.Zero(t, b.scrape()["lb_upstream_reused_total"])
}

func TestProxyOut_BeforeTLS(t *testing.T) {
	ca := newAuthority(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.RemoteAddr)
	})}
	go func() { // ends with Close
		_ = s.Serve(tls.NewListener(headerListener{l}, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "back.test")}}))
	}()
	t.Cleanup(func() { _ = s.Close() })
	b := newBed(t, func(b *bed) {
		securely(ca)(b)
		b.service.ProxyProtocol = rules.ProxyV1
	}, l.Addr().String())
	c := b.dial()
	_, body := ask(t, c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.Equal(t, c.LocalAddr().String(), body)
}

func TestProxyIn_HelloThatFillsTheBufferOfItsHeader(t *testing.T) {
	b := newTLSBed(t, func(b *tlsBed) { b.loops = 1; behindProxy(b.bed) }, forwardedFor(t))
	c := b.dial()
	last := len(headerV2) - 1
	_, err := io.WriteString(c, headerV2[:last])
	require.NoError(t, err)
	b.until(func(k *core) bool { return len(k.clients) == 1 && k.clients[0].in != nil })
	_, body := ask(t, tls.Client(&prefixed{Conn: c, prefix: headerV2[last:]}, b.client), getA)
	require.Equal(t, "192.0.2.7", body)
}
