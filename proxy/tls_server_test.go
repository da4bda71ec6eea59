package proxy

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/health"
)

// secureBackend starts a net/http server behind TLS with a certificate for
// back.test, and returns its address.
func secureBackend(t *testing.T, ca *authority, change func(*tls.Config), h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "back.test")}}
	if change != nil {
		change(s.TLS)
	}
	s.Config.ErrorLog = discardLog
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// securely has a bed speak TLS to its backends.
func securely(ca *authority) func(*bed) {
	return func(b *bed) { b.service.TLS = &health.TLS{ServerName: "back.test", CA: ca.pem()} }
}

func TestUpstreamTLS_Versions(t *testing.T) {
	ca := newAuthority(t)
	f := func(version uint16) {
		t.Helper()
		resumed, connections := atomic.Int64{}, map[string]bool{}
		b := newBed(t, func(b *bed) { b.loops = 1; securely(ca)(b) }, secureBackend(t, ca, func(c *tls.Config) { c.MaxVersion = version }, func(w http.ResponseWriter, r *http.Request) {
			if connections[r.RemoteAddr] = true; r.TLS.DidResume {
				resumed.Add(1)
			}
			if r.URL.Path == "/last" {
				w.Header().Set("Connection", "close")
			}
			_, _ = io.WriteString(w, tls.VersionName(r.TLS.Version)+r.TLS.NegotiatedProtocol)
		}))
		for _, path := range []string{"/", "/", "/last", "/", "/"} {
			code, body := get(t, b.url(path))
			require.Equal(t, 200, code)
			require.Equal(t, tls.VersionName(version)+"http/1.1", body)
		}
		require.Len(t, connections, 2, "connections are kept")
		require.EqualValues(t, 2, resumed.Load(), "requests on the second one")
	}
	f(tls.VersionTLS12)
	f(tls.VersionTLS13)
}

func TestUpstreamTLS_LongBodiesBothWays(t *testing.T) {
	ca := newAuthority(t)
	b := newTLSBed(t, func(b *tlsBed) { securely(ca)(b.bed) }, secureBackend(t, ca, nil, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	}))
	for _, size := range []int{1, 16 << 10, 70_000, 5 << 20} {
		for range 2 {
			c := b.dialTLS()
			body := strings.Repeat("0123456789abcde\n", size/16+1)[:size]
			go func() { // ends with the connection
				_, _ = fmt.Fprintf(c, "PUT /up HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n%s", size, body)
			}()
			_, got := answer(t, bufio.NewReader(c), "PUT")
			require.True(t, body == got, "%d of %d bytes came back", len(got), size)
		}
	}
}

func TestUpstreamTLS_ClientCertificate(t *testing.T) {
	ca := newAuthority(t)
	mine := ca.issue(t, "lb.test")
	key, err := x509.MarshalPKCS8PrivateKey(mine.PrivateKey)
	require.NoError(t, err)
	b := newBed(t, func(b *bed) {
		securely(ca)(b)
		b.service.TLS.Cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: mine.Certificate[0]})
		b.service.TLS.Key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	}, secureBackend(t, ca, func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAnyClientCert, ca.pool }, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	_, body := get(t, b.url("/"))
	require.Equal(t, "lb.test", body)
}

func TestUpstreamTLS_FailuresGoToTheNextServer(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	good := secureBackend(t, ca, nil, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "good") })
	stranger := secureBackend(t, other, nil, func(http.ResponseWriter, *http.Request) {})
	plain := named(t, "plain")
	leaver := rawBackend(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 100)) })
	b := newBed(t, securely(ca), stranger, plain, leaver, good)
	b.opts.Retries = 5
	b.apply()
	for range 6 {
		c := b.exchange("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi") // nothing was sent, so it is safe
		require.Contains(t, c, "good")
	}
}

func TestUpstreamTLS_FailureHasItsWord(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	f := func(at, detail string) {
		t.Helper()
		// Long enough for a handshake on a busy machine, where one is to end.
		b := newLogged(t, "json", func(b *bed) { b.opts.ConnectTimeout = 2 * time.Second; securely(ca)(b) }, at)
		got := b.exchange("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		require.Regexp(t, "^HTTP/1.1 50[24] ", got)
		require.Contains(t, strings.Join(b.end(), "\n"), detail)
	}
	f(secureBackend(t, other, nil, nil), `"reason":"tls_failed","detail":"tls: `)
	f(named(t, "plain"), `"reason":"tls_failed","detail":"tls: first record`)
	f(rawBackend(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), `"reason":"connect_timeout","detail":"tls handshake"`)
	f(rawBackend(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) }), `"reason":"tls_failed","detail":"tls: `)
}

func TestUpstreamTLS_EndWithoutCloseNotifyIsACut(t *testing.T) {
	ca := newAuthority(t)
	f := func(polite bool) string {
		cert := ca.issue(t, "back.test")
		b := newBed(t, securely(ca), rawBackend(t, func(c net.Conn) {
			s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
			_, _ = s.Read(make([]byte, 4096))
			_, _ = io.WriteString(s, "HTTP/1.1 200 OK\r\n\r\nall there is")
			if polite {
				_ = s.Close()
			}
		}))
		return b.exchange("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	}
	require.Contains(t, f(true), "all there is\r\n0\r\n\r\n")
	require.NotContains(t, f(false), "0\r\n\r\n")
}
