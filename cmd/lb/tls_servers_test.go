package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// secureServer is a server that speaks TLS, with a certificate of a for
// blog.test. It wants one of its clients if clients is not nil.
func secureServer(t *testing.T, a *authority, clients *x509.CertPool, h http.Handler) (address string, accepted *atomic.Int32) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "server.pem")
	a.issue(file, "blog.test")
	accepted = new(atomic.Int32)
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{identity(t, file)}, ClientCAs: clients}
	if clients != nil {
		s.TLS.ClientAuth = tls.RequireAndVerifyClientCert
	}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			accepted.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), accepted
}

// toServers serves arzur.net over TLS from a service with these keys.
func toServers(t *testing.T, a *authority, service string) (port int, p *process) {
	t.Helper()
	dir, port := t.TempDir(), freePort(t)
	a.issue(filepath.Join(dir, "a.pem"), "arzur.net")
	return port, start(t, "-log-level", "debug", "-config", write(t, "rules.yml", fmt.Sprintf(`certs: [{dir: %q}]
port_rules:
- {source_port: %d, address: 127.0.0.1, tls: true, hostname: arzur.net, service: blog}
services:
  blog: {%s}
access_log: {path: stdout}
defaults: {loops: 1}
admin: "off"
`, dir, port, service)))
}

func TestTLSServers_FiftyMegabytesEachWay(t *testing.T) {
	const size = 50 << 20
	body := make([]byte, size)
	_, _ = rand.Read(body) // it never fails
	sum := fmt.Sprintf("%x", sha256.Sum256(body))
	upload := filepath.Join(t.TempDir(), "upload")
	require.NoError(t, os.WriteFile(upload, body, 0o600))

	a, servers := newAuthority(t), newAuthority(t)
	server, accepted := secureServer(t, servers, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = w.Write(body)
			return
		}
		got := sha256.New()
		n, err := io.Copy(got, r.Body)
		fmt.Fprintf(w, "%d %x %v\n", n, got.Sum(nil), err)
	}))
	port, _ := toServers(t, a, fmt.Sprintf("servers: [%q], scheme: https, tls: {ca: %q, server_name: blog.test}", server, servers.file))
	for _, version := range []string{"1.2", "1.3"} {
		for _, framing := range [][]string{nil, {"-H", "Transfer-Encoding: chunked"}} {
			got := curlTLS(t, a, "arzur.net", port, append(framing, "--tls-max", version, "-T", upload)...)
			require.Equal(t, fmt.Sprintf("%d %s <nil>\n200", size, sum), got)
		}
		download := filepath.Join(t.TempDir(), "download")
		require.Equal(t, "200", curlTLS(t, a, "arzur.net", port, "--tls-max", version, "-o", download))
		got, err := os.ReadFile(download)
		require.NoError(t, err)
		require.Equal(t, sum, fmt.Sprintf("%x", sha256.Sum256(got)))
	}
	require.EqualValues(t, 1, accepted.Load(), "connections are kept")
}

func TestTLSServers_AreWhoTheyShouldBe(t *testing.T) {
	a, servers := newAuthority(t), newAuthority(t)
	ok := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, r.TLS.ServerName, len(r.TLS.VerifiedChains))
	})
	server, _ := secureServer(t, servers, nil, ok)
	strict, _ := secureServer(t, servers, a.pool, ok)
	own := filepath.Join(t.TempDir(), "lb.pem")
	a.issue(own, "lb")

	f := func(want, service string) *process {
		t.Helper()
		port, p := toServers(t, a, service)
		require.Equal(t, want, curlTLS(t, a, "arzur.net", port))
		return p
	}
	trusted := fmt.Sprintf("tls: {ca: %q, server_name: blog.test", servers.file)
	f("blog.test 0\n200", fmt.Sprintf("servers: [%q], %s}", server, trusted))
	f("blog.test 1\n200", fmt.Sprintf("servers: [%q], %s, cert: %q, key: %q}", strict, trusted, own, own))
	f("blog.test 0\n200", fmt.Sprintf("servers: [%q], %s}, health_check: {request_line: GET / HTTP/1.0, interval: 100ms}", server, trusted))

	p := f("blog.test 0\n200", fmt.Sprintf("servers: [%q], tls: {insecure_skip_verify: true, server_name: blog.test}", server))
	p.stderr.rewind()
	p.await(`"level":"warn"`, "insecure_skip_verify", "can pose as them")

	g := func(why, service string) {
		t.Helper()
		port, p := toServers(t, a, service)
		require.Regexp(t, `^502 Bad Gateway: no secure connection to the server\n(.*\n)*502$`, curlTLS(t, a, "arzur.net", port))
		require.Contains(t, p.stdout.await(t, `"reason":"tls_failed"`), why)
	}
	g("unknown authority", fmt.Sprintf("servers: [%q], tls: {ca: %q, server_name: blog.test}", server, a.file))
	g("unknown authority", fmt.Sprintf("servers: [%q], scheme: https, tls: {server_name: blog.test}", server))
	g("not other.test", fmt.Sprintf("servers: [%q], tls: {ca: %q, server_name: other.test}", server, servers.file))
	g("127.0.0.1", fmt.Sprintf("servers: [%q], tls: {ca: %q}", server, servers.file))
	// With TLS 1.3 a server refuses a client when that is done with the handshake.
	g("certificate required", fmt.Sprintf("servers: [%q], %s}", strict, trusted))
	g("", fmt.Sprintf("servers: [%q], %s}", namedServer(t, "in the clear"), trusted))
}

func TestTLSServers_AreCheckedOverTLS(t *testing.T) {
	a, servers := newAuthority(t), newAuthority(t)
	server, _ := secureServer(t, servers, nil, http.NotFoundHandler())
	port, p := toServers(t, a, fmt.Sprintf("servers: [%q], tls: {ca: %q, server_name: blog.test}, health_check: {interval: 50ms}", server, a.file))
	p.stderr.rewind()
	require.Contains(t, p.await("server is down", server), "unknown authority")
	require.Regexp(t, `\n503$`, curlTLS(t, a, "arzur.net", port))
}
