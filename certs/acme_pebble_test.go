package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/acme"
)

// built is where scripts/deps puts a program that is made from tools/NAME. A test
// that lacks it is left out, unless LB_TEST_REQUIRE=all.
func built(t *testing.T, name, module string) string {
	t.Helper()
	version, err := exec.Command("go", "list", "-C", filepath.Join("..", "tools", name), "-m", "-f", "{{.Version}}", module).Output()
	require.NoError(t, err)
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	path := filepath.Join(cache, "lb-test", name+"-"+strings.TrimSpace(string(version)), name)
	if _, err := os.Stat(path); err != nil {
		require.NotEqual(t, "all", os.Getenv("LB_TEST_REQUIRE"), "%v; get it by scripts/deps %s", err, name)
		t.Skipf("%s is not there; get it by scripts/deps %s", path, name)
	}
	return path
}

// start runs a program until the test ends.
func start(t *testing.T, env []string, path string, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.Command(path, args...)
	c.Env = append(os.Environ(), env...)
	said, err := os.Create(filepath.Join(t.TempDir(), "said"))
	require.NoError(t, err)
	c.Stdout, c.Stderr = said, said
	require.NoError(t, c.Start())
	t.Cleanup(func() {
		_ = c.Process.Kill() // it may be gone
		_ = c.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(said.Name())
			t.Logf("%s said:\n%s", filepath.Base(path), text[max(0, len(text)-1000):])
		}
	})
	return c
}

// nextPort is the next one to look at.
var nextPort struct {
	sync.Mutex
	port int
}

// ports are free ones of 127.0.0.1, and others each time. They are below those that
// the system gives to connections of any program, one of which might have them when
// a program of the test wants them, and above those of the tests of other packages.
func ports(t *testing.T, n int) (free []int) {
	t.Helper()
	nextPort.Lock()
	defer nextPort.Unlock()
	const first, last = 32000, 32768
	for range last - first {
		if nextPort.port == 0 || nextPort.port >= last {
			nextPort.port = first + mathrand.IntN(last-first)
		}
		port := nextPort.port
		nextPort.port++
		l, err := net.Listen("tcp", local(port))
		if err != nil {
			continue
		}
		require.NoError(t, l.Close())
		if free = append(free, port); len(free) == n {
			return free
		}
	}
	require.FailNow(t, "no free ports")
	return nil
}

// answering waits until a port is listened on.
func answering(t *testing.T, port int) {
	t.Helper()
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", local(port))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, eventually, 10*time.Millisecond, "port %d", port)
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// pebble is a CA with a proxy in front that breaks it, and the machine that all
// names lead to.
type pebble struct {
	*httptest.Server // the proxy
	trust            []byte
	fault            atomic.Pointer[func(http.ResponseWriter, *http.Request) (handled bool)]

	mu    sync.Mutex
	asked map[string]int // requests that the CA took, by path
	made  map[string]int // those that made something

	lbs      atomic.Pointer[[]*ACME] // behind the ports that the CA asks
	tlsPort  int
	httpGone atomic.Bool // nobody answers on the http port
}

// newPebble is a CA whose certificates last for so long. It is slow to look at
// what it asked for, so the test runs beside others.
func newPebble(t *testing.T, lifetime time.Duration, edits ...func(map[string]any)) *pebble {
	t.Helper()
	path := built(t, "pebble", "github.com/letsencrypt/pebble/v2")
	free := ports(t, 4)
	p := &pebble{asked: map[string]int{}, made: map[string]int{}, tlsPort: free[3]}
	dir := t.TempDir()
	cert, key := selfSigned(t)
	write := func(name string, data []byte) string {
		name = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(name, data, 0o600))
		return name
	}
	settings := map[string]any{
		"listenAddress": local(free[0]), "managementListenAddress": local(free[1]),
		"certificate": write("cert.pem", cert), "privateKey": write("key.pem", key),
		"httpPort": free[2], "tlsPort": free[3],
		"domainBlocklist": []string{"blocked.example.net"},
		"retryAfter":      map[string]int{"authz": 1, "order": 1}, "keyAlgorithm": "ecdsa",
		"profiles": map[string]any{"default": map[string]any{"description": "the one", "validityPeriod": int(lifetime.Seconds())}},
	}
	for _, edit := range edits {
		edit(settings)
	}
	config, err := json.Marshal(map[string]any{"pebble": settings})
	require.NoError(t, err)
	start(t, []string{"PEBBLE_WFE_NONCEREJECT=50", "PEBBLE_VA_NOSLEEP=1"}, path,
		"-config", write("config.json", config), "-dnsserver", nameServer(t), "-strict=false")
	answering(t, free[0])
	p.proxy(t, free[0])
	p.front(t, free[2])
	return p
}

func selfSigned(t *testing.T) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(k)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
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

// proxy passes requests on to the CA's port, unless there is a fault.
func (p *pebble) proxy(t *testing.T, port int) {
	t.Helper()
	to := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "https", Host: local(port)})
	to.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	to.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, err error) {
		http.Error(w, err.Error(), http.StatusBadGateway)
	}
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := p.fault.Load(); f != nil && (*f)(w, r) {
			return
		}
		// The CA makes URLs of the Host that it is asked by, which is ours.
		recorder := httptest.NewRecorder()
		to.ServeHTTP(recorder, r)
		if recorder.Code < 400 { // and not one whose nonce was refused
			p.mu.Lock()
			p.asked[r.URL.Path]++
			p.made[r.URL.Path] += map[int]int{http.StatusCreated: 1}[recorder.Code]
			p.mu.Unlock()
		}
		for k, v := range recorder.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(recorder.Code)
		_, _ = w.Write(recorder.Body.Bytes()) // a client that left is no matter
	}))
	t.Cleanup(p.Server.Close)
	p.trust = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Server.Certificate().Raw})
}

// Where the CA takes orders and registers accounts.
const (
	newOrder   = "/order-plz"
	newAccount = "/sign-me-up"
)

// orders is how many were made.
func (p *pebble) orders() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.made[newOrder]
}

// accounts is how many were made, and how often one was asked for.
func (p *pebble) accounts() (made, asked int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.made[newAccount], p.asked[newAccount]
}

// breaks puts a fault in front of the CA; nil repairs it.
func (p *pebble) breaks(f func(http.ResponseWriter, *http.Request) bool) {
	if f == nil {
		p.fault.Store(nil)
		return
	}
	p.fault.Store(&f)
}

// problem answers newOrder, or everything, as a CA says no.
func problem(path string, status int, kind, detail string, retryAfter string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if path != "" && r.URL.Path != path {
			return false
		}
		w.Header().Set("Content-Type", "application/problem+json")
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "urn:ietf:params:acme:error:" + kind, "detail": detail, "status": status})
		return true
	}
}

// behind says who answers the CA.
func (p *pebble) behind(lbs ...*ACME) { p.lbs.Store(&lbs) }

// answerer is the one that answers the CA: not the one that orders, if there is
// another.
func (p *pebble) answerer() *ACME {
	lbs := p.lbs.Load()
	if lbs == nil {
		return NewACME(ACMEConfig{Cache: &Folder{}, Store: &Store{}})
	}
	for _, a := range *lbs {
		if !a.open.any() {
			return a
		}
	}
	return (*lbs)[0]
}

func (o *openChallenges) any() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.answers) > 0
}

// front answers on the ports that the CA asks as lb does.
func (p *pebble) front(t *testing.T, httpPort int) {
	t.Helper()
	plain := &http.Server{Addr: local(httpPort), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := p.answerer().Challenge(r.Host, r.URL.Path)
		if !ok || p.httpGone.Load() {
			http.Error(w, "no such token", http.StatusNotFound)
			return
		}
		_, _ = w.Write(body)
	})}
	secure := &http.Server{Addr: local(p.tlsPort), ErrorLog: log.New(io.Discard, "", 0), Handler: http.NotFoundHandler(), TLSConfig: &tls.Config{
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			c := p.answerer().ChallengeCertificate(hello)
			if c == nil {
				return nil, nil
			}
			return &tls.Config{Certificates: []tls.Certificate{*c}, NextProtos: []string{acme.ALPNProto}}, nil
		},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil },
	}}
	var wg sync.WaitGroup
	wg.Go(func() { _ = plain.ListenAndServe() })
	wg.Go(func() { _ = secure.ListenAndServeTLS("", "") })
	t.Cleanup(func() {
		_ = plain.Close()
		_ = secure.Close()
		wg.Wait()
	})
	answering(t, httpPort)
	answering(t, p.tlsPort)
}

// client is an ACME that runs until the test ends, and its Store.
type client struct {
	*ACME
	stop func()
}

// newClient orders at the CA.
func (p *pebble) newClient(t *testing.T, cache Cache, change func(*ACMEConfig)) *client {
	t.Helper()
	config := ACMEConfig{
		Store: &Store{},
		Email: "me@example.net", Directory: p.URL + "/dir", CA: p.trust, Cache: cache,
		backoff: func(int) time.Duration { return 100 * time.Millisecond },
		pause:   200 * time.Millisecond,
	}
	if change != nil {
		change(&config)
	}
	return &client{ACME: NewACME(config)}
}

func (c *client) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { c.Run(ctx) })
	c.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(c.stop)
}

// serving is what a handshake gets, nil if it gets nothing.
func (c *client) serving(name string) *tls.Certificate {
	cert, _ := c.config.Store.GetCertificate(&tls.ClientHelloInfo{ServerName: name}) // there is no error
	return cert
}

// awaitCertificate waits until a name has one that differs from old.
func (c *client) awaitCertificate(t *testing.T, name string, old *tls.Certificate) *tls.Certificate {
	t.Helper()
	require.Eventually(t, func() bool {
		now := c.serving(name)
		return now != nil && (old == nil || !now.Leaf.Equal(old.Leaf))
	}, eventually, 10*time.Millisecond, "no certificate for %s: %s", name, statuses{c.ACME})
	now := c.serving(name)
	require.NoError(t, now.Leaf.VerifyHostname(name))
	return now
}

// await waits until it is so with a name.
func (c *client) await(t *testing.T, name string, so func(ACMEStatus) bool) ACMEStatus {
	t.Helper()
	var last ACMEStatus
	require.Eventually(t, func() bool {
		for _, s := range c.Status() {
			if s.Name == name {
				last = s
				return so(s)
			}
		}
		return false
	}, eventually, 10*time.Millisecond, "%s", statuses{c.ACME})
	return last
}

// statuses are shown as they are when a test fails.
type statuses struct{ *ACME }

func (s statuses) String() string { return fmt.Sprintf("%+v", s.Status()) }

func folder(t *testing.T) *Folder {
	t.Helper()
	f, err := NewFolder(filepath.Join(t.TempDir(), "acme"))
	require.NoError(t, err)
	return f
}
