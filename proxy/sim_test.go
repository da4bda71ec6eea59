package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"arzur.net/lb/health"
	"arzur.net/lb/proxy/loop"
	"arzur.net/lb/rules"
)

// simFront is where the engine listens on a simulated network.
var simFront = netip.MustParseAddrPort("10.0.0.1:80")

// simBack is the address of the i-th simulated backend.
func simBack(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), 8080)
}

// simBed is an engine on a simulated network, stepped by the test: one goroutine,
// a virtual clock, and the same run for the same seed.
type simBed struct {
	*Proxy
	*loop.Sim
	t        testing.TB
	loops    []*loop.Loop
	registry *health.Registry
	opts     Options
	service  rules.Service
	rule     rules.Rule
	listened int // listening sockets
	panics   []string

	front  *tls.Config // of clients, nil: in the clear
	back   *tls.Config // of backends
	shakes []func()    // stop the handshakes of clients and backends
}

func newSimBed(t testing.TB, seed uint64, loops int) *simBed {
	b := &simBed{
		t: t, Sim: loop.NewSim(seed), registry: health.NewRegistry(), opts: testOptions,
		rule: rules.Rule{Port: simFront.Port(), Address: simFront.Addr(), Service: "web", Origin: "test"},
	}
	systems := []*loop.Sim{b.Sim}
	for len(systems) < loops {
		systems = append(systems, b.System())
	}
	p, err := New(Config{
		Loops: loops, Seed: seed, Log: zap.NewNop(),
		Work: func(f func()) { f() },
		System: func() (loop.System, error) {
			s := systems[0]
			systems = systems[1:]
			return s, nil
		},
		Listen:    b.opener(b.Sim.Listen),
		ListenUDP: b.opener(b.Sim.ListenUDP),
	})
	require.NoError(t, err)
	b.Proxy = p
	for _, k := range p.cores {
		k.loop.OnPanic = func(v any, stack []byte) { b.panics = append(b.panics, fmt.Sprintf("%v\n%s", v, stack)) }
		b.loops = append(b.loops, k.loop)
	}
	return b
}

// opener opens sockets of the simulated network.
func (b *simBed) opener(open func(netip.AddrPort) (int, error)) opener {
	return func(addr netip.Addr, port uint16, n int) (fds []int, err error) {
		for range n {
			fd, err := open(netip.AddrPortFrom(addr, port))
			require.NoError(b.t, err)
			fds = append(fds, fd)
		}
		b.listened += n
		return fds, nil
	}
}

// use puts the given backends into use.
func (b *simBed) use(backends ...int) {
	b.t.Helper()
	at := make([]string, len(backends))
	for i, n := range backends {
		at[i] = simBack(n).String()
	}
	b.service.Instances = newBedService(at...).Instances
	b.service.Name, b.service.Origin = "web", "test"
	table, problems := rules.Compile(rules.Input{Rules: []rules.Rule{b.rule}, Services: []rules.Service{b.service}}, b.registry)
	require.Empty(b.t, problems)
	opts := b.opts
	require.NoError(b.t, b.Apply(table, &opts))
}

// drain begins to drain and does not wait.
func (b *simBed) drain() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = b.Drain(ctx) // says that not all have gone yet
	b.listened = 0
}

// run steps the Loops until done, and fails if nothing can happen before that.
func (b *simBed) run(done func() bool) {
	b.t.Helper()
	require.True(b.t, b.step(done), "stuck")
}

// step is run that says instead whether done was reached. Between rounds it
// overwrites the scratch buffers, because nothing may point into them by then.
func (b *simBed) step(done func() bool) bool {
	return b.Run(func() bool {
		for _, l := range b.loops {
			copy(l.In(), garbage)
			copy(l.Out()[:len(garbage)], garbage)
		}
		return done() || len(b.panics) > 0
	}, b.loops...)
}

var garbage = bytes.Repeat([]byte{0xee}, 300)

// settle lets everything happen that still can, all timeouts included, and
// returns what is left that should not be.
func (b *simBed) settle() (left []string) {
	b.step(func() bool { return false })
	for _, stop := range b.shakes {
		stop()
	}
	f := func(n int, what string) {
		if n != 0 {
			left = append(left, fmt.Sprint(n, " ", what))
		}
	}
	f(int(b.connections.Load()), "connections counted")
	f(int(b.shaking.Load()), "handshakes counted")
	for _, at := range b.registry.All() {
		f(at.InFlight(), "in flight at "+at.Addr.String())
	}
	pipes := 0
	for _, k := range b.cores {
		idle := 0
		for _, list := range k.idle {
			idle += len(list.conns)
		}
		pipes += len(k.pipes)
		f(k.piped, "pipes in use")
		f(len(k.clients), "clients")
		f(idle, "idle upstreams")
		f(len(k.queues), "queues")
		f(len(k.held)+len(k.heldFor), "held")
		f(int(k.stats.queued), "queued counted")
		f(int(k.stats.tunnels), "tunnels counted")
		f(k.loop.Lent(), "buffers lent")
	}
	f(b.Open()-b.listened-2*pipes, "descriptors besides listeners and pipes")
	return append(left, b.panics...)
}

// simScript is a client or a backend that keeps what it gets.
type simScript struct {
	*simPeer
	got string
}

func (s *simScript) take(p *simPeer) { s.got += p.Read() }

func (b *simBed) client(text string) *simScript {
	s := &simScript{}
	s.simPeer = b.dial(s.take)
	s.Write(text)
	return s
}

// serve has backend n accept one connection after the other.
func (b *simBed) serve(n int) (conns func() []*simScript) {
	var all []*simScript
	b.Sim.Serve(simBack(n), func(p *loop.SimPeer) {
		s := &simScript{}
		s.simPeer = b.accept(p, s.take)
		all = append(all, s)
	})
	return func() []*simScript { return all }
}

// trickle has p write a byte every ns nanoseconds.
func (b *simBed) trickle(p *simPeer, text string, ns int64) {
	if text != "" {
		p.Write(text[:1])
		b.After(ns, func() { b.trickle(p, text[1:], ns) })
	}
}

// forwarding is what a backend is told of simulated clients.
func (b *simBed) forwarding() string {
	if b.front != nil {
		return strings.Replace(forwarding, "Proto: http", "Proto: https", 1)
	}
	return forwarding
}

const forwarding = "X-Forwarded-For: 10.9.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 80\r\nX-Forwarded-Host: x.test\r\n"

func TestSim_ExchangesByteByByte(t *testing.T) {
	f := func(name string, loops int, change func(*simBed)) {
		t.Run(name, func(t *testing.T) {
			b := newSimBed(t, 7, loops)
			change(b)
			exchangeThree(b)
		})
	}
	f("at once", 1, func(*simBed) {})
	f("reads of one byte", 1, func(b *simBed) { b.MaxRead = 1 })
	f("writes of one byte", 1, func(b *simBed) { b.MaxWrite = 1 })
	f("both", 1, func(b *simBed) { b.MaxRead, b.MaxWrite = 1, 1 })
	f("both with latency", 1, func(b *simBed) { b.MaxRead, b.MaxWrite, b.Latency, b.ConnectDelay = 1, 1, 1e6, 3e6 })
	f("window of one byte", 1, func(b *simBed) { b.Window = 1 })
	f("two loops", 2, func(b *simBed) { b.MaxRead, b.MaxWrite = 1, 1 })
	f("ragged", 1, func(b *simBed) { b.MaxRead, b.MaxWrite, b.Ragged, b.Shuffle = 50, 50, true, true })
	f("collected", 1, func(b *simBed) { b.Collect = true })
	f("collected, ragged", 1, func(b *simBed) { b.Collect, b.MaxWrite, b.Ragged, b.Shuffle = true, 50, true, true })
}

// exchangeThree: chunks and trailers in both directions, then a second request
// on both connections, then two pipelined.
func exchangeThree(b *simBed) {
	backends := b.serve(1)
	b.use(1)
	c := b.client("POST /up?q=1 HTTP/1.1\r\nHost: x.test\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nT: v\r\n\r\n")
	want := "POST /up?q=1 HTTP/1.1\r\nHost: x.test\r\nTrailer: T\r\n" + b.forwarding() +
		"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nT: v\r\n\r\n"
	b.run(func() bool { return len(backends()) == 1 && len(backends()[0].got) >= len(want) })
	back := backends()[0]
	require.Equal(b.t, want, back.got)

	back.got = ""
	back.Write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: U\r\n\r\n3\r\nabc\r\n4;e\r\ndefg\r\n0\r\nU: w\r\n\r\n")
	want = "HTTP/1.1 200 OK\r\nTrailer: U\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\nU: w\r\n\r\n"
	b.run(func() bool { return len(c.got) >= len(want) })
	require.Equal(b.t, want, c.got)

	c.got = ""
	c.Write("GET /two HTTP/1.1\r\nHost: x.test\r\n\r\n")
	want = "GET /two HTTP/1.1\r\nHost: x.test\r\n" + b.forwarding() + "\r\n"
	b.run(func() bool { return len(back.got) >= len(want) })
	require.Equal(b.t, want, back.got)
	c.Write("PUT /three HTTP/1.1\r\nHost: x.test\r\nContent-Length: 3\r\n\r\nxyzHEAD /four HTTP/1.1\r\nHost: x.test\r\nConnection: close\r\n\r\n")
	back.got = ""
	back.Write("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok")
	want = "PUT /three HTTP/1.1\r\nHost: x.test\r\n" + b.forwarding() + "Content-Length: 3\r\n\r\nxyz"
	b.run(func() bool { return len(back.got) >= len(want) })
	require.Equal(b.t, want, back.got)
	require.Equal(b.t, "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok", c.got)

	c.got, back.got = "", ""
	back.Write("HTTP/1.1 204 No Content\r\n\r\n")
	want = "HEAD /four HTTP/1.1\r\nHost: x.test\r\n" + b.forwarding() + "\r\n"
	b.run(func() bool { return len(back.got) >= len(want) })
	require.Equal(b.t, want, back.got)
	back.Write("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
	b.run(c.Ended)
	require.NoError(b.t, c.Broken())
	require.Equal(b.t, "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 99\r\nConnection: close\r\n\r\n", c.got)
	require.Len(b.t, backends(), 1, "one connection served all four")

	c.Close()
	b.run(back.Ended) // idle for too long
	back.Close()
	require.Empty(b.t, b.settle())
}

func TestSlowloris_IsCutAtTheHeaderTimeout(t *testing.T) {
	b := newSimBed(t, 1, 2)
	b.use()
	start := b.Now()
	var clients []*simScript
	var ended []int64
	for i := range 200 {
		c := &simScript{}
		c.simPeer = b.dial(func(p *simPeer) {
			if c.got += p.Read(); p.Ended() {
				ended = append(ended, b.Now()-start)
				p.Close()
			}
		})
		text := fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: x\r\nX: %s", i, strings.Repeat("a", 300))
		b.trickle(c.simPeer, text, 100e6) // which would take half a minute
		clients = append(clients, c)
	}
	b.run(func() bool { return len(ended) == len(clients) })
	for i, c := range clients {
		require.True(t, strings.HasPrefix(c.got, "HTTP/1.1 408 Request Timeout\r\n"), "%d: %q", i, c.got)
		require.GreaterOrEqual(t, ended[i], int64(b.opts.HeaderTimeout), "%d", i)
		require.Less(t, ended[i], int64(b.opts.HeaderTimeout+2*time.Second), "%d", i)
	}
	require.Empty(t, b.settle())
}
