package proxy

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"arzur.net/lb/health"
	"arzur.net/lb/proxy/loop"
	"arzur.net/lb/rules"
)

// bed is an engine in front of backends, on real loopback sockets.
type bed struct {
	*Proxy
	t        *testing.T
	loops    int
	port     uint16
	registry *health.Registry
	opts     Options
	service  rules.Service
	rule     rules.Rule
	system   func() (loop.System, error) // nil: the operating system
}

// newBed starts an engine with one rule for any host and one service.
func newBed(t *testing.T, change func(*bed), backends ...string) *bed {
	t.Helper()
	b := &bed{t: t, loops: 2, port: freePort(t), registry: health.NewRegistry(), opts: testOptions}
	b.opts.ConnectTimeout, b.opts.QueueTimeout, b.opts.HandshakeTimeout = eventually, eventually, eventually // on a busy machine
	b.service = newBedService(backends...)
	b.rule = rules.Rule{Port: b.port, Address: netip.MustParseAddr("127.0.0.1"), Service: "web", Origin: "test"}
	if change != nil {
		change(b)
	}
	p, err := New(Config{Loops: b.loops, Seed: 1, Log: zap.NewNop(), System: b.system})
	require.NoError(t, err)
	b.Proxy = p
	b.apply()
	p.Start()
	t.Cleanup(p.Stop)
	return b
}

// apply compiles the rule and service as they stand now and puts them into use.
func (b *bed) apply(more ...rules.Rule) {
	b.t.Helper()
	in := rules.Input{Rules: append([]rules.Rule{b.rule}, more...), Services: []rules.Service{b.service}}
	table, problems := rules.Compile(in, b.registry)
	require.Empty(b.t, problems)
	opts := b.opts
	require.NoError(b.t, b.Apply(table, &opts))
}

func (b *bed) addr() string {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), b.port).String()
}

func (b *bed) url(path string) string { return "http://" + b.addr() + path }

// dial opens a raw connection that gives up after a while.
func (b *bed) dial() net.Conn {
	b.t.Helper()
	c, err := net.Dial("tcp", b.addr())
	require.NoError(b.t, err)
	require.NoError(b.t, c.SetDeadline(time.Now().Add(2*eventually)))
	b.t.Cleanup(func() { _ = c.Close() })
	return c
}

// exchange sends raw bytes on a new connection and reads until it closes.
func (b *bed) exchange(raw string) string {
	b.t.Helper()
	c := b.dial()
	_, err := io.WriteString(c, raw)
	require.NoError(b.t, err)
	got, _ := io.ReadAll(c)
	return string(got)
}

// ports tells the next free port to look at.
var ports struct {
	sync.Mutex
	next int
}

// freePort is a port that nobody listens on, and another one each time. The system
// gives those above to connections of any program, and the tests of cmd/lb have
// some of them: those would be in the way now and then.
func freePort(t *testing.T) uint16 {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	const first, last = 10000, 20000
	for range last - first {
		if ports.next == 0 || ports.next >= last {
			ports.next = first + rand.IntN(last-first)
		}
		port := uint16(ports.next)
		ports.next++
		at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String()
		l, err := net.Listen("tcp", at)
		if err != nil {
			continue
		}
		defer func() { _ = l.Close() }()
		c, err := net.ListenPacket("udp", at)
		if err != nil {
			continue
		}
		defer func() { _ = c.Close() }()
		return port
	}
	require.Fail(t, "no free port")
	return 0
}

// backend starts a net/http server and returns its address.
func backend(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func named(t *testing.T, name string) string {
	return backend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) })
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	require.NoError(t, err)
	defer func() { _ = r.Body.Close() }()
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return r.StatusCode, string(body)
}

func TestExchange_AnswersInStrictTurn(t *testing.T) {
	b := newBed(t, nil, named(t, "a"), named(t, "b"), named(t, "c"))
	turn := ""
	for range 6 {
		got := b.exchange("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		turn += got[len(got)-1:]
	}
	require.Equal(t, "abcabc", turn)
}

func TestDrain_AnswersWhatIsUnderWay(t *testing.T) {
	in, out := make(chan struct{}), make(chan struct{})
	b := newBed(t, nil, backend(t, func(w http.ResponseWriter, _ *http.Request) {
		close(in)
		<-out
		_, _ = io.WriteString(w, "late")
	}))
	answer := make(chan string)
	go func() { answer <- b.exchange("GET / HTTP/1.1\r\nHost: x\r\n\r\n") }()
	<-in
	done := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), eventually)
		defer cancel()
		done <- b.Drain(ctx)
	}()
	for b.accepting() {
		runtime.Gosched()
	}
	close(out)
	got := <-answer
	require.Contains(t, got, "Connection: close\r\n")
	require.Contains(t, got, "late")
	require.NoError(t, <-done)
}

// accepting says whether the listener still takes connections.
func (b *bed) accepting() bool {
	c, err := net.Dial("tcp", b.addr())
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
