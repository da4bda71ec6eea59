package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// secureRules serves arzur.net and www.arzur.net over TLS, with certs in dir.
func secureRules(port, control int, dir string, servers ...string) string {
	return fmt.Sprintf(`certs: [{dir: %q}]
port_rules:
- {source_port: %d, address: 127.0.0.1, tls: true, hostname: arzur.net, service: blog}
- {source_port: %d, address: 127.0.0.1, tls: true, hostname: www.arzur.net, service: blog}
services: {blog: {servers: ["%s"]}}
admin: {address: "127.0.0.1:%d"}
`, dir, port, port, strings.Join(servers, `", "`), control)
}

// curlTLS asks https://HOST/ at a local port, and returns status and body.
func curlTLS(t *testing.T, a *authority, host string, port int, args ...string) string {
	t.Helper()
	args = append([]string{"--cacert", a.file, "--connect-to", fmt.Sprintf("%s::127.0.0.1:", host), "-w", "%{http_code}"}, args...)
	return curl(t, append(args, fmt.Sprintf("https://%s:%d/", host, port))...)
}

func TestTLS_Versions(t *testing.T) {
	a, dir := newAuthority(t), t.TempDir()
	a.issue(filepath.Join(dir, "a.pem"), "arzur.net")
	port, control := freePort(t), freePort(t)
	start(t, "-config", write(t, "rules.yml", secureRules(port, control, dir, namedServer(t, "one"))))
	require.Equal(t, "one\n200", curlTLS(t, a, "arzur.net", port, "--tlsv1.2", "--tls-max", "1.2"))
	require.Equal(t, "one\n200", curlTLS(t, a, "arzur.net", port, "--tlsv1.3"))
	require.Equal(t, "one\n200", curlTLS(t, a, "arzur.net", port, "--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-CHACHA20-POLY1305"))
}

func TestTLS_SaysWhatIsWrongWithCertificates(t *testing.T) {
	a, dir := newAuthority(t), t.TempDir()
	a.issue(filepath.Join(dir, "a.pem"), "arzur.net")
	write(t, filepath.Join(dir, "b.pem"), "nothing\n")
	port, control := freePort(t), freePort(t)
	file := write(t, "rules.yml", secureRules(port, control, dir, namedServer(t, "one")))
	broken := file + ":1: " + filepath.Join(dir, "b.pem") + ": no certificate; want PEM with BEGIN CERTIFICATE"
	missing := fmt.Sprintf(`%s:4: rule "127.0.0.1:%d www.arzur.net": no certificate for www.arzur.net; add one to certs, or get one with tls: acme`, file, port)
	r := lb(t, "check", "-config", file)
	require.Zero(t, r.code)
	require.Equal(t, "warning: "+broken+"\nwarning: "+missing+"\n", r.stderr)

	p := start(t, "-config", file)
	p.stderr.rewind()
	p.await("certificate cannot be served", "b.pem: no certificate")
	p.await("taken with a warning", "no certificate for www.arzur.net")
	rejected := func() string { return curl(t, "http://"+local(control)+"/api/rejected") }
	require.Contains(t, rejected(), "b.pem: no certificate")
	require.Contains(t, rejected(), "no certificate for www.arzur.net")
	require.Equal(t, "one\n200", curlTLS(t, a, "arzur.net", port), "the others serve")

	leaf := a.issue(filepath.Join(dir, "b.pem"), "www.arzur.net")
	require.Eventually(t, func() bool { return rejected() == "[]\n" }, patience, 20*millisecond)
	require.Equal(t, "one\n200", curlTLS(t, a, "www.arzur.net", port))
	require.Contains(t, curl(t, "http://"+local(control)+"/api/certificates"), `"serial": "`+leaf.SerialNumber.Text(16)+`"`)
	require.Contains(t, curl(t, "http://"+local(control)+"/metrics"),
		fmt.Sprintf(`lb_certificate_expiry_seconds{name="www.arzur.net",source="file"} %g`, float64(leaf.NotAfter.Unix())))
}

// What ACME has no certificates for is not to be got there.
func TestTLS_NamesThatNeedAFile(t *testing.T) {
	a, dir := newAuthority(t), t.TempDir()
	a.issue(filepath.Join(dir, "a.pem"), "arzur.net")
	f := func(hostname, want string) {
		t.Helper()
		rules := fmt.Sprintf("certs: [{dir: %q}]\nservices: {web: {}}\nport_rules: [{source_port: 443, tls: true, hostname: %q, service: web}]\n", dir, hostname)
		r := lb(t, "check", "-config", write(t, "rules.yml", rules))
		require.Zero(t, r.code)
		if want == "" {
			require.Empty(t, r.stderr)
			return
		}
		require.Contains(t, r.stderr, "no certificate for "+want+"\n")
	}
	f("arzur.net", "")
	f("www.arzur.net", "www.arzur.net; add one to certs, or get one with tls: acme")
	f("*.arzur.net", "*.arzur.net; add one to certs")
	f("10.0.0.1", "10.0.0.1; add one to certs")
	f("[::1]", "::1; add one to certs")
}

// secureClients ask over TLS until they are stopped: half of them for each
// request on a new connection.
type secureClients struct {
	t        *testing.T
	config   *tls.Config
	address  string
	stop     context.CancelFunc
	running  sync.WaitGroup
	answered atomic.Int64
	resumed  atomic.Int64
	serial   atomic.Pointer[string] // of the newest full handshake

	mu     sync.Mutex
	failed []error
}

func startSecureClients(t *testing.T, a *authority, port int) *secureClients {
	t.Helper()
	c := &secureClients{t: t, address: local(port), config: &tls.Config{ServerName: "arzur.net", RootCAs: a.pool, ClientSessionCache: tls.NewLRUClientSessionCache(0)}}
	ctx, stop := context.WithCancel(t.Context())
	c.stop = stop
	for i := range 8 {
		c.running.Go(func() {
			for ctx.Err() == nil {
				if err := c.connect(ctx, i%2 == 0); err != nil {
					c.mu.Lock()
					c.failed = append(c.failed, err)
					c.mu.Unlock()
					return
				}
			}
		})
	}
	t.Cleanup(func() { stop(); c.running.Wait() })
	return c
}

// connect asks once, or until the connection is to end.
func (c *secureClients) connect(ctx context.Context, once bool) error {
	config := c.config
	if once && c.answered.Load()%2 == 0 {
		config = config.Clone()
		config.ClientSessionCache = nil
	}
	conn, err := tls.Dial("tcp", c.address, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	state := conn.ConnectionState()
	if state.DidResume {
		c.resumed.Add(1)
	} else {
		c.serial.Store(new(state.PeerCertificates[0].SerialNumber.Text(16)))
	}
	in := bufio.NewReader(conn)
	for {
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: arzur.net\r\n\r\n"); err != nil {
			return err
		}
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return err
		}
		if r.StatusCode != http.StatusOK {
			return errors.New(r.Status)
		}
		c.answered.Add(1)
		if once || r.Close || ctx.Err() != nil {
			return nil
		}
	}
}

// sees waits until new connections get the certificate.
func (c *secureClients) sees(leaf *x509.Certificate) {
	c.t.Helper()
	want := leaf.SerialNumber.Text(16)
	require.Eventually(c.t, func() bool { s := c.serial.Load(); return s != nil && *s == want }, patience, 10*millisecond)
}

// end stops the clients and wants that none has failed.
func (c *secureClients) end() {
	c.t.Helper()
	c.stop()
	c.running.Wait()
	require.Empty(c.t, c.failed)
	require.Positive(c.t, c.answered.Load())
	c.t.Logf("%d requests, %d resumed handshakes, none failed", c.answered.Load(), c.resumed.Load())
}

func TestTLS_RenewalCostsNoRequest(t *testing.T) {
	a, dir := newAuthority(t), t.TempDir()
	file := filepath.Join(dir, "a.pem")
	leaf := a.issue(file, "arzur.net", "www.arzur.net")
	port, control := freePort(t), freePort(t)
	rules := write(t, "rules.yml", secureRules(port, control, dir, namedServer(t, "one"), namedServer(t, "two")))
	p := start(t, "-config", rules)
	c := startSecureClients(t, a, port)
	c.sees(leaf)
	for range 3 {
		leaf = a.issue(file, "arzur.net", "www.arzur.net")
		c.sees(leaf)
		p.await("certificate renewed")
		p.signal(syscall.SIGHUP)
		p.await(`"reloaded"`)
		// A bad one changes nothing.
		write(t, file, "-----BEGIN CERTIFICATE-----\n")
		p.await("certificate cannot be served", "keeps serving")
		p.signal(syscall.SIGHUP)
		p.await(`"reloaded"`)
		c.sees(leaf)
	}
	c.end()
	require.Positive(t, c.resumed.Load())
}

func TestTLS_HandOverCostsNoRequest(t *testing.T) {
	a, dir := newAuthority(t), t.TempDir()
	leaf := a.issue(filepath.Join(dir, "a.pem"), "arzur.net", "www.arzur.net")
	port, control := freePort(t), freePort(t)
	p := start(t, "-config", write(t, "rules.yml", secureRules(port, control, dir, namedServer(t, "one"))))
	c := startSecureClients(t, a, port)
	c.sees(leaf)
	second := handOver(t, p)
	require.Zero(t, p.exit())
	third := handOverFrom(t, p, second)
	before := c.answered.Load()
	require.Eventually(t, func() bool { return c.answered.Load() > before+100 }, patience, millisecond)
	c.end()
	require.NoError(t, syscall.Kill(third, syscall.SIGTERM))
	awaitEnd(t, third)
}

func TestTLS_StaplesWhatTheResponderSays(t *testing.T) {
	a, dir := newAuthority(t), t.TempDir()
	a.respond()
	a.issue(filepath.Join(dir, "a.pem"), "arzur.net", "www.arzur.net")
	port, control := freePort(t), freePort(t)
	start(t, "-config", write(t, "rules.yml", secureRules(port, control, dir, namedServer(t, "one"))))
	require.Eventually(t, func() bool {
		return strings.Contains(curl(t, "http://"+local(control)+"/api/certificates"), `"ocsp": "good"`)
	}, patience, 20*millisecond)
	require.Equal(t, "one\n200", curlTLS(t, a, "arzur.net", port, "--cert-status"))
}

// echo answers with the request fields that tell of a client's certificate.
func echo(t *testing.T) string {
	t.Helper()
	return testServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "subject=%q fingerprint=%q proto=%s\n", r.Header.Values("X-Subject"), r.Header.Values("X-Fingerprint"), r.Header.Get("X-Forwarded-Proto"))
	}))
}

func TestTLS_ClientCertificates(t *testing.T) {
	a, clients, dir := newAuthority(t), newAuthority(t), t.TempDir()
	a.issue(filepath.Join(dir, "a.pem"), "arzur.net", "www.arzur.net")
	alice := filepath.Join(t.TempDir(), "alice.pem")
	leaf := clients.issue(alice, "alice")
	mallory := filepath.Join(t.TempDir(), "mallory.pem")
	newAuthority(t).issue(mallory, "mallory")
	port, control := freePort(t), freePort(t)
	start(t, "-config", write(t, "rules.yml", secureRules(port, control, dir, echo(t))+fmt.Sprintf(
		"tls: {client_auth: {ca: %q, hostnames: [www.arzur.net], subject_header: X-Subject, fingerprint_header: X-Fingerprint}}\n", clients.file)))

	none := `subject=[] fingerprint=[] proto=https` + "\n200"
	forged := []string{"-H", "X-Subject: CN=root", "-H", "X_Subject: CN=root"}
	require.Equal(t, none, curlTLS(t, a, "arzur.net", port, forged...))
	require.Equal(t, none, curlTLS(t, a, "arzur.net", port, append(forged, "--cert", alice)...), "nobody has asked for it")
	sum := sha256.Sum256(leaf.Raw)
	known := fmt.Sprintf("subject=[\"CN=alice,O=Test\"] fingerprint=[%q] proto=https\n200", hex.EncodeToString(sum[:]))
	for _, version := range []string{"1.2", "1.3"} {
		require.Equal(t, known, curlTLS(t, a, "www.arzur.net", port, append(forged, "--cert", alice, "--tls-max", version)...))
		for _, bad := range [][]tls.Certificate{nil, {identity(t, mallory)}} {
			_, err := askTLS(a, port, "www.arzur.net", "www.arzur.net", version, bad...)
			require.Error(t, err)
		}
	}

	// Who came in by the other name gets no further with this one.
	f := func(serverName, host string, want int) {
		t.Helper()
		status, err := askTLS(a, port, serverName, host, "1.3", identity(t, alice))
		require.NoError(t, err)
		require.Equal(t, want, status)
	}
	f("arzur.net", "arzur.net", 200)
	f("arzur.net", "www.arzur.net", 421)
	f("www.arzur.net", "www.arzur.net", 200)
	f("www.arzur.net", "example.com", 421)
	f("arzur.net", "example.com", 421)
}

// askTLS asks for host over a connection to serverName, showing any certificate
// that it has, and returns the status.
func askTLS(a *authority, port int, serverName, host, version string, show ...tls.Certificate) (int, error) {
	config := &tls.Config{ServerName: serverName, RootCAs: a.pool}
	if version == "1.2" {
		config.MaxVersion = tls.VersionTLS12
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if len(show) == 0 {
			return &tls.Certificate{}, nil
		}
		return &show[0], nil
	}
	conn, err := tls.Dial("tcp", local(port), config)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host); err != nil {
		return 0, err
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	return r.StatusCode, r.Body.Close()
}
