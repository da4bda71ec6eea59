package loop

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	front = netip.MustParseAddrPort("10.0.0.1:80")
	back  = netip.MustParseAddrPort("10.0.0.2:8080")
)

// simEcho is a Loop on s with an echo server at front.
func simEcho(t testing.TB, s *Sim) (*Loop, *listener) {
	l := New(s)
	fd, err := s.Listen(front)
	require.NoError(t, err)
	srv := &listener{fd: fd, serve: func(fd int, _ netip.AddrPort) {
		e := &echo{}
		require.NoError(t, l.Attach(&e.conn, fd, e))
	}}
	require.NoError(t, l.AttachListener(&srv.conn, fd, srv))
	return l, srv
}

// client is a script that sends, ends and keeps what it gets.
type client struct {
	*SimPeer
	got string
}

func send(s *Sim, text string) *client {
	c := &client{SimPeer: s.Dial(front)}
	c.Handle = func(p *SimPeer) { c.got += p.Read() }
	c.Write(text)
	c.CloseWrite()
	return c
}

func TestSim_EchoesHoweverTheBytesTravel(t *testing.T) {
	text := strings.Repeat("0123456789abcdef", 20)
	for seed := range uint64(96) {
		s := NewSim(seed)
		s.MaxRead, s.MaxWrite = []int{0, 1, 7, 200}[seed%4], []int{1, 0, 50}[seed%3]
		s.Window = []int{1, 64, 64 << 10}[seed%3]
		s.Ragged, s.Shuffle = seed&8 != 0, seed&16 != 0
		s.Latency = int64(seed%5) * 1e6
		l, _ := simEcho(t, s)
		clients := make([]*client, 3)
		for i := range clients {
			clients[i] = send(s, text+fmt.Sprint(i))
		}
		ok := s.Run(func() bool {
			for _, c := range clients {
				if !c.Ended() {
					return false
				}
			}
			return true
		}, l)
		require.True(t, ok, "seed %d: stuck", seed)
		for i, c := range clients {
			require.Equal(t, c.got, text+fmt.Sprint(i), "seed %d", seed)
			require.NoError(t, c.Broken())
		}
		require.Equal(t, 1, s.Open(), "seed %d: descriptors left besides the listener", seed)
	}
}

func TestSim_ReplaysARunFromItsSeed(t *testing.T) {
	run := func(seed uint64) string {
		s := NewSim(seed)
		s.MaxRead, s.Ragged, s.Shuffle, s.ResetChance, s.RefuseChance = 9, true, true, 0.01, 0.1
		l, _ := simEcho(t, s)
		var log strings.Builder
		for i := range 20 {
			c := send(s, strings.Repeat("x", 10*i))
			c.Handle = func(p *SimPeer) { fmt.Fprintln(&log, i, s.Now(), len(p.Read()), p.Ended(), p.Broken()) }
		}
		s.Run(func() bool { return false }, l)
		return log.String()
	}
	require.Equal(t, run(4), run(4))
	require.NotEqual(t, run(4), run(5))
	require.Contains(t, run(4), syscall.ECONNRESET.Error())
	require.Contains(t, run(4), syscall.ECONNREFUSED.Error())
}

// dialer connects from a Loop and notes what became of it.
type dialer struct {
	conn    Conn
	ready   Ready
	result  error
	at      int64 // when it was decided
	expired bool
}

func (d *dialer) Ready(r Ready) {
	d.ready |= r
	d.at = d.conn.Loop().Now()
	d.result = d.conn.Loop().Sys().ConnectResult(d.conn.FD())
}

func (d *dialer) Expired() {
	d.expired = true
	d.conn.Loop().Close(&d.conn)
}

func dial(t testing.TB, l *Loop, to netip.AddrPort) *dialer {
	fd, err := l.Sys().Connect(to)
	require.NoError(t, err)
	d := &dialer{}
	require.NoError(t, l.Attach(&d.conn, fd, d))
	return d
}

func TestSim_ConnectIsMadeRefusedOrNeverDecided(t *testing.T) {
	f := func(prepare func(*Sim), ready Ready, want error, expired bool) {
		t.Helper()
		s := NewSim(1)
		s.ConnectDelay = 5e6
		prepare(s)
		l := New(s)
		start := s.Now()
		d := dial(t, l, back)
		d.conn.SetDeadline(s.Now() + 1e9)
		require.Equal(t, d.expired || d.ready != 0, false)
		s.Run(func() bool { return d.ready != 0 || d.expired }, l)
		require.Equal(t, d.ready, ready)
		require.Equal(t, d.result, want)
		require.Equal(t, d.expired, expired)
		if ready != 0 {
			require.Equal(t, start+5e6+eventCost, d.at)
		}
	}
	serve := func(s *Sim) { s.Serve(back, func(*SimPeer) {}) }
	broken := Readable | Writable | PeerClosed | Failed
	f(serve, Writable, nil, false)
	f(func(*Sim) {}, broken, syscall.ECONNREFUSED, false)
	f(func(s *Sim) { serve(s); s.Refuse(back, syscall.EHOSTUNREACH) }, broken, syscall.EHOSTUNREACH, false)
	f(func(s *Sim) { serve(s); s.Drop(back) }, 0, nil, true)
	f(func(s *Sim) { serve(s); s.Drop(back); s.Restore(back) }, Writable, nil, false)
	f(func(s *Sim) { s.Serve(back, func(*SimPeer) {}).Close() }, broken, syscall.ECONNREFUSED, false)
}

func TestSim_AScriptedServerAnswers(t *testing.T) {
	s := NewSim(1)
	s.MaxRead = 1
	s.Serve(back, func(p *SimPeer) {
		var got string
		p.Handle = func(p *SimPeer) {
			if got += p.Read(); got == "ping" {
				p.Write("pong")
				p.Close()
			}
		}
	})
	l := New(s)
	d := dial(t, l, back)
	s.Run(func() bool { return d.ready != 0 }, l)
	n, err := s.Write2(d.conn.FD(), []byte("pi"), []byte("ng"))
	require.NoError(t, err)
	require.Equal(t, n, 4)
	d.ready = 0
	require.True(t, s.Run(func() bool { return d.ready&PeerClosed != 0 }, l))
	n, err = s.Read(d.conn.FD(), l.In())
	require.NoError(t, err)
	require.Equal(t, string(l.In()[:n]), "pong")
	n, err = s.Read(d.conn.FD(), l.In())
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestSim_ClosingWithUnreadBytesResets(t *testing.T) {
	s := NewSim(1)
	l, srv := simEcho(t, s)
	srv.serve = func(fd int, _ netip.AddrPort) {
		d := &dialer{}
		require.NoError(t, l.Attach(&d.conn, fd, d))
		l.Close(&d.conn)
	}
	c := send(s, "never read")
	require.True(t, s.Run(func() bool { return c.Broken() != nil }, l))
	require.Equal(t, c.Broken(), syscall.ECONNRESET)
}

func TestSim_PeerResetIsAnErrorAfterTheBytes(t *testing.T) {
	s := NewSim(1)
	l := New(s)
	s.Serve(back, func(p *SimPeer) {
		p.Write("last words")
		s.After(1e6, p.Reset)
	})
	d := dial(t, l, back)
	require.True(t, s.Run(func() bool { return d.ready&Failed != 0 }, l))
	d.result = nil
	fd := d.conn.FD()
	n, err := s.Read(fd, l.In())
	require.NoError(t, err)
	require.Equal(t, string(l.In()[:n]), "last words")
	_, err = s.Read(fd, l.In())
	require.NoError(t, err) // ConnectResult has taken the error: this is the end
	_, err = s.Write(fd, []byte("x"))
	require.Equal(t, err, syscall.EPIPE)
}

func TestSim_TooManyFiles(t *testing.T) {
	s := NewSim(1)
	s.MaxFiles = 2
	l, srv := simEcho(t, s)
	a, b := send(s, "a"), send(s, "b")
	require.True(t, s.Run(func() bool { return srv.err != nil }, l))
	require.Equal(t, srv.err, syscall.EMFILE)
	_, err := s.Connect(back)
	require.Equal(t, err, syscall.EMFILE)
	// The one that was taken frees its descriptor, the other gets it.
	require.True(t, s.Run(func() bool { return a.Ended() && b.Ended() }, l))
	require.Equal(t, a.got+b.got, "ab")
}

func TestSim_SplicesThroughAPipe(t *testing.T) {
	s := NewSim(1)
	l := New(s)
	text := strings.Repeat("spliced ", 1000)
	var got string
	s.Serve(back, func(p *SimPeer) {
		p.Handle = func(p *SimPeer) { got += p.Read() }
		p.Write(text)
	})
	d := dial(t, l, back)
	r, w, err := s.Pipe()
	require.NoError(t, err)
	_, err = s.Splice(r, d.conn.FD(), 1<<20)
	require.Equal(t, err, ErrAgain)
	moved := 0
	require.True(t, s.Run(func() bool {
		if in, err := s.Splice(d.conn.FD(), w, 1<<20); err == nil {
			out, err := s.Splice(r, d.conn.FD(), 1<<20)
			require.NoError(t, err)
			require.Equal(t, in, out)
			moved += out
		}
		return len(got) == len(text)
	}, l))
	require.Equal(t, moved, len(text))
	require.Equal(t, got, text)
	s.Close(w)
	n, err := s.Splice(r, d.conn.FD(), 1)
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestSim_LoopsShareANetwork(t *testing.T) {
	s := NewSim(1)
	one, _ := simEcho(t, s)
	two, _ := simEcho(t, s.System())
	count := map[*Loop]int{}
	clients := make([]*client, 50)
	for _, l := range []*Loop{one, two} {
		srv := l.conns[firstFile+len(count)].handler.(*listener)
		serve := srv.serve
		srv.serve = func(fd int, peer netip.AddrPort) {
			count[l]++
			serve(fd, peer)
		}
		count[l] = 0
	}
	for i := range clients {
		clients[i] = send(s, "hello")
	}
	require.True(t, s.Run(func() bool {
		for _, c := range clients {
			if !c.Ended() {
				return false
			}
		}
		return true
	}, one, two))
	require.Equal(t, count[one]+count[two], len(clients))
	require.NotZero(t, count[one])
	require.NotZero(t, count[two])
}

func TestSim_BackpressureStopsTheSender(t *testing.T) {
	s := NewSim(1)
	s.Window = 1000
	l := New(s)
	s.Serve(back, func(*SimPeer) {}) // reads nothing
	d := dial(t, l, back)
	s.Run(func() bool { return d.ready != 0 }, l)
	sent := 0
	s.Run(func() bool {
		for {
			n, err := s.Write(d.conn.FD(), make([]byte, 300))
			if err == ErrAgain {
				return false
			}
			sent += n
		}
	}, l)
	require.Equal(t, sent, 2000) // one window there, one here
}
