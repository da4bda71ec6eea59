package health

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// world is a Checker whose probes are answered by a function.
type world struct {
	*Checker
	logs *observer.ObservedLogs

	mu     sync.Mutex
	probed map[string][]time.Duration // since the start, by address
	busy   map[string]bool
	answer func(addr string) error // called without the lock
}

// inBubble runs f with a running Checker and a clock of its own.
func inBubble(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.InfoLevel)
		w := &world{Checker: NewChecker(zap.New(core)), logs: logs, probed: map[string][]time.Duration{}, busy: map[string]bool{}}
		begin := time.Now()
		w.answer = func(string) error { return nil }
		w.Checker.probe = func(_ context.Context, p *probe) error {
			addr := p.addr.String()
			w.mu.Lock()
			require.False(t, w.busy[addr], "probes of one server overlap")
			w.busy[addr] = true
			w.probed[addr] = append(w.probed[addr], time.Since(begin))
			answer := w.answer
			w.mu.Unlock()
			err := answer(addr)
			w.mu.Lock()
			w.busy[addr] = false
			w.mu.Unlock()
			return err
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); w.Run(ctx) }() // ends with cancel
		f(t, w)
		cancel()
		<-done
	})
}

func (w *world) say(f func(addr string) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = f
}

func (w *world) times(addr netip.AddrPort) []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.probed[addr.String()]
}

// pass lets time go by.
func pass(d time.Duration) {
	time.Sleep(d) // of the bubble's clock
	synctest.Wait()
}

func TestChecker_TakesDownAndUp(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		type change struct {
			addr   netip.AddrPort
			down   bool
			reason string
		}
		changes := make(chan change, 10)
		w.OnChange = func(b *Backend, down bool, v *Verdict) { changes <- change{b.Addr, down, v.Reason} }
		check := &Check{Interval: time.Second}
		b := NewRegistry().Backend(addr1, check, "")
		w.Set([]Use{{Backend: b, Check: check, Service: "blog"}})

		pass(2 * time.Second)
		require.Equal(t, "up", b.State(Now()))
		require.Equal(t, Healthy, b.Status().Phase)

		w.say(func(string) error { return errors.New("status 500, want 200-399") })
		pass(1500 * time.Millisecond)
		require.Equal(t, "up", b.State(Now()))
		pass(2 * time.Second)
		require.Equal(t, "down", b.State(Now()))
		require.Equal(t, change{addr1, true, "status 500, want 200-399"}, <-changes)
		pass(time.Minute)
		w.say(func(string) error { return nil })
		pass(3 * time.Second)
		require.Equal(t, "up", b.State(Now()))
		require.Equal(t, change{addr1, false, "ok"}, <-changes)
		pass(time.Minute)

		require.Empty(t, changes)
		var lines []string
		for _, e := range w.logs.All() {
			m := e.ContextMap()
			lines = append(lines, fmt.Sprint(e.Level, " ", e.Message, " ", m["backend"], " ", m["service"], " ", m["reason"]))
		}
		require.Equal(t, []string{
			"warn server is down 10.0.0.1:80 blog status 500, want 200-399",
			"info server is up 10.0.0.1:80 blog ok",
		}, lines)
	})
}

func TestChecker_NewDeadServerLeavesWithinASecond(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.say(func(string) error { return errors.New("connect: connection refused") })
		check := &Check{Interval: time.Hour}
		b := NewRegistry().Backend(addr1, check, "")
		w.Set([]Use{{Backend: b, Check: check, Service: "blog"}})
		pass(time.Second)
		require.True(t, b.Down())
	})
}

func TestChecker_Schedule(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		check := &Check{Interval: 10 * time.Second}
		r := NewRegistry()
		var uses []Use
		for i := range 1000 {
			addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80)
			uses = append(uses, Use{Backend: r.Backend(addr, check, ""), Check: check, Service: "blog"})
		}
		w.Set(uses)
		pass(45 * time.Second)
		var firsts, seconds [10]int
		for _, u := range uses {
			times := w.times(u.Backend.Addr)
			require.Less(t, times[0], time.Second)
			require.Less(t, times[1]-times[0], 10*time.Second)
			for i := 2; i < len(times); i++ {
				require.InDelta(t, 10, (times[i] - times[i-1]).Seconds(), 0.5)
			}
			firsts[times[0]/(100*time.Millisecond)]++
			seconds[int(times[2].Seconds())%10]++
		}
		for i := range firsts {
			require.InDelta(t, 100, firsts[i], 50, "first probes in tenth %d of the second", i)
			require.InDelta(t, 100, seconds[i], 70, "probes in second %d of the interval", i)
		}
	})
}

func TestChecker_ReloadKeepsScheduleAndState(t *testing.T) {
	schedule := func(reload bool) (times []time.Duration) {
		inBubble(t, func(t *testing.T, w *world) {
			check := &Check{Interval: 10 * time.Second}
			b := NewRegistry().Backend(addr1, check, "")
			for range 300 {
				if reload || w.times(addr1) == nil {
					w.Set([]Use{{Backend: b, Check: check, Service: "blog"}})
				}
				pass(100 * time.Millisecond)
			}
			times = w.times(addr1)
			require.Equal(t, len(times), int(b.Status().Passed))
		})
		return times
	}
	left, right := schedule(true), schedule(false)
	require.Equal(t, left[0], right[0])
	require.Equal(t, left[1], right[1])
	require.Len(t, right, len(left))
}

func TestChecker_RemovedServerIsNotProbed(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		check := &Check{Interval: time.Second}
		r := NewRegistry()
		b := r.Backend(addr1, check, "")
		other := r.Backend(addr2, check, "")
		w.Set([]Use{{Backend: b, Check: check, Service: "blog"}, {Backend: other, Check: check, Service: "blog"}})
		pass(5 * time.Second)
		before := len(w.times(addr1))
		w.Set([]Use{{Backend: other, Check: check, Service: "blog"}, {Backend: b, Check: nil, Service: "no check"}})
		pass(5 * time.Second)
		require.Len(t, w.times(addr1), before)
		require.GreaterOrEqual(t, len(w.times(addr2)), 9)
	})
}

func TestChecker_RemovedDuringItsProbe(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		probing, release := make(chan struct{}), make(chan struct{})
		w.say(func(string) error { probing <- struct{}{}; <-release; return errors.New("late") })
		check := &Check{Interval: time.Second}
		b := NewRegistry().Backend(addr1, check, "")
		use := []Use{{Backend: b, Check: check, Service: "blog"}}
		w.Set(use)
		<-probing
		w.Set(nil)
		release <- struct{}{}
		synctest.Wait()
		require.False(t, b.Down(), "the result of a removed check counts for nothing")
		require.Empty(t, w.jobs)

		w.Set(use)
		<-probing
		w.Set(nil)
		w.Set(use) // back before the probe has ended: no second one beside it
		pass(5 * time.Second)
		w.say(func(string) error { return nil })
		require.False(t, b.Down())
		release <- struct{}{}
		synctest.Wait()
		require.Equal(t, uint64(1), b.Status().Failed)
		pass(3 * time.Second)
		require.False(t, b.Down())
	})
}

func TestChecker_SlowServerIsNotProbedTwiceAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.say(func(string) error { time.Sleep(5 * time.Second); return nil })
		check := &Check{Interval: time.Second}
		b := NewRegistry().Backend(addr1, check, "")
		w.Set([]Use{{Backend: b, Check: check, Service: "blog"}})
		pass(time.Minute)
		require.InDelta(t, 12, len(w.times(addr1)), 1)
	})
}

func TestChecker_SilentServersDoNotExceedTheLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.say(func(string) error { time.Sleep(2 * time.Second); return errors.New("no answer in 2s") })
		check := &Check{Interval: 2 * time.Second}
		r := NewRegistry()
		var uses []Use
		for i := range 2 * maxProbes {
			addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80)
			uses = append(uses, Use{Backend: r.Backend(addr, check, ""), Check: check, Service: "blog"})
		}
		w.Set(uses)
		pass(1500 * time.Millisecond)
		require.Len(t, w.slots, maxProbes)
		pass(10 * time.Second)
		for _, u := range uses {
			require.True(t, u.Backend.Down())
		}
	})
}

func TestChecker_OurOwnLimitsTakeNobodyDown(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.say(func(string) error { return fmt.Errorf("%w: too many open files", errOurs) })
		check := &Check{Interval: time.Second}
		b := NewRegistry().Backend(addr1, check, "")
		w.Set([]Use{{Backend: b, Check: check, Service: "blog"}})
		pass(10 * time.Second)
		require.False(t, b.Down())
		require.Equal(t, 1, w.logs.Len())
		require.Equal(t, "health checks are not possible; servers keep their state", w.logs.All()[0].Message)
	})
}

func TestChecker_InvalidCheckIsLogged(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		check := &Check{RequestLine: "GET"}
		b := NewRegistry().Backend(addr1, check, "")
		w.Set([]Use{{Backend: b, Check: check, Service: "blog"}})
		require.Equal(t, "server is not checked", w.logs.All()[0].Message)
		pass(5 * time.Second)
		require.Empty(t, w.times(addr1))
	})
}
