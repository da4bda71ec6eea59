package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

// Where the CA is, and the ports that it asks for the answers of challenges.
const (
	caAddress = "127.0.0.1:14000"
	caManager = "127.0.0.1:15000"
	plainPort = 8010
	tlsPort   = 8443
)

// startCA starts a Pebble, a CA that refuses every second nonce and believes that
// all names are this machine's. What lb has to trust is ca.pem in the folder of e.
func (e *engine) startCA() (roots *x509.CertPool) {
	e.t.Helper()
	key := e.caIdentity()
	config := e.write("pebble.json", fmt.Sprintf(`{"pebble": {
		"listenAddress": %q, "managementListenAddress": %q, "certificate": %q, "privateKey": %q, "httpPort": %d, "tlsPort": %d,
		"retryAfter": {"authz": 1, "order": 1}, "keyAlgorithm": "ecdsa",
		"profiles": {"default": {"description": "the one", "validityPeriod": 7776000}}}}`,
		caAddress, caManager, filepath.Join(e.dir, "ca.pem"), key, plainPort, tlsPort))
	cmd := exec.Command(pebblePath(e.t), "-config", config, "-dnsserver", startNameServer(e.t))
	cmd.Env = append(os.Environ(), "PEBBLE_WFE_NONCEREJECT=50", "PEBBLE_VA_NOSLEEP=1")
	cmd.Stdout, cmd.Stderr = e.log, e.log
	require.NoError(e.t, cmd.Start())
	e.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGKILL) // fails if it has ended
		_ = cmd.Wait()
	})
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	roots = x509.NewCertPool()
	e.eventually("the CA answers", func() bool {
		answer, err := client.Get("https://" + caManager + "/roots/0")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		return err == nil && roots.AppendCertsFromPEM(text)
	})
	return roots
}

// pebblePath is where scripts/deps builds it.
func pebblePath(t *testing.T) string {
	t.Helper()
	version, err := exec.Command("go", "list", "-C", "../tools/pebble", "-m", "-f", "{{.Version}}", "github.com/letsencrypt/pebble/v2").Output()
	require.NoError(t, err)
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	path := filepath.Join(cache, "lb-test", "pebble-"+strings.TrimSpace(string(version)), "pebble")
	if _, err := os.Stat(path); err != nil {
		leaveOut(t, path+" is not there; scripts/deps pebble gets it")
	}
	return path
}

// caIdentity makes ca.pem and its key.
func (e *engine) caIdentity() (keyFile string) {
	e.t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	own := s.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	require.NoError(e.t, err)
	e.write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]})))
	return e.write("ca.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
}

// startNameServer says that every name is this machine's. The CA asks over TCP.
func startNameServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(127, 0, 0, 1)}}
		}
		_ = w.WriteMsg(m) // the CA asks again
	})}
	go func() { _ = s.ActivateAndServe() }() // ends with Shutdown
	t.Cleanup(func() { _ = s.Shutdown() })
	return l.Addr().String()
}

// askTLS asks by https and wants a certificate that is for the host.
func askTLS(t *testing.T, roots *x509.CertPool, host string) answer {
	t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: host},
	}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/x", tlsPort), nil)
	require.NoError(t, err)
	r.Host = host
	response, err := client.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer response.Body.Close()
	return answer{status: response.StatusCode, server: response.Header.Get("X-Server")}
}

// The file says who the authority is and, as nobody may have ports 80 and 443
// here, which ports the entry points are. All else is said by the containers.
func TestACME_LabelsGetTheirCertificates(t *testing.T) {
	e := startEngine(t)
	roots := e.startCA()
	e.startLB("-config", e.write("rules.yml", fmt.Sprintf(`
acme: {email: me@arzur.test, cache: %q, directory: "https://%s/dir", ca: %q}
sources: {docker: {exposed_by_default: false, entry_points: {web: %d, websecure: %d}}}
`, filepath.Join(e.dir, "acme"), caAddress, filepath.Join(e.dir, "ca.pem"), plainPort, tlsPort)))
	e.docker("network", "create", "web")
	f := func(host string, labels ...string) {
		t.Helper()
		server := e.labelled(host, labels...)
		var got answer
		require.Eventually(t, func() bool {
			got = askTLS(t, roots, host)
			return got.status == http.StatusOK
		}, patience, tick, "%s has its certificate: %v", host, &got.err)
		require.Equal(t, server, got.server)
	}
	plain := func(host string) (status int, location string) {
		t.Helper()
		client := http.Client{
			Transport:     &http.Transport{DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/x", plainPort), nil)
		require.NoError(t, err)
		r.Host = host
		response, err := client.Do(r)
		if err != nil {
			return 0, "" // nobody listens
		}
		require.NoError(t, response.Body.Close())
		return response.StatusCode, response.Header.Get("Location")
	}
	f("arzur.test", "lb.enable=true", "lb.hostname=arzur.test", "lb.tls=acme")
	f("shop.test", "traefik.enable=true", "traefik.http.routers.shop.rule=Host(`shop.test`)",
		"traefik.http.routers.shop.entrypoints=websecure", "traefik.http.routers.shop.tls.certresolver=le")
	status, _ := plain("arzur.test")
	require.Zero(t, status, "no rule is for http")

	f("blog.test", "lb.enable=true", "lb.hostname=blog.test", "lb.tls=acme", "lb.https_redirect=true")
	status, location := plain("blog.test")
	require.Equal(t, 302, status)
	require.Equal(t, fmt.Sprintf("https://blog.test:%d/x", tlsPort), location)
	status, _ = plain("arzur.test")
	require.Equal(t, 404, status)
	require.Empty(t, e.problems())
	require.Equal(t, 3, strings.Count(ask(t, "127.0.0.1:8080", "", "/api/certificates").text, `"source": "acme"`))
}
