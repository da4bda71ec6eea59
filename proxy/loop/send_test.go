package loop

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// talker sends words when it is told to.
type talker struct {
	script
	words  string
	sent   func(n int, err error)
	heard  int // calls of Sent
	result error
}

func (s *talker) Unsent() []byte { return []byte(s.words) }

func (s *talker) Sent(n int, err error) {
	s.heard++
	s.words, s.result = s.words[n:], err
	if s.sent != nil {
		s.sent(n, err)
	}
}

func (s *talker) say(l *Loop, words string) {
	s.words += words
	l.SendSoon(&s.conn, s)
}

// talkers attaches n connections to a simulated Loop that collects, each with a
// peer that says a byte when poked. The first events are used up.
func talkers(t *testing.T, n int) (*Sim, *Loop, []talker, []*SimPeer, func()) {
	sim := NewSim(1)
	sim.Collect = true
	l := New(sim)
	var peers []*SimPeer
	sim.Serve(back, func(p *SimPeer) { peers = append(peers, p) })
	all := make([]talker, n)
	for i := range all {
		fd, err := sim.Connect(back)
		require.NoError(t, err)
		require.NoError(t, l.Attach(&all[i].conn, fd, &all[i]))
	}
	sim.Run(func() bool { return false }, l)
	require.Len(t, peers, n)
	return sim, l, all, peers, func() {
		for _, p := range peers {
			p.Write("x")
		}
	}
}

func TestLoop_SendsWhatWasCollectedInTheRound(t *testing.T) {
	sim, l, all, peers, poke := talkers(t, 3)
	for i := range all {
		s := &all[i]
		s.ready = func(Ready) {
			require.True(t, l.Collects())
			s.say(l, "one ")
			s.say(l, fmt.Sprint("of ", i))
			require.True(t, s.conn.Soon())
			require.Zero(t, all[0].heard+all[1].heard+all[2].heard, "sent before the end of the round")
		}
		s.sent = func(n int, err error) {
			require.NoError(t, err)
			require.False(t, s.conn.Soon())
		}
	}
	poke()
	l.Step(-1)
	sim.Run(func() bool { return false }, l)
	for i, p := range peers {
		require.Equal(t, 1, all[i].heard)
		require.Equal(t, fmt.Sprint("one of ", i), p.Read())
	}
}

func TestLoop_CollectsNothingWhereItDoesNotPay(t *testing.T) {
	sim, l, all, _, poke := talkers(t, 2)
	sim.Collect = false
	for i := range all {
		all[i].ready = func(Ready) { require.False(t, l.Collects()) }
	}
	poke()
	l.Step(-1)
}

func TestLoop_ClosedBeforeItsOutputIsSent(t *testing.T) {
	sim, l, all, peers, poke := talkers(t, 3)
	for i := range all {
		all[i].ready = func(Ready) {
			all[i].say(l, "lost")
			if i == 2 {
				l.Close(&all[0].conn)
			}
		}
	}
	all[1].sent = func(int, error) { l.Close(&all[2].conn) } // which has been written to
	poke()
	l.Step(-1)
	sim.Run(func() bool { return false }, l)
	require.Equal(t, []int{0, 1, 0}, []int{all[0].heard, all[1].heard, all[2].heard})
	require.Empty(t, peers[0].Read())
	require.Equal(t, "lost", peers[1].Read())
}

func TestLoop_OutputThatFollowsOnOutputWaitsForTheNextRound(t *testing.T) {
	_, l, all, _, poke := talkers(t, 1)
	s := &all[0]
	s.ready = func(Ready) { s.say(l, "x") }
	s.sent = func(int, error) { s.say(l, "x") }
	poke()
	for i := range 3 {
		l.Step(-1) // which would sleep if nothing waited
		require.Equal(t, i+1, s.heard)
	}
}

func TestLoop_ManyDoNotWaitForTheEndOfTheRound(t *testing.T) {
	const n = 3*sendBatch + 1
	_, l, all, _, poke := talkers(t, n)
	ready, most := 0, 0
	for i := range all {
		s := &all[i]
		s.ready = func(Ready) {
			ready++
			s.say(l, "x")
		}
		s.sent = func(int, error) { most, ready = max(most, ready), 0 }
	}
	poke()
	l.Step(-1)
	require.Equal(t, sendBatch, most)
	for i := range all {
		require.Equal(t, 1, all[i].heard)
	}
}

func TestLoop_PanicOfASenderDoesNotLoseTheResultsOfOthers(t *testing.T) {
	sim, l, all, peers, poke := talkers(t, 3)
	var said []any
	l.OnPanic = func(v any, _ []byte) { said = append(said, v) }
	for i := range all {
		all[i].ready = func(Ready) { all[i].say(l, "once") }
	}
	all[0].sent = func(int, error) { panic("sent") }
	poke()
	l.Step(-1)
	sim.Run(func() bool { return false }, l)
	require.Equal(t, []any{"sent"}, said)
	require.False(t, all[0].conn.Attached())
	require.Equal(t, 1, all[0].panics)
	for i := range all {
		require.Equal(t, 1, all[i].heard)
	}
	require.Equal(t, "once", peers[1].Read())
	require.Equal(t, "once", peers[2].Read())
}

func TestLoop_FullAndBrokenSocketsSaySoToTheirSender(t *testing.T) {
	sim, l, all, peers, poke := talkers(t, 3)
	sim.MaxWrite = 2
	for i := range all {
		all[i].ready = func(r Ready) {
			if r&Failed == 0 {
				all[i].say(l, "four")
			}
			if i == 1 {
				peers[i].Reset()
			}
		}
	}
	poke()
	l.Step(-1)
	require.NoError(t, all[0].result)
	require.Equal(t, "ur", all[0].words)
	require.Equal(t, syscall.ECONNRESET, all[1].result)
	require.Equal(t, "four", all[1].words)
	require.Equal(t, "ur", all[2].words)
}
