package discovery

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// finder is a fed Source that keeps what it was told to want.
type finder struct {
	fed
	prefixes []string
	wanted   chan []string
}

func (f finder) Prefixes() []string     { return f.prefixes }
func (f finder) Want(services []string) { f.wanted <- services }

// finding runs body beside a Merge of a file-like Source and two Wanters.
func finding(t *testing.T, body func(t *testing.T, file fed, x, y finder, v *views)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		file := make(fed)
		x := finder{make(fed), []string{"x:"}, make(chan []string, 100)}
		y := finder{make(fed), []string{"y:", "y+z:"}, make(chan []string, 100)}
		v := &views{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { // ends with cancel
			done <- Merge(ctx, []Named{{Name: "file", Source: file}, {Name: "x", Source: x}, {Name: "y", Source: y}}, &Resolver{}, zap.NewNop(), v.add)
		}()
		body(t, file, x, y, v)
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
}

// naming is a Snapshot of rules that go to the services.
func naming(services ...string) Snapshot {
	var s Snapshot
	for _, name := range services {
		s.Rules = append(s.Rules, rules.Rule{Name: name, Service: name, Origin: "rules.yml:" + name})
	}
	return s
}

func told(w finder) (all [][]string) {
	synctest.Wait()
	for len(w.wanted) > 0 {
		all = append(all, <-w.wanted)
	}
	return all
}

func TestMerge_WantsWhatRulesName(t *testing.T) {
	finding(t, func(t *testing.T, file fed, x, y finder, _ *views) {
		x.fed <- Snapshot{}
		y.fed <- Snapshot{}
		file <- naming("blog", "x:b", "y+z:c", "x:a", "x:b", "z:d")
		require.Equal(t, [][]string{{"x:a", "x:b"}}, told(x))
		require.Equal(t, [][]string{{"y+z:c"}}, told(y))
		pass(time.Second)
		file <- naming("blog", "x:b", "y+z:c", "x:a")
		pass(time.Second)
		require.Empty(t, told(x), "nothing new")
		y.fed <- naming("x:c") // the rules of every Source count
		pass(time.Second)
		require.Equal(t, [][]string{{"x:a", "x:b", "x:c"}}, told(x))
		require.Empty(t, told(y))
		file <- Snapshot{}
		y.fed <- Snapshot{}
		pass(time.Second)
		require.Equal(t, [][]string{nil}, told(x), "nothing any more")
	})
}

func TestMerge_FirstViewWaitsForWantedServicesButNotLong(t *testing.T) {
	f := func(late time.Duration, want ...string) {
		t.Helper()
		finding(t, func(t *testing.T, file fed, x, y finder, v *views) {
			x.fed <- Snapshot{}
			y.fed <- Snapshot{}
			file <- naming("x:a")
			pass(late)
			x.fed <- Snapshot{Services: []rules.Service{service("x:a", "10.0.0.1")}}
			pass(time.Second)
			require.Equal(t, want, v.take())
		})
	}
	f(2900*time.Millisecond, "x:a\nx:a: 10.0.0.1=10.0.0.1\n")
	f(3100*time.Millisecond, "x:a\nx:a:\n", "x:a\nx:a: 10.0.0.1=10.0.0.1\n")
}

func TestMerge_FirstViewDoesNotWaitForAFailedWanter(t *testing.T) {
	finding(t, func(t *testing.T, file fed, x, y finder, v *views) {
		y.fed <- Snapshot{}
		x.fed <- errors.New("connection refused")
		file <- naming("x:a")
		synctest.Wait()
		require.Equal(t, []string{"x:a\nx:a:\n"}, v.take())
	})
}

func TestMerge_WantedServicesTakeOptionsOfAnotherSource(t *testing.T) {
	finding(t, func(t *testing.T, file fed, x, y finder, v *views) {
		said := naming("x:a")
		said.Services = []rules.Service{{Name: "x:a", Check: &health.Check{Port: 80}}}
		file <- said
		x.fed <- Snapshot{Services: []rules.Service{service("x:a", "10.0.0.1")}}
		y.fed <- Snapshot{}
		synctest.Wait()
		require.Equal(t, []string{"x:a\nx:a: 10.0.0.1=10.0.0.1\n"}, v.take(), "no problem")
	})
}

func TestMerge_UnwantedPrefixesStayUnknown(t *testing.T) {
	finding(t, func(t *testing.T, file fed, x, y finder, v *views) {
		file <- naming("z:a", "")
		x.fed <- Snapshot{}
		y.fed <- Snapshot{}
		synctest.Wait()
		require.Equal(t, []string{"z:a "}, v.take())
		require.Empty(t, told(x))
	})
}
