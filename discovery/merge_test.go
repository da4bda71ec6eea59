package discovery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// fed is a Source that publishes what it is fed, fails when fed an error and
// ends when fed nil.
type fed chan any

func (f fed) Watch(ctx context.Context, publish func(Snapshot)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case x := <-f:
			switch x := x.(type) {
			case Snapshot:
				publish(x)
			case error:
				return x
			default:
				return nil
			}
		}
	}
}

// views collects what Merge hands on.
type views struct {
	mu   sync.Mutex
	list []string
}

func (v *views) add(in rules.Input, problems []rules.Problem) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var names []string
	for _, r := range in.Rules {
		names = append(names, r.Name)
	}
	text := strings.Join(names, " ")
	if len(in.Services) > 0 {
		text += "\n" + show(in.Services)
	}
	for _, p := range problems {
		text += fmt.Sprint("!", p.Origin, "/", p.Other, ": ", p.Reason, "\n")
	}
	v.list = append(v.list, text)
}

// take returns the views since the last take.
func (v *views) take() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	list := v.list
	v.list = nil
	return list
}

// merging runs body beside a Merge of n fed Sources, in a bubble.
func merging(t *testing.T, n int, r *Resolver, body func(t *testing.T, s []fed, v *views, logs *observer.ObservedLogs)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		var sources []fed
		var named []Named
		for i := range n {
			sources = append(sources, make(fed))
			named = append(named, Named{Name: fmt.Sprint("s", i), Source: sources[i]})
		}
		v := &views{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- Merge(ctx, named, r, zap.New(core), v.add) }() // ends with cancel
		body(t, sources, v, logs)
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
}

func snap(names ...string) Snapshot {
	var s Snapshot
	for _, n := range names {
		s.Rules = append(s.Rules, rules.Rule{Name: n})
	}
	return s
}

func TestMerge_FirstViewComesAtOnce(t *testing.T) {
	merging(t, 1, &Resolver{}, func(t *testing.T, s []fed, v *views, _ *observer.ObservedLogs) {
		s[0] <- snap("a")
		synctest.Wait()
		require.Equal(t, []string{"a"}, v.take())
	})
}

func TestMerge_FirstViewWaitsForAllSourcesButNotLong(t *testing.T) {
	f := func(late time.Duration, want ...string) {
		t.Helper()
		merging(t, 2, &Resolver{}, func(t *testing.T, s []fed, v *views, _ *observer.ObservedLogs) {
			s[1] <- snap("b")
			pass(late)
			s[0] <- snap("a")
			pass(time.Second)
			require.Equal(t, want, v.take())
		})
	}
	f(10*time.Millisecond, "a b")
	f(2*time.Second, "a b")
	f(4*time.Second, "b", "a b")
}

func TestMerge_BurstsSettle(t *testing.T) {
	merging(t, 2, &Resolver{}, func(t *testing.T, s []fed, v *views, _ *observer.ObservedLogs) {
		s[0] <- snap("a")
		s[1] <- snap("b")
		synctest.Wait()
		require.Equal(t, []string{"a b"}, v.take())
		for i := range 10 {
			s[0] <- snap(fmt.Sprint("a", i))
			pass(20 * time.Millisecond)
		}
		require.Empty(t, v.take())
		pass(50 * time.Millisecond)
		require.Equal(t, []string{"a9 b"}, v.take())
		pass(time.Minute)
		require.Empty(t, v.take())
	})
}

func TestMerge_EndlessBurstsAreHandedOn(t *testing.T) {
	merging(t, 1, &Resolver{}, func(t *testing.T, s []fed, v *views, _ *observer.ObservedLogs) {
		for range 100 {
			s[0] <- snap("a")
			pass(20 * time.Millisecond)
		}
		require.InDelta(t, 5, len(v.take()), 1)
	})
}

func TestMerge_FailedSourceKeepsItsSnapshotAndComesBack(t *testing.T) {
	merging(t, 2, &Resolver{}, func(t *testing.T, s []fed, v *views, logs *observer.ObservedLogs) {
		s[0] <- snap("a")
		s[1] <- snap("b")
		pass(time.Second)
		v.take()
		for range 5 {
			s[0] <- errors.New("connection refused")
			s[1] <- snap("c")
			pass(50 * time.Millisecond)
			require.Equal(t, []string{"a c"}, v.take())
		}
		s[0] <- snap("d")
		pass(50 * time.Millisecond)
		require.Equal(t, []string{"d c"}, v.take())
		require.Equal(t, 2, logs.Len())
		require.Equal(t, "source ended; what it last announced stays in use", logs.All()[0].Message)
		require.Equal(t, map[string]any{"source": "s0", "error": "connection refused"}, logs.All()[0].ContextMap())
		require.Equal(t, "source is back", logs.All()[1].Message)
	})
}

func TestMerge_RestartsBackOff(t *testing.T) {
	merging(t, 1, &Resolver{}, func(t *testing.T, s []fed, _ *views, logs *observer.ObservedLogs) {
		pause := restartFirst
		for range 10 {
			begin := time.Now()
			s[0] <- nil // taken as soon as Watch runs
			if took := time.Since(begin); took != 0 {
				require.InDelta(t, pause, took, float64(pause/2))
				pause = min(2*pause, restartMost)
			}
		}
		require.Equal(t, 1, logs.Len(), "said once")
	})
}

func TestMerge_NamesThatChangeMakeAView(t *testing.T) {
	z := &zone{}
	z.set("blog", "10.0.0.1")
	merging(t, 1, &Resolver{Lookup: z.lookup}, func(t *testing.T, s []fed, v *views, _ *observer.ObservedLogs) {
		s[0] <- Snapshot{Services: []rules.Service{service("web", "blog")}}
		pass(time.Minute)
		require.Equal(t, []string{"\nweb: blog=10.0.0.1\n"}, v.take())
		z.set("blog", "10.0.0.2")
		pass(time.Minute)
		require.Equal(t, []string{"\nweb: blog=10.0.0.2\n"}, v.take())
	})
}

func TestMerge_JoinsServices(t *testing.T) {
	f := func(a, b rules.Service, want string) {
		t.Helper()
		merging(t, 2, &Resolver{}, func(t *testing.T, s []fed, v *views, _ *observer.ObservedLogs) {
			a.Origin, b.Origin = "a.yml:1", "b.yml:1"
			first := Snapshot{Services: []rules.Service{a}, Warnings: []rules.Problem{{Origin: "a.yml:9", Reason: "warning"}}}
			before := asJSON(t, first)
			s[0] <- first
			s[1] <- Snapshot{Services: []rules.Service{b}}
			pass(time.Second)
			require.Equal(t, []string{want}, v.take())
			require.Equal(t, before, asJSON(t, first), "a Snapshot is not touched")
		})
	}
	one, two := service("web", "10.0.0.1"), service("web", "10.0.0.2", "10.0.0.1")
	other := service("app", "10.0.0.2")
	f(one, other, "\nweb: 10.0.0.1=10.0.0.1\napp: 10.0.0.2=10.0.0.2\n!a.yml:9/: warning\n")
	f(one, two, "\nweb: 10.0.0.1=10.0.0.1 10.0.0.2=10.0.0.2\n!a.yml:9/: warning\n")

	one.Check, two.Check = &health.Check{Port: 80}, &health.Check{Port: 80}
	f(one, two, "\nweb: 10.0.0.1=10.0.0.1 10.0.0.2=10.0.0.2\n!a.yml:9/: warning\n")
	two.Check.Port = 81
	f(one, two, "\nweb: 10.0.0.1=10.0.0.1 10.0.0.2=10.0.0.2\n!a.yml:9/: warning\n"+
		"!b.yml:1/a.yml:1: service \"web\" is declared twice with different options; those at a.yml:1 apply to all its servers, make them equal or rename one\n")
}

func TestMerge_UrgentSnapshotsDoNotSettle(t *testing.T) {
	merging(t, 1, &Resolver{}, func(t *testing.T, s []fed, v *views, _ *observer.ObservedLogs) {
		s[0] <- snap("a")
		synctest.Wait()
		require.Equal(t, []string{"a"}, v.take())
		s[0] <- snap("b")
		synctest.Wait()
		require.Empty(t, v.take())
		urgent := snap("c")
		urgent.Urgent = true
		s[0] <- urgent
		synctest.Wait()
		require.Equal(t, []string{"c"}, v.take())
		s[0] <- snap("d")
		synctest.Wait()
		require.Empty(t, v.take(), "only the one that was")
	})
}

func TestMerge_NobodyWaitsForASourceThatFails(t *testing.T) {
	merging(t, 2, &Resolver{}, func(t *testing.T, s []fed, v *views, _ *observer.ObservedLogs) {
		s[0] <- errors.New("cannot be reached")
		synctest.Wait()
		require.Empty(t, v.take())
		s[1] <- snap("b")
		synctest.Wait()
		require.Equal(t, []string{"b"}, v.take())
	})
	merging(t, 1, &Resolver{}, func(t *testing.T, s []fed, v *views, _ *observer.ObservedLogs) {
		s[0] <- errors.New("cannot be reached")
		synctest.Wait()
		require.Equal(t, []string{""}, v.take(), "it serves nothing yet, but it runs")
		pass(2 * time.Second)
		s[0] <- snap("a")
		pass(time.Second)
		require.Equal(t, []string{"a"}, v.take())
	})
}

func TestMerge_TellsHowASourceIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, states := make(fed), make(chan error, 10)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		named := Named{Name: "s", Source: s, MostPause: 2 * time.Second, OnState: func(err error) { states <- err }}
		go func() {
			done <- Merge(ctx, []Named{named}, &Resolver{}, zap.NewNop(), func(rules.Input, []rules.Problem) {})
		}() // ends with cancel
		gone := errors.New("gone")
		s <- snap("a")
		s <- snap("b")
		for range 10 { // with a pause of at most 3 s before each
			s <- gone
		}
		begun := time.Now()
		s <- snap("c")
		require.Less(t, time.Since(begun), 4*time.Second)
		synctest.Wait()
		require.NoError(t, <-states)
		require.Equal(t, gone, <-states)
		require.NoError(t, <-states)
		require.Empty(t, states, "once for each change")
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
}
