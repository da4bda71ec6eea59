package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"arzur.net/lb/certs"
)

// pebble is a CA that refuses every second nonce, and believes that all names are
// this machine's.
type pebble struct {
	*process
	dir              string // has ca.pem, what its own certificate leads to
	address, manager string
	http, https      int // ports that it asks for the answers of challenges
}

func startPebble(t *testing.T) *pebble {
	t.Helper()
	path, err := toolPath("pebble", "github.com/letsencrypt/pebble/v2")
	require.NoError(t, err)
	p := &pebble{dir: t.TempDir(), address: local(freePort(t)), manager: local(freePort(t)), http: freePort(t), https: freePort(t)}
	key := p.identity(t)
	config, err := json.Marshal(object{"pebble": object{
		"listenAddress": p.address, "managementListenAddress": p.manager, "certificate": filepath.Join(p.dir, "ca.pem"), "privateKey": key,
		"httpPort": p.http, "tlsPort": p.https, "retryAfter": object{"authz": 1, "order": 1}, "keyAlgorithm": "ecdsa",
		"profiles": object{"default": object{"description": "the one", "validityPeriod": 90 * 86400}},
	}})
	require.NoError(t, err)
	cmd := exec.Command(needFile(t, path), "-config", write(t, "pebble.json", string(config)), "-dnsserver", nameServer(t))
	cmd.Env = append(os.Environ(), "PEBBLE_WFE_NONCEREJECT=50", "PEBBLE_VA_NOSLEEP=1")
	p.process = launchCmd(t, cmd)
	p.stdout.await(t, "ACME directory available")
	return p
}

// identity makes ca.pem and its key.
func (p *pebble) identity(t *testing.T) (keyFile string) {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	own := s.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	require.NoError(t, err)
	write(t, filepath.Join(p.dir, "ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]})))
	return write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
}

// nameServer says that every name is this machine's. The CA asks over TCP.
func nameServer(t *testing.T) string {
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

// roots are the certificates that those of the CA lead to.
func (p *pebble) roots(t *testing.T) *x509.CertPool {
	t.Helper()
	c := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	answer, err := c.Get("https://" + p.manager + "/roots/0")
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(text))
	return pool
}

// orders is how many certificates were ordered so far.
func (p *pebble) orders() int { return strings.Count(p.stdout.String(), "Added order") }

// rules is a file that has a certificate ordered for each host, and kept in cache.
func (p *pebble) rules(t *testing.T, httpPort, httpsPort int, cache, server string, hosts ...string) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "acme: {email: me@example.net, cache: %q, directory: %q, ca: %s/ca.pem}\n", cache, "https://"+p.address+"/dir", p.dir)
	fmt.Fprintf(&b, "services: {web: {servers: [%q]}}\nport_rules:\n", server)
	for _, host := range hosts {
		if httpPort != 0 {
			fmt.Fprintf(&b, "- {source_port: %d, hostname: %s, service: web}\n", httpPort, host)
		}
		fmt.Fprintf(&b, "- {source_port: %d, protocol: https, hostname: %s, service: web}\n", httpsPort, host)
	}
	return b.String()
}

// visitTLS asks by https, and wants a certificate that is for the host.
func visitTLS(port int, host string, roots *x509.CertPool) (string, error) {
	c := http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: host},
	}}
	r, err := http.NewRequest(http.MethodGet, fmt.Sprintf("https://%s/", local(port)), nil)
	if err != nil {
		return "", err
	}
	r.Host = host
	answer, err := c.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return strings.TrimSpace(string(text)), err
}

// named answers with its name and the path.
func named(t *testing.T, name string) string {
	t.Helper()
	return testServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, name, r.URL.Path) }))
}

func TestACME_RulesGetTheirCertificates(t *testing.T) {
	ca := startPebble(t)
	server, admin, cache := named(t, "web"), freePort(t), filepath.Join(t.TempDir(), "acme")
	one, two := "a.example.net", "b.example.net"
	config := write(t, "rules.yml", ca.rules(t, 0, ca.https, cache, server, one))
	p := start(t, "-config", config, "-admin", local(admin))
	p.await(`"a certificate is in use"`, `"name":"a.example.net"`, `"source":"acme"`)
	roots := ca.roots(t)
	text, err := visitTLS(ca.https, one, roots)
	require.NoError(t, err)
	require.Equal(t, "web /", text)

	_, err = visitTLS(ca.https, two, roots)
	require.ErrorContains(t, err, "unrecognized name", "a stranger's name")
	require.Equal(t, 1, ca.orders())

	write(t, config, ca.rules(t, 0, ca.https, cache, server, one, two))
	p.signal(syscall.SIGHUP)
	p.await(`"a certificate is in use"`, `"name":"b.example.net"`)
	_, err = visitTLS(ca.https, two, roots)
	require.NoError(t, err)
	require.Equal(t, 2, ca.orders())

	shown := curl(t, "http://"+local(admin)+"/api/certificates")
	require.Regexp(t, regexp.MustCompile(`(?s)"a\.example\.net".*"source": "acme".*"state": "valid".*"next_try"`), shown)
	metrics := curl(t, "http://"+local(admin)+"/metrics")
	require.Contains(t, metrics, `lb_acme_orders_total{result="issued"} 2`)
	require.Contains(t, metrics, `lb_acme_names{state="valid"} 2`)

	// The first client of the next process has its certificate.
	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.exit())
	start(t, "-config", config, "-admin", "off")
	text, err = visitTLS(ca.https, two, roots)
	require.NoError(t, err)
	require.Equal(t, "web /", text)
	require.Equal(t, 2, ca.orders())
}

func TestACME_OverHTTPAlone(t *testing.T) {
	ca := startPebble(t)
	https, server, host := freePort(t), named(t, "web"), "a.example.net"
	p := start(t, "-config", write(t, "rules.yml", ca.rules(t, ca.http, https, filepath.Join(t.TempDir(), "acme"), server, host)), "-admin", "off")
	p.await(`"a certificate is in use"`)
	text, err := visitTLS(https, host, ca.roots(t))
	require.NoError(t, err)
	require.Equal(t, "web /", text)
	require.Equal(t, 1, ca.orders())
	// A server may have orders of its own.
	require.Equal(t, "web /.well-known/acme-challenge/its-own", askHost(t, ca.http, host, "/.well-known/acme-challenge/its-own"))
}

func TestACME_SurvivesAHandOver(t *testing.T) {
	ca := startPebble(t)
	host, cache, server := "a.example.net", filepath.Join(t.TempDir(), "acme"), named(t, "web")
	config := write(t, "rules.yml", ca.rules(t, 0, ca.https, cache, server, host))
	p := start(t, "-config", config, "-admin", "off")
	p.await(`"a certificate is in use"`)
	handOver(t, p)
	_, err := visitTLS(ca.https, host, ca.roots(t))
	require.NoError(t, err)
	require.Equal(t, 1, ca.orders())
}

func TestACME_ComesChangesAndGoesByReload(t *testing.T) {
	ca := startPebble(t)
	server, host, dir := named(t, "web"), "a.example.net", t.TempDir()
	text := func(cache string) string { return ca.rules(t, 0, ca.https, cache, server, host) }
	section, without, _ := strings.Cut(text(filepath.Join(dir, "one")), "\n")
	require.Contains(t, section, "acme: ")
	file := write(t, "rules.yml", without)
	p := start(t, "-config", file, "-admin", "off")
	reload := func(text string) {
		write(t, file, text)
		p.signal(syscall.SIGHUP)
		p.await(`"reloaded"`)
	}
	roots := ca.roots(t)
	visit := func() {
		t.Helper()
		_, err := visitTLS(ca.https, host, roots)
		require.NoError(t, err)
	}
	_, err := visitTLS(ca.https, host, roots)
	require.ErrorContains(t, err, "unrecognized name")

	reload(text(filepath.Join(dir, "one")))
	p.await(`"a certificate is in use"`)
	visit()
	reload(strings.Replace(text(filepath.Join(dir, "two")), "me@", "you@", 1))
	visit()
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(dir, "two", host))
		return err == nil
	}, patience, 10*time.Millisecond)

	write(t, filepath.Join(dir, "file"), "")
	write(t, file, text(filepath.Join(dir, "file", "acme")))
	p.signal(syscall.SIGHUP)
	p.await("reload rejected", "rules.yml:1: acme: cache: ")
	visit()
	require.Equal(t, 1, ca.orders())

	reload(without)
	_, err = visitTLS(ca.https, host, roots)
	require.ErrorContains(t, err, "unrecognized name")
}

func TestACME_TwoOverOneConsulOrderOnce(t *testing.T) {
	consul, ca := startAgent(t), startPebble(t)
	t.Setenv("CONSUL_HTTP_ADDR", consul.address)
	server := named(t, "web")
	hosts := []string{"a.example.net", "b.example.net", "c.example.net", "d.example.net"}
	portOf := []int{ca.https, freePort(t)} // the CA asks the first one, whoever orders
	var lbs []*process
	for _, port := range portOf {
		config := write(t, "rules.yml", ca.rules(t, 0, port, "consul:lb/acme", server, hosts...))
		lbs = append(lbs, start(t, "-config", config, "-admin", "off"))
	}
	roots := ca.roots(t)
	for i, p := range lbs {
		for range hosts {
			p.await(`"a certificate is in use"`)
		}
		for _, host := range hosts {
			_, err := visitTLS(portOf[i], host, roots)
			require.NoError(t, err)
		}
	}
	require.Equal(t, len(hosts), ca.orders())
}

func TestACME_AnotherGoesOnForOneThatWasKilled(t *testing.T) {
	consul, ca := startAgent(t), startPebble(t)
	t.Setenv("CONSUL_HTTP_ADDR", consul.address)
	server := named(t, "web")
	// The first one's CA never answers, so that it is killed in the middle of an order.
	stalled, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, stalled.Close()) })
	text := ca.rules(t, freePort(t), freePort(t), "consul:lb/acme", server, "a.example.net")
	victim := start(t, "-config", write(t, "rules.yml", strings.ReplaceAll(text, ca.address, stalled.Addr().String())), "-admin", "off")
	_, err = stalled.Accept()
	require.NoError(t, err)

	p := start(t, "-config", write(t, "rules.yml", ca.rules(t, ca.http, ca.https, "consul:lb/acme", server, "a.example.net")), "-admin", "off")
	require.Never(t, func() bool { return ca.orders() > 0 }, 2*time.Second, 10*time.Millisecond, "it orders while another does")
	require.NoError(t, victim.Process.Kill())
	require.Eventually(t, func() bool { return ca.orders() > 0 }, time.Minute, 50*time.Millisecond, "nobody goes on")
	p.await(`"a certificate is in use"`)
}

func TestACME_MistakesAreToldWithTheirPlace(t *testing.T) {
	file := write(t, "file", "")
	r := lb(t, "-config", write(t, "rules.yml", fmt.Sprintf("acme: {cache: %q}\n", filepath.Join(file, "acme"))+rulesFor(freePort(t), "127.0.0.1:1")))
	require.Equal(t, exitBad, r.code)
	require.Contains(t, r.stderr, "rules.yml:1: acme: cache: ")

	f := func(config, want string) {
		t.Helper()
		r := lb(t, "check", "-config", write(t, "rules.yml", config))
		require.Contains(t, r.stderr, want)
	}
	const rule = "port_rules: [{source_port: 443, tls: acme, hostname: a.example.net, service: web}]\nservices: {web: {}}\n"
	f(rule, "asks for a certificate by ACME, which is not set up; want acme: {cache: /var/lib/lb/acme}")
	f(rule+"acme: {cache: acme, hosts: [b.example.net]}\n", "asks for a certificate by ACME for a.example.net, which acme.hosts does not have")
	require.Empty(t, lb(t, "check", "-config", write(t, "rules.yml", rule+"acme: {cache: acme}\n")).stderr)
}

func TestChallenges_BeginWithTheLikeliest(t *testing.T) {
	f := func(rules string, want ...string) {
		t.Helper()
		var set flags
		set.configs = []string{write(t, "rules.yml", "services: {web: {servers: [127.0.0.1:1]}}\nport_rules:\n"+rules)}
		l, err := set.load()
		require.NoError(t, err)
		require.Equal(t, want, challenges(l.table))
	}
	plain := func(port int) string { return fmt.Sprintf("- {source_port: %d, service: web}\n", port) }
	secure := func(port int) string {
		return fmt.Sprintf("- {source_port: %d, protocol: https, service: web}\n", port)
	}
	f(plain(80)+secure(443), certs.HTTP01, certs.TLSALPN01)
	f(plain(8000)+secure(443), certs.TLSALPN01, certs.HTTP01)
	f(plain(8000)+secure(8443), certs.HTTP01, certs.TLSALPN01)
	f(secure(443), certs.TLSALPN01)
	f(plain(80), certs.HTTP01)
	f("- {source_port: 80, protocol: tcp, service: web}\n- {source_port: 443, protocol: sni, hostname: a.example.net, service: web}\n")
}
