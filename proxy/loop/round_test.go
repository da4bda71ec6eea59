package loop

import (
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// script is a Handler made of functions.
type script struct {
	conn    Conn
	ready   func(Ready)
	expired func()
	panics  int // calls of Panicked
}

func (s *script) Ready(r Ready) {
	if s.ready != nil {
		s.ready(r)
	}
}

func (s *script) Expired() { s.expired() }

func (s *script) Panicked() { s.panics++ }

// scripts attaches n connections to a simulated Loop, with a server that sends
// each a byte. The first events are used up.
func scripts(t *testing.T, n int) (*Sim, *Loop, []script, func()) {
	sim := NewSim(1)
	l := New(sim)
	var peers []*SimPeer
	sim.Serve(back, func(p *SimPeer) { peers = append(peers, p) })
	all := make([]script, n)
	for i := range all {
		fd, err := sim.Connect(back)
		require.NoError(t, err)
		require.NoError(t, l.Attach(&all[i].conn, fd, &all[i]))
	}
	sim.Run(func() bool { return false }, l)
	require.Len(t, peers, n)
	return sim, l, all, func() {
		for _, p := range peers {
			p.Write("x")
		}
	}
}

func TestLoop_ClosedInTheBatchHearsNothingMore(t *testing.T) {
	sim, l, all, poke := scripts(t, 2)
	var fresh script
	heard := 0
	for i := range all {
		other := &all[1-i]
		all[i].ready = func(Ready) {
			heard++
			fd := other.conn.FD()
			l.Close(&other.conn)
			l.Close(&other.conn)
			require.False(t, other.conn.Attached())
			require.Equal(t, other.conn.FD(), -1)
			require.Same(t, other.conn.Loop(), l)
			// Its descriptor goes to somebody else at once, who must not hear the
			// event that is still in the batch.
			again, err := sim.Connect(back)
			require.NoError(t, err)
			require.Equal(t, again, fd)
			fresh.ready = func(r Ready) { require.Equal(t, r, Writable) }
			require.NoError(t, l.Attach(&fresh.conn, again, &fresh))
		}
	}
	poke()
	l.Step(-1)
	require.Equal(t, heard, 1)
}

func TestLoop_AgainWaitsForTheOthersTurn(t *testing.T) {
	_, l, all, poke := scripts(t, 3)
	var order []int
	for i := range all {
		all[i].ready = func(r Ready) {
			order = append(order, i)
			require.NotZero(t, r&Readable)
			if i == 0 && len(order) < 8 {
				l.Again(&all[0].conn, Readable)
				l.Again(&all[0].conn, Writable)
			}
		}
	}
	poke()
	l.Step(-1)
	require.Equal(t, order, []int{0, 1, 2})
	poke()
	l.Step(-1)
	require.Equal(t, order, []int{0, 1, 2, 0, 1, 2, 0})
	l.Step(-1)
	require.Len(t, order, 8)
	all[0].ready = func(Ready) { t.Error("nobody asked") }
	l.Step(0)
	l.Again(&all[1].conn, Readable)
	all[1].ready = func(Ready) { t.Error("closed before its turn") }
	l.Close(&all[1].conn)
	l.Again(&all[1].conn, Readable)
	l.Step(0)
}

type releaser struct{ release func() }

func (r *releaser) Release() { r.release() }

func TestLoop_ReleasesAfterTheBatch(t *testing.T) {
	_, l, all, poke := scripts(t, 2)
	var order []string
	for i := range all {
		all[i].ready = func(Ready) {
			order = append(order, "ready")
			l.Defer(&releaser{func() {
				order = append(order, "release")
				if i == 0 {
					l.Defer(&releaser{func() { order = append(order, "nested") }})
				}
			}})
		}
	}
	poke()
	l.Step(-1)
	require.Equal(t, order, []string{"ready", "ready", "release", "release", "nested"})
}

func TestLoop_DetachHandsTheDescriptorBack(t *testing.T) {
	sim, l, all, poke := scripts(t, 1)
	all[0].ready = func(Ready) { t.Error("detached") }
	all[0].conn.SetDeadline(l.Now() + second)
	fd := l.Detach(&all[0].conn)
	require.Equal(t, l.Detach(&all[0].conn), -1)
	require.Zero(t, all[0].conn.Deadline())
	all[0].conn.SetDeadline(l.Now() + second)
	require.Zero(t, all[0].conn.Deadline())
	poke()
	sim.Run(func() bool { return false }, l)
	n, err := sim.Read(fd, l.In())
	require.NoError(t, err)
	require.Equal(t, n, 1)
	heard := 0
	all[0].ready = func(Ready) { heard++ }
	require.NoError(t, l.Attach(&all[0].conn, fd, &all[0]))
	l.Step(-1)
	require.Equal(t, heard, 1)
	require.PanicsWithValue(t, "BUG: attach: the Conn is attached already", func() { l.Attach(&all[0].conn, fd, &all[0]) })
}

func TestLoop_PausedListenerRests(t *testing.T) {
	s := NewSim(1)
	l, srv := simEcho(t, s)
	l.Pause(&srv.conn)
	l.Pause(&srv.conn)
	c := send(s, "hello")
	require.False(t, s.Run(c.Ended, l))
	require.NoError(t, l.Resume(&srv.conn))
	require.NoError(t, l.Resume(&srv.conn))
	require.True(t, s.Run(c.Ended, l))
	require.Equal(t, c.got, "hello")
	l.Pause(&srv.conn)
	l.Close(&srv.conn)
	require.NoError(t, l.Resume(&srv.conn))
	require.Zero(t, s.Open())
}

func TestLoop_PanicCostsOneConnection(t *testing.T) {
	sim, l, all, poke := scripts(t, 4)
	var said []any
	l.OnPanic = func(v any, stack []byte) {
		said = append(said, v)
		require.Contains(t, string(stack), "round_test.go")
	}
	heard := 0
	for i := range all {
		all[i].ready = func(Ready) {
			heard++
			if i == 1 {
				panic("ready")
			}
		}
	}
	var released, posted, fired bool
	all[2].expired = func() { panic("expired") }
	all[2].conn.SetDeadline(l.Now() + second)
	var timer, next Timer
	timer.Init(func() { panic("timer") })
	next.Init(func() { fired = true })
	l.AddTimer(&timer, l.Now()+second)
	l.AddTimer(&next, l.Now()+2*second)
	l.Post(func() { panic("post") })
	l.Post(func() { posted = true })
	l.Defer(&releaser{func() { panic("release") }})
	l.Defer(&releaser{func() { released = true }})
	poke()
	sim.Run(func() bool { return fired }, l)

	require.ElementsMatch(t, said, []any{"ready", "expired", "timer", "post", "release"})
	require.Equal(t, heard, 4)
	require.True(t, released)
	require.True(t, posted)
	require.True(t, fired)
	for i := range all {
		lost := i == 1 || i == 2
		require.Equal(t, all[i].conn.Attached(), !lost)
		require.Equal(t, all[i].panics == 1, lost)
	}
	require.Equal(t, sim.Open(), 2)
}

// worse panics once more when it is to clean up.
type worse struct{ script }

func (w *worse) Panicked() { panic("worse") }

func TestLoop_PanicWhileCleaningUpIsContained(t *testing.T) {
	sim := NewSim(1)
	l := New(sim)
	var said []any
	l.OnPanic = func(v any, _ []byte) { said = append(said, v) }
	sim.Serve(back, func(*SimPeer) {})
	fd, err := sim.Connect(back)
	require.NoError(t, err)
	var w worse
	w.ready = func(Ready) { panic("bad") }
	require.NoError(t, l.Attach(&w.conn, fd, &w))
	sim.Run(func() bool { return false }, l)
	require.Equal(t, said, []any{"bad", "worse"})
}

func TestLoop_PanicDoesNotCloseTheListener(t *testing.T) {
	s := NewSim(1)
	l, srv := simEcho(t, s)
	serve, panics := srv.serve, 0
	l.OnPanic = func(any, []byte) { panics++ }
	srv.serve = func(fd int, _ netip.AddrPort) {
		s.Close(fd)
		srv.serve = serve
		panic("accept")
	}
	first := send(s, "one")
	second := send(s, "two")
	require.True(t, s.Run(second.Ended, l))
	require.Equal(t, first.got+second.got, "two")
	require.Equal(t, panics, 1)
}

func TestLoop_PanicWithoutOnPanicIsNotContained(t *testing.T) {
	l := New(NewSim(1))
	l.Post(func() { panic("seen") })
	require.PanicsWithValue(t, "seen", func() { l.Step(0) })
}

func TestLoop_RunsPostsOfManyGoroutinesInOrder(t *testing.T) {
	const senders, each = 8, 2000
	l := newReal(t)
	last, total := [senders]int{}, 0
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := 1; i <= each; i++ {
				l.Post(func() {
					if last[s]++; last[s] != i {
						t.Errorf("sender %d: got post %d, want %d", s, i, last[s])
					}
					if total++; total == senders*each {
						l.Stop()
					}
				})
			}
		})
	}
	l.Run()
	wg.Wait()
	require.Equal(t, total, senders*each)
}

func TestConn_IsSmall(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(Conn{}), uintptr(96))

	const n = 15000
	sys := &counting{Sim: NewSim(1)}
	l := New(sys)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	conns := make([]quiet, n)
	for i := range conns {
		require.NoError(t, l.Attach(&conns[i].conn, i, &conns[i]))
		conns[i].conn.SetDeadline(int64(i) * second)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int(after.HeapAlloc-before.HeapAlloc)/n, 128)
	runtime.KeepAlive(conns)
	runtime.KeepAlive(l)
}

func TestLoop_StandstillIsNobodysSilence(t *testing.T) {
	sim, l, all, poke := scripts(t, 2*batch)
	heard, silent := 0, 0
	for i := range all {
		c := &all[i].conn
		c.SetDeadline(l.Now() + second)
		all[i].expired = func() { require.FailNow(t, "its event came in time, and waits in the next batch") }
		all[i].ready = func(Ready) {
			if heard++; heard == 1 {
				sim.now += 5 * second // stopped once more, while the Loop goes by the time before
			}
			c.SetDeadline(l.Now() + 2*second)
			all[i].expired = func() { silent++ }
		}
	}
	poke()
	sim.now += 5 * second // the process was stopped
	for heard < len(all) {
		l.Step(0)
	}
	l.Step(0)
	require.Zero(t, silent)
	began := l.Now()
	for silent < len(all) {
		l.Step(-1)
	}
	require.Less(t, l.Now()-began, 3*second)
}
