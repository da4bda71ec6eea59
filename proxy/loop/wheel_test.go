package loop

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	tick   = int64(1) << tickBits
	second = int64(time.Second)
)

// slack is how late a deadline may be that was set the given time before it.
func slack(distance int64) int64 { return 2*tick + distance/31 }

// deadline is what a model of the wheel knows of one Conn.
type deadline struct {
	conn Conn
	at   int64
	set  int64 // when
}

// checkWheel sets, moves and clears deadlines as seed says, lets time pass as a
// loop would, and compares every expiry with the model.
func checkWheel(t *testing.T, seed uint64, reach int64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	now := rng.Int64N(int64(time.Hour))
	var w wheel
	w.init(now)
	all := make([]deadline, 60)
	byConn := map[*Conn]*deadline{}
	for i := range all {
		byConn[&all[i].conn] = &all[i]
	}
	fire := func(until int64) {
		for w.next() <= until {
			now = max(now, w.next())
			w.turn(now)
			for c := w.expired(); c != nil; c = w.expired() {
				d := byConn[c]
				require.NotZero(t, d.at, "seed %d: fired without a deadline", seed)
				require.LessOrEqual(t, d.at, now, "seed %d: early", seed)
				require.LessOrEqual(t, now-d.at, slack(d.at-d.set), "seed %d: late", seed)
				require.Zero(t, c.Deadline())
				d.at = 0
			}
		}
	}
	for range 300 {
		d := &all[rng.IntN(len(all))]
		switch rng.IntN(6) {
		case 0:
			w.remove(&d.conn)
			d.at = 0
		case 1:
			w.set(&d.conn, 0)
			d.at = 0
		case 2:
			until := now + rng.Int64N(reach)
			fire(until)
			now = until
			w.turn(now)
			require.Nil(t, w.expired(), "seed %d: due without having been next", seed)
		default:
			// Distances of every size, near ones as often as far ones.
			d.at, d.set = now+1+rng.Int64N(1+int64(math.Pow(float64(reach), rng.Float64()))), now
			w.set(&d.conn, d.at)
		}
	}
	fire(never - 1)
	for i := range all {
		require.Zero(t, all[i].at, "seed %d: lost", seed)
		require.Zero(t, all[i].conn.slot)
	}
	require.Equal(t, w.occupied, [len(w.occupied)]uint64{})
}

func TestWheel_NeverEarlyHardlyLateNoneLost(t *testing.T) {
	for seed := range uint64(400) {
		checkWheel(t, seed, []int64{second, 60 * second, 3600 * second, 40 * 86400 * second}[seed%4])
	}
}

func FuzzWheel(f *testing.F) {
	f.Add(uint64(1), uint32(60))
	f.Fuzz(func(t *testing.T, seed uint64, seconds uint32) {
		checkWheel(t, seed, (1+int64(seconds)%(40*86400))*second)
	})
}

func TestWheel_FarthestDeadlineIsHeldNotFired(t *testing.T) {
	var w wheel
	var c Conn
	w.init(1)
	w.set(&c, math.MaxInt64)
	for range 5 {
		require.NotEqual(t, w.next(), int64(never))
		w.turn(w.next())
		require.Nil(t, w.expired())
	}
	require.Equal(t, c.Deadline(), int64(math.MaxInt64))
}

func TestWheel_MovingLaterLeavesTheSlotAlone(t *testing.T) {
	var w wheel
	var c Conn
	w.init(second)
	w.set(&c, 5*second)
	slot, fires := c.slot, c.fires
	w.set(&c, 5*second-tick/2)
	require.Equal(t, c.slot, slot)
	w.set(&c, 60*second)
	require.Equal(t, c.slot, slot)
	w.turn(fires)
	require.Nil(t, w.expired())
	require.NotEqual(t, c.slot, slot)
	require.GreaterOrEqual(t, c.fires, 60*second)
	w.set(&c, fires+second)
	require.Less(t, c.fires, 10*second)
}

func TestWheel_PastDeadlineFiresOnTheNextTick(t *testing.T) {
	var w wheel
	var c Conn
	w.init(10 * second)
	w.set(&c, 3)
	require.Nil(t, w.expired())
	require.LessOrEqual(t, w.next(), 10*second+tick)
	w.turn(w.next())
	require.Same(t, w.expired(), &c)
}

// A loop that slept for a minute and is woken by bytes sets a short deadline.
func TestWheel_ShortDeadlineAfterALongSleepIsOnTime(t *testing.T) {
	var w wheel
	var idle, busy Conn
	w.init(1)
	w.set(&idle, 600*second)
	w.turn(59 * second)
	w.set(&busy, 59*second+second/4)
	require.LessOrEqual(t, w.next(), 59*second+second/4+2*tick)
}

func TestLoop_ExpiredCallsComeInOrder(t *testing.T) {
	s := NewSim(1)
	l := New(s)
	var fired []int
	timers := make([]Timer, 10)
	for i := range timers {
		timers[i].Init(func() { fired = append(fired, i) })
		l.AddTimer(&timers[i], s.Now()+int64(10-i)*100e6)
	}
	l.StopTimer(&timers[4])
	require.False(t, s.Run(func() bool { return false }, l))
	require.Equal(t, fired, []int{9, 8, 7, 6, 5, 3, 2, 1, 0})
}

func TestTimer_MayAddItselfAgain(t *testing.T) {
	s := NewSim(1)
	l := New(s)
	start, rounds := s.Now(), int64(0)
	var timer Timer
	timer.Init(func() {
		rounds++
		require.GreaterOrEqual(t, l.Now(), start+rounds*second/2)
		l.AddTimer(&timer, l.Now()+second/2)
	})
	l.AddTimer(&timer, start+second/2)
	s.Run(func() bool { return s.Now() > start+10*second }, l)
	require.GreaterOrEqual(t, rounds, int64(18))
	require.LessOrEqual(t, rounds, int64(20))
}

// counting is a Sim that counts how often its Loop woke up.
type counting struct {
	*Sim
	waits int
}

func (c *counting) Wait(events []Event, timeout int64) (int, error) {
	c.waits++
	return c.Sim.Wait(events, timeout)
}

func (c *counting) Add(int, uint64, bool) error { return nil }

// quiet counts what it hears.
type quiet struct {
	conn    Conn
	ready   int
	expired int
}

func (q *quiet) Ready(Ready) { q.ready++ }
func (q *quiet) Expired()    { q.expired++ }

func TestLoop_IdleConnectionsHardlyWakeIt(t *testing.T) {
	sys := &counting{Sim: NewSim(1)}
	l := New(sys)
	conns := make([]quiet, 15000)
	for i := range conns {
		require.NoError(t, l.Attach(&conns[i].conn, firstFile+i, &conns[i]))
		conns[i].conn.SetDeadline(sys.Now() + 60*second - int64(i)*second/1000)
	}
	start := sys.Now()
	for range 2 { // those that were to expire first, 45 s from now, are in use
		l.Step(40 * second / 2)
		for i := range conns {
			conns[i].conn.SetDeadline(sys.Now() + 60*second)
		}
	}
	require.Equal(t, sys.Now(), start+40*second)
	require.Equal(t, sys.waits, 2)
	for range 60 { // one wake-up a second at the very most
		l.Step(-1)
	}
	require.GreaterOrEqual(t, sys.Now(), start+100*second)
	for i := range conns {
		require.Equal(t, conns[i].expired, 1)
	}
}
