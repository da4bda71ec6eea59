package health

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// results feeds a server with p (pass) and f (fail), one second apart, and
// returns its state after each as u or d.
func results(s Status, c *Check, in string) (states string, last Status) {
	d := c.withDefaults()
	for i, r := range in {
		v := Verdict{At: int64(i+1) * int64(time.Second)}
		if r == 'f' {
			v.Reason = "no"
		}
		s = s.after(v, time.Millisecond, &d)
		states += map[bool]string{false: "u", true: "d"}[s.Down]
	}
	return states, s
}

func TestStatus_Thresholds(t *testing.T) {
	f := func(c *Check, in, want string) {
		t.Helper()
		got, _ := results(Status{Down: c.InitialDown}, c, in)
		require.Equal(t, want, got)
	}
	f(&Check{}, "f", "d")
	f(&Check{}, "p", "u")
	f(&Check{}, "pfffpp", "uuuddu")
	f(&Check{}, "pffpfff", "uuuuuud")
	f(&Check{}, "fpfpp", "ddddu")
	f(&Check{}, "fppfff", "dduuud")
	f(&Check{HealthyThreshold: 1, UnhealthyThreshold: 1}, "pfpf", "udud")
	f(&Check{HealthyThreshold: 4}, "fpppfpppp", "ddddddddu")
	f(&Check{InitialDown: true}, "ppfff", "duuud")
	f(&Check{InitialDown: true}, "fpp", "ddu")
}

func TestStatus_Counts(t *testing.T) {
	_, s := results(Status{}, &Check{}, "ppfpff")
	require.Equal(t, uint64(3), s.Passed)
	require.Equal(t, uint64(3), s.Failed)
	require.Equal(t, -2, s.Streak)
	require.Equal(t, Verdict{At: 6 * int64(time.Second), Reason: "no"}, s.Last)
	require.Equal(t, time.Millisecond, s.Took)
	_, s = results(Status{}, &Check{}, "p")
	require.Equal(t, "ok", s.Last.Reason)
}

func TestStatus_Phase(t *testing.T) {
	f := func(c *Check, in string, want Phase) {
		t.Helper()
		_, got := results(Status{Down: c.InitialDown}, c, in)
		require.Equal(t, want.String(), got.Phase.String())
	}
	short := &Check{Initializing: 3 * time.Second, Reinitializing: time.Second, HealthyThreshold: 3}
	f(short, "", Initializing)
	f(short, "p", Healthy)
	f(short, "ff", Initializing)
	f(short, "fff", Unhealthy)
	f(short, "ffppp", Healthy)
	f(short, "pff", Healthy)
	f(short, "pfff", Unhealthy)
	f(short, "pfffp", Reinitializing)
	f(short, "pfffpp", Unhealthy)
	f(short, "pfffppp", Healthy)
	f(&Check{HealthyThreshold: 3}, "pfffppf", Reinitializing)
	f(&Check{InitialDown: true}, "p", Initializing)
	f(&Check{InitialDown: true}, "pp", Healthy)
}

func TestBackend_StateAndEjection(t *testing.T) {
	now := Now()
	c := DefaultCheck
	b := NewRegistry().Backend(addr1, &c, "")
	eject := func() {
		t.Helper()
		for range ejectAfter {
			require.True(t, b.TryBegin(0, now))
			b.Done(Broken, now)
		}
		require.Equal(t, "ejected", b.State(now))
	}
	pass, fail := Verdict{At: now}, Verdict{At: now, Reason: "no"}
	require.Equal(t, "up", b.State(now))
	b.judge(pass, 0, &c, false)
	require.Equal(t, "ok", b.Verdict().Reason)

	eject()
	b.judge(pass, 0, &c, false)
	require.Equal(t, "ejected", b.State(now), "an open port does not outweigh broken responses")
	require.Equal(t, "ejected for 1s: broken response", b.Verdict().Reason)
	b.judge(pass, 0, &c, true)
	require.Equal(t, "up", b.State(now))
	require.Equal(t, "ok", b.Verdict().Reason)

	eject()
	for i := range c.UnhealthyThreshold {
		_, changed := b.judge(fail, 0, &c, false)
		require.Equal(t, i == c.UnhealthyThreshold-1, changed)
	}
	require.Equal(t, "down", b.State(now))
	require.Equal(t, "no", b.Verdict().Reason)
	b.judge(pass, 0, &c, false)
	_, changed := b.judge(pass, 0, &c, false)
	require.True(t, changed)
	require.Equal(t, "up", b.State(now), "coming up ends the ejection of the time before")
}

func TestBackend_OneAttemptIsTheTrial(t *testing.T) {
	now := Now()
	b := &Backend{}
	begin := func() { require.True(t, b.TryBegin(0, now)) }
	fail := func() { b.Done(Refused, now) }
	for range ejectAfter {
		begin()
		fail()
	}
	require.False(t, b.Usable(now))

	now += ejectFirst
	require.True(t, b.Usable(now))
	begin()
	require.False(t, b.Usable(now), "others wait for how it ends")
	fail()
	require.False(t, b.Usable(now+2*ejectFirst-1), "it ended badly: twice as long")
	require.True(t, b.Usable(now+2*ejectFirst))

	now += 2 * ejectFirst
	begin()
	b.Done(Unjudged, now) // the client left
	require.False(t, b.Usable(now+trialTime-1))
	require.True(t, b.Usable(now+trialTime), "the next one's turn")

	now += trialTime
	begin()
	b.Wait(1)
	require.True(t, b.Answered(), "who waits may be let in")
	require.False(t, b.Answered(), "the trial was over")
	b.Wait(-1)
	require.True(t, b.Usable(now), "that the answer is long keeps nobody away")
	begin()
	fail()
	require.False(t, b.Usable(now+4*ejectFirst-1), "one more failure was enough")

	now += 4 * ejectFirst
	begin()
	require.False(t, b.Answered(), "nobody waits")
	b.Done(Served, now)
	for range ejectAfter - 1 {
		begin()
		fail()
	}
	require.True(t, b.Usable(now), "all is forgotten")
}

func TestBackend_StragglersOfATrialThatRanOutDoNotProlong(t *testing.T) {
	now := Now()
	b := &Backend{}
	for range ejectAfter + 2 {
		require.True(t, b.TryBegin(0, now))
	}
	for range ejectAfter {
		b.Done(Refused, now)
	}
	now += ejectFirst
	require.True(t, b.TryBegin(0, now)) // the trial
	now += trialTime
	b.Done(Refused, now)
	until := b.Ejected(now)
	require.Equal(t, now+2*ejectFirst, until)
	b.Done(Refused, now+1)
	require.Equal(t, until, b.Ejected(now+1), "already out")
	b.Answered()
	require.Equal(t, until, b.Ejected(now+1), "there is no trial to end")
}
