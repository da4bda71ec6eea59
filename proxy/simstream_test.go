package proxy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/health"
	"arzur.net/lb/proxy/loop"
	"arzur.net/lb/rules"
)

// streamWorld is an engine with a tcp port, among clients and servers that send
// what a seed has drawn and end when it says.
type streamWorld struct {
	*simBed
	rng    *rand.Rand
	faulty bool
	clean  []string // what ended in order
	wrong  []string
	left   int // clients that are not done
}

// streamSide is one end of a conversation: it sends its own text and ends, and
// hears the other's.
type streamSide struct {
	*streamWorld
	peer   *loop.SimPeer
	what   string
	send   string
	want   string // all that it should hear
	got    string
	ended  bool // it has sent all
	told   bool // how it ended is noted
	silent bool // says nothing before it has heard the other's end
}

func newStreamWorld(t testing.TB, seed uint64) *streamWorld {
	r := rand.New(rand.NewPCG(seed, 2))
	w := &streamWorld{rng: r, faulty: seed%2 == 1, simBed: newSimBed(t, seed, 1+r.IntN(2))}
	w.rule.Protocol = rules.TCP
	w.MaxRead, w.MaxWrite = pick(r, 0, 0, 0, 1, 7, 200, 5000), pick(r, 0, 0, 0, 1, 50, 5000)
	w.Window = pick(r, 64<<10, 64<<10, 1<<20, 1000, 3)
	w.Ragged, w.Shuffle = r.IntN(2) == 0, r.IntN(2) == 0
	w.Latency, w.ConnectDelay = pick[int64](r, 0, 0, 1e5, 3e6), pick[int64](r, 0, 1e6)
	w.opts.QueueTimeout = time.Hour
	if r.IntN(3) == 0 {
		w.service.MaxConnections = 1 + r.IntN(2)
	}
	if r.IntN(3) == 0 {
		w.service.ProxyProtocol = pick(r, rules.ProxyV1, rules.ProxyV2)
	}
	servers := 1 + r.IntN(3)
	if servers > 1 {
		w.Refuse(simBack(0), syscall.ECONNREFUSED)
	}
	if w.faulty {
		w.ResetChance = pick(r, 0, 0.001, 0.01, 0.1)
		w.RefuseChance = pick(r, 0, 0, 0.1, 0.5)
		w.opts.TunnelTimeout = pick(r, time.Hour, time.Second)
	}
	all := make([]int, servers)
	for n := range all {
		all[n] = n
		w.Sim.Serve(simBack(n), w.serveStream)
	}
	w.use(all...)
	for i := range 1 + r.IntN(6) {
		w.After(w.rng.Int64N(1e9), func() { w.addStream(i) })
		w.left++
	}
	for range r.IntN(3) { // reloads
		w.After(w.rng.Int64N(2e9), func() { w.use(all...) })
	}
	return w
}

// streamText is what client i says, or hears.
func streamText(seed string, n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%s%d.", seed, i)
	}
	return b.String()[:n]
}

func (w *streamWorld) addStream(i int) {
	up, down := w.size(), w.size()
	s := &streamSide{streamWorld: w, what: fmt.Sprint("client ", i), want: streamText(fmt.Sprint("d", i, "-"), down)}
	// The server learns from the first line how much to say.
	s.send = fmt.Sprintf("%d %d %d\n", i, up, down) + streamText(fmt.Sprint("u", i, "-"), up)
	s.begin(w.Dial(simFront))
}

func (w *streamWorld) size() int {
	most := 2000
	if (w.MaxRead == 0 || w.MaxRead > 1000) && (w.MaxWrite == 0 || w.MaxWrite > 1000) && w.Window > 1000 {
		most = pick(w.rng, 3000, 300<<10) // some are spliced
	}
	return w.rng.IntN(most)
}

func (w *streamWorld) serveStream(p *loop.SimPeer) {
	s := &streamSide{streamWorld: w, silent: w.rng.IntN(3) == 0}
	s.begin(p)
}

func (s *streamSide) begin(p *loop.SimPeer) {
	s.peer = p
	p.Handle = s.handle
	s.later()
}

// later says a piece after a moment.
func (s *streamSide) later() {
	s.After(s.rng.Int64N(20e6), func() {
		if s.told || s.ended {
			return
		}
		server := strings.HasPrefix(s.what, "server") || s.what == ""
		if s.want == "" && server || s.silent && !s.peer.Ended() { // not its turn yet
			return
		}
		n := min(len(s.send), 1+s.rng.IntN(100<<10))
		s.peer.Write(s.send[:n])
		if s.send = s.send[n:]; s.send == "" {
			s.ended = true
			s.peer.CloseWrite()
			s.handle(s.peer)
			return
		}
		s.later()
	})
}

func (s *streamSide) handle(p *loop.SimPeer) {
	s.got += p.Read()
	if s.what == "" || s.silent {
		s.learn()
	}
	switch {
	case s.told:
	case p.Broken() != nil:
		s.tell(false)
		p.Close()
	case p.Ended() && s.ended:
		s.tell(true)
		p.Close()
	case p.Ended():
		s.later()
	}
}

// learn reads the first lines, as a server: the header of the engine, if it sends
// one, and the client's.
func (s *streamSide) learn() {
	text := s.got
	if s.service.ProxyProtocol == rules.ProxyV2 {
		if len(text) < 28 {
			return
		}
		text = text[28:]
	}
	if s.service.ProxyProtocol == rules.ProxyV1 {
		_, rest, ok := strings.Cut(text, "\r\n")
		if !ok {
			return
		}
		text = rest
	}
	line, _, ok := strings.Cut(text, "\n")
	if !ok || s.want != "" {
		return
	}
	var i, up, down int
	_, err := fmt.Sscanf(line, "%d %d %d", &i, &up, &down)
	if err != nil {
		s.wrong = append(s.wrong, fmt.Sprintf("server hears %q", line))
		return
	}
	s.what = fmt.Sprint("server of ", i)
	s.want = s.got[:len(s.got)-len(text)] + line + "\n" + streamText(fmt.Sprint("u", i, "-"), up)
	s.send = streamText(fmt.Sprint("d", i, "-"), down)
	s.later()
}

// tell judges what one end has heard. An end in order means that it was all; a
// broken one may come after any part.
func (s *streamSide) tell(inOrder bool) {
	s.told = true
	client := strings.HasPrefix(s.what, "client")
	if client {
		s.left--
	}
	switch {
	case s.want == "" && !client: // a server that was told nothing
	case inOrder && s.got != s.want:
		s.wrong = append(s.wrong, fmt.Sprintf("%s ended in order with %d of %d bytes", s.what, len(s.got), len(s.want)))
	case !strings.HasPrefix(s.want, s.got):
		s.wrong = append(s.wrong, fmt.Sprintf("%s heard what was not said", s.what))
	case inOrder:
		s.clean = append(s.clean, s.what)
	case !s.faulty:
		s.wrong = append(s.wrong, fmt.Sprintf("%s broke: %v", s.what, s.peer.Broken()))
	}
}

func TestSim_StreamWorlds(t *testing.T) {
	worlds := uint64(400)
	if testing.Short() {
		worlds = 20
	}
	clean := 0
	for seed := range worlds {
		w := newStreamWorld(t, seed)
		clients := w.left
		w.step(func() bool { return w.left == 0 })
		if w.faulty {
			w.ResetChance, w.RefuseChance = 0, 0
		}
		left := w.settle()
		require.Empty(t, append(w.wrong, left...), "seed %d", seed)
		if !w.faulty {
			require.Len(t, w.clean, 2*clients, "seed %d: %v", seed, w.clean)
		}
		clean += len(w.clean)
	}
	require.NotZero(t, clean)
}

func TestSim_StalledIntroductions(t *testing.T) {
	f := func(protocol string, proxyIn bool, text, word string) {
		t.Helper()
		b := newSimBed(t, 1, 1)
		b.rule.Protocol, b.rule.ProxyIn = protocol, proxyIn
		b.opts.Trusted = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		b.use()
		start := b.Now()
		ended := int64(0)
		got := ""
		c := &simPeer{SimPeer: b.Dial(simFront)}
		c.Handle = func(p *loop.SimPeer) {
			got += p.Read()
			if ended == 0 && (p.Ended() || p.Broken() != nil) {
				ended = b.Now() - start
				p.Close()
			}
		}
		b.trickle(c, text, 50e6)
		b.run(func() bool { return ended != 0 })
		require.Empty(t, got)
		require.GreaterOrEqual(t, ended, introTime)
		require.Less(t, ended, introTime+int64(500e6))
		require.Empty(t, b.settle())
		for _, k := range b.cores {
			if word == "" {
				require.Empty(t, k.stats.failed)
				continue
			}
			require.Equal(t, []wordCount{{word, 1}}, k.stats.failed)
		}
	}
	hello := "\x16\x03\x01\x3f\x00\x01\x00\x3e\xfc\x03\x03" + strings.Repeat("x", 200) // promises more than it has
	f(rules.SNI, false, hello, "slow_hello")
	f(rules.SNI, false, "", "")
	f(rules.SNI, true, "PROXY UNKNOWN"+strings.Repeat(" ", 80), "slow_proxy_header")
	f(rules.HTTP, true, "PROXY UNKNOWN"+strings.Repeat(" ", 80), "slow_proxy_header")
	f(rules.TCP, true, "", "")
	f(rules.HTTPS, true, "", "")
}

// TestSim_Datagrams has clients ask numbered questions on a network that loses
// some. No client hears what it has not asked, or what another has.
func TestSim_DatagramWorlds(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		b := newSimBed(t, seed, 1+r.IntN(2))
		b.rule.Protocol = rules.UDP
		b.Latency, b.Shuffle = pick[int64](r, 0, 1e5, 3e6), r.IntN(2) == 0
		b.LossChance = pick(r, 0, 0, 0.1, 0.5)
		b.opts.UDPTimeout = pick(r, 30*time.Second, 100*time.Millisecond)
		if r.IntN(3) == 0 {
			b.service.MaxConnections = 1 + r.IntN(3)
		}
		servers := 1 + r.IntN(3)
		all := make([]int, servers)
		for n := range all {
			all[n] = n
			if n > 0 || servers == 1 || r.IntN(2) == 0 { // the first one may be dead
				u := b.Datagrams(simBack(n))
				u.Handle = func(u *loop.SimUDP, from netip.AddrPort, data string) { u.Send(from, "re: "+data) }
			}
		}
		b.use(all...)
		asked, answered := 0, 0
		var wrong []string
		for i := range 1 + r.IntN(5) {
			c, open := b.Datagrams(netip.AddrPort{}), map[string]bool{}
			c.Handle = func(_ *loop.SimUDP, from netip.AddrPort, data string) {
				if question := strings.TrimPrefix(data, "re: "); from != simFront || !open[question] {
					wrong = append(wrong, fmt.Sprintf("client %d hears %q from %s", i, data, from))
				}
				answered++
			}
			for n := range r.IntN(20) {
				question := fmt.Sprint(i, ".", n)
				b.After(r.Int64N(1e9), func() {
					open[question] = true
					asked++
					c.Send(simFront, question)
				})
			}
		}
		if r.IntN(2) == 0 {
			b.After(5e8, func() { b.use(all[len(all)-1]) })
		}
		b.step(func() bool { return false })
		require.Empty(t, append(wrong, b.settle()...), "seed %d", seed)
		if b.LossChance == 0 && b.service.MaxConnections == 0 && servers == 1 {
			require.Equal(t, asked, answered, "seed %d", seed)
		}
	}
}

// Whoever forges addresses must not take the places of connections, nor those of
// clients that wait for an answer.
func TestSim_SessionsGetHalfOfAllPlaces(t *testing.T) {
	b := newSimBed(t, 1, 1)
	b.rule.Protocol = rules.UDP
	b.opts.MaxConnections = 6
	u := b.Datagrams(simBack(0))
	u.Handle = func(u *loop.SimUDP, from netip.AddrPort, data string) { u.Send(from, data) }
	b.use(0)
	var heard []string
	send := func(i int, after int64) {
		c := b.Datagrams(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, 1, byte(i)}), 1000))
		c.Handle = func(_ *loop.SimUDP, _ netip.AddrPort, data string) { heard = append(heard, data) }
		b.After(after, func() { c.Send(simFront, fmt.Sprint(i)) })
	}
	at := []int64{0, 50e6, 60e6, 70e6, 200e6} // the fourth finds no place, the fifth that of the first
	for i, at := range at {
		send(i, at+1e6)
	}
	b.step(func() bool { return b.Now() > at[4]+int64(2e6) && len(heard) == 4 })
	require.Equal(t, []string{"0", "1", "2", "4"}, heard)
	require.EqualValues(t, 1, b.cores[0].stats.datagramsLost)
	require.EqualValues(t, 3, b.cores[0].stats.sessions)
	require.Empty(t, b.settle())
	require.Zero(t, b.sessions.Load())
}

// A server that never answers gets its share again: it is known by not refusing.
func TestSim_EjectionOfAServerThatNeverAnswersEnds(t *testing.T) {
	f := func(timeout, want time.Duration, sent ...int64) {
		t.Helper()
		b := newSimBed(t, 1, 1)
		b.rule.Protocol = rules.UDP
		b.opts.UDPTimeout = timeout
		b.Datagrams(simBack(0)).Handle = func(*loop.SimUDP, netip.AddrPort, string) {}
		b.use(0)
		back := b.Table().Backends()[0].Backend
		for range 3 {
			require.True(t, back.TryBegin(0, b.Now()))
			back.Done(health.Refused, b.Now())
		}
		trial := back.Ejected(b.Now())
		c := b.Datagrams(netip.MustParseAddrPort("10.9.1.1:1000"))
		for _, after := range sent {
			b.After(trial-b.Now()+after, func() { c.Send(simFront, "x") })
		}
		began, ended := int64(0), int64(0)
		b.run(func() bool {
			switch out := back.Ejected(b.Now()); {
			case began == 0 && out > trial:
				began = b.Now()
			case began > 0 && out == 0:
				ended = b.Now()
			}
			return ended > 0
		})
		require.InDelta(t, want, ended-began, float64(100*time.Millisecond))
		require.Empty(t, b.settle())
	}
	const second = int64(time.Second)
	f(2*time.Second, 2*time.Second, 1)                       // by its silence
	f(time.Minute, 3*time.Second/2, 1, second/2, second*3/2) // by another datagram
}

// An end without power says nothing, and the tunnel would stand for an hour.
func TestSim_SilentTunnelsAreKeptAlive(t *testing.T) {
	b := newSimBed(t, 1, 1)
	b.rule.Protocol = rules.TCP
	b.serve(1)
	b.use(1)
	c := b.Dial(simFront)
	c.Handle = func(p *loop.SimPeer) { p.Read() }
	start := b.Now()
	for i := range int64(10) { // never silent for a minute
		b.After(i*int64(59e9), func() { c.Write("x") })
	}
	asked := int64(0)
	b.run(func() bool {
		if asked == 0 && b.KeptAlive > 0 {
			asked = b.Now() - start
		}
		return c.Ended()
	})
	last := 9 * int64(59e9)
	require.Equal(t, 2, b.KeptAlive, "both ends, once")
	require.InDelta(t, last+askAfter, asked, 3e9)
	require.InDelta(t, last+int64(b.opts.TunnelTimeout), b.Now()-start, 200e9)
	c.Close()
	require.Empty(t, b.settle())
}

// A drain waits for answers that are owed and for conversations, not for the
// silence after which sessions are forgotten.
func TestSim_DrainWaitsForDatagramsThatAreUnderWay(t *testing.T) {
	f := func(timeout, answer, want int64, questions ...int64) {
		t.Helper()
		b := newSimBed(t, 1, 1)
		b.rule.Protocol = rules.UDP
		b.opts.UDPTimeout = time.Duration(timeout)
		u := b.Datagrams(simBack(0))
		u.Handle = func(u *loop.SimUDP, from netip.AddrPort, data string) {
			if answer >= 0 {
				b.After(answer, func() { u.Send(from, data) })
			}
		}
		b.use(0)
		c := b.Datagrams(netip.MustParseAddrPort("10.9.1.1:1000"))
		heard := 0
		c.Handle = func(*loop.SimUDP, netip.AddrPort, string) { heard++ }
		start := b.Now()
		for _, at := range questions {
			b.After(at, func() { c.Send(simFront, "x") })
		}
		b.After(1e9, b.drain)
		ended := int64(0)
		b.run(func() bool {
			if b.Now()-start > 1e9 && b.connections.Load() == 0 {
				ended = b.Now() - start
			}
			return ended != 0
		})
		require.InDelta(t, want, ended, float64(want)/20)
		if answer >= 0 {
			require.Equal(t, len(questions), heard)
		}
		require.Empty(t, b.settle())
	}
	const second = int64(time.Second)
	f(30*second, 0, 1500e6, 500e6)                          // answered before: a moment from then on
	f(30*second, 3*second, 4900e6, 900e6)                   // the answer is owed, and a moment follows it
	f(30*second, -1, 5500e6, 500e6)                         // nobody answers
	f(30*second, 0, 3500e6, 500e6, 1400e6, 2000e6, 2500e6)  // a conversation
	f(200*int64(time.Millisecond), 0, 1200e6, 500e6, 990e6) // sessions are forgotten sooner anyway
}
