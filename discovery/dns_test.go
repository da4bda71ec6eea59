package discovery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"arzur.net/lb/rules"
)

// zone is a name server: names to addresses, "" meaning that it fails.
type zone struct {
	mu      sync.Mutex
	records map[string]string
	delay   time.Duration
	asked   map[string]int
}

func (z *zone) set(name, addrs string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.records == nil {
		z.records = map[string]string{}
	}
	z.records[name] = addrs
}

func (z *zone) lookups() map[string]int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return maps.Clone(z.asked)
}

func (z *zone) lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	z.mu.Lock()
	if z.asked == nil {
		z.asked = map[string]int{}
	}
	z.asked[name]++
	fields, delay := strings.Fields(z.records[name]), z.delay
	z.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if len(fields) == 0 {
		return nil, errors.New("no such host")
	}
	var addrs []netip.Addr
	for _, f := range fields {
		addrs = append(addrs, netip.MustParseAddr(f))
	}
	return addrs, nil
}

// service is one with an instance per host.
func service(name string, hosts ...string) rules.Service {
	s := rules.Service{Name: name}
	for _, h := range hosts {
		s.Instances = append(s.Instances, rules.Instance{Host: h})
	}
	return s
}

// show writes services as "blog: host=addr ...", one per line.
func show(services []rules.Service) string {
	var b strings.Builder
	for _, s := range services {
		b.WriteString(s.Name + ":")
		for _, i := range s.Instances {
			b.WriteString(" " + i.Host + "=" + i.Addr.String())
		}
		b.WriteString("\n")
	}
	return b.String()
}

// withResolver runs body beside a running Resolver, in a bubble.
func withResolver(t *testing.T, z *zone, log *zap.Logger, body func(t *testing.T, r *Resolver)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &Resolver{Lookup: z.lookup}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.run(ctx, log) }() // ends with cancel
		body(t, r)
		cancel()
		<-done
	})
}

// hasNews says whether the Resolver asks for a new View.
func hasNews(r *Resolver) bool {
	select {
	case <-r.changed():
		return true
	default:
		return false
	}
}

func pass(d time.Duration) {
	time.Sleep(d) // of the bubble's clock
	synctest.Wait()
}

func TestResolver_ExpandsNames(t *testing.T) {
	z := &zone{}
	z.set("blog", "10.0.0.9 10.0.0.2 fd00::1 ::ffff:10.0.0.2")
	withResolver(t, z, zap.NewNop(), func(t *testing.T, r *Resolver) {
		five := 5
		in := []rules.Service{service("web", "blog", "10.0.0.7", "::1", "nowhere", "blog"), service("empty")}
		in[0].Instances[0].Port = 81
		in[0].Instances[0].Weight = &five
		in[0].Instances[0].Backup = true
		before := asJSON(t, in)
		out := r.Resolve(in)
		require.Equal(t, "web: blog=10.0.0.2 blog=10.0.0.9 blog=fd00::1 10.0.0.7=10.0.0.7 ::1=::1 nowhere=invalid IP "+
			"blog=10.0.0.2 blog=10.0.0.9 blog=fd00::1\nempty:\n", show(out))
		for _, i := range out[0].Instances[:3] {
			require.Equal(t, rules.Instance{Host: "blog", Addr: i.Addr, Port: 81, Weight: &five, Backup: true}, i)
		}
		require.Equal(t, before, asJSON(t, in), "the input is not touched")
		require.False(t, hasNews(r), "what was handed out is no news")
	})
}

func TestResolver_FollowsChangesAndKeepsTheLastAddresses(t *testing.T) {
	z := &zone{}
	z.set("blog", "10.0.0.1")
	core, logs := observer.New(zap.InfoLevel)
	withResolver(t, z, zap.New(core), func(t *testing.T, r *Resolver) {
		in := []rules.Service{service("web", "blog")}
		f := func(want string, news bool) {
			t.Helper()
			require.Equal(t, news, hasNews(r))
			require.Equal(t, "web: "+want+"\n", show(r.Resolve(in)))
		}
		f("blog=10.0.0.1", false)
		pass(20 * time.Second)
		f("blog=10.0.0.1", false)
		z.set("blog", "10.0.0.2 10.0.0.1")
		pass(DefaultInterval)
		f("blog=10.0.0.1 blog=10.0.0.2", true)
		z.set("blog", "10.0.0.1 10.0.0.2")
		pass(DefaultInterval)
		f("blog=10.0.0.1 blog=10.0.0.2", false)
		require.Zero(t, logs.Len())
		z.set("blog", "")
		pass(time.Minute)
		f("blog=10.0.0.1 blog=10.0.0.2", false)
		require.Equal(t, 1, logs.Len(), "said once")
		z.set("blog", "10.0.0.3")
		pass(DefaultInterval)
		f("blog=10.0.0.3", true)
		require.Equal(t, 2, logs.Len())
		require.InDelta(t, 95/5, z.lookups()["blog"], 2)
	})
}

func TestResolver_DoesNotWaitLongForTheFirstAnswer(t *testing.T) {
	z := &zone{delay: time.Second}
	z.set("blog", "10.0.0.1")
	withResolver(t, z, zap.NewNop(), func(t *testing.T, r *Resolver) {
		in := []rules.Service{service("web", "blog")}
		took := func() time.Duration {
			begin := time.Now()
			require.Equal(t, "web: blog=invalid IP\n", show(r.Resolve(in)))
			return time.Since(begin)
		}
		require.Equal(t, firstAnswers, took())
		require.Zero(t, took(), "waits for a name once")
		pass(time.Second)
		require.True(t, hasNews(r))
		require.Equal(t, "web: blog=10.0.0.1\n", show(r.Resolve(in)))
	})
}

func TestResolver_StuckLookupsEnd(t *testing.T) {
	z := &zone{delay: time.Hour}
	core, logs := observer.New(zap.InfoLevel)
	withResolver(t, z, zap.New(core), func(t *testing.T, r *Resolver) {
		r.Resolve([]rules.Service{service("web", "blog")})
		pass(lookupTime + time.Millisecond)
		require.Equal(t, "name does not resolve; its last addresses stay in use", logs.All()[0].Message)
	})
}

func TestResolver_ForgetsNames(t *testing.T) {
	z := &zone{}
	z.set("blog", "10.0.0.1")
	withResolver(t, z, zap.NewNop(), func(t *testing.T, r *Resolver) {
		r.Resolve([]rules.Service{service("web", "blog")})
		r.Resolve([]rules.Service{service("web", "10.0.0.1")})
		require.Empty(t, r.names)
		pass(time.Minute)
		require.Equal(t, map[string]int{"blog": 1}, z.lookups())
	})
}

func TestResolver_ManyNames(t *testing.T) {
	z := &zone{delay: time.Millisecond}
	services := []rules.Service{{Name: "web"}}
	for i := range 1000 {
		host := fmt.Sprint("host", i)
		z.set(host, "10.0.0.1")
		services[0].Instances = append(services[0].Instances, rules.Instance{Host: host})
	}
	withResolver(t, z, zap.NewNop(), func(t *testing.T, r *Resolver) {
		require.NotContains(t, show(r.Resolve(services)), "invalid")
		pass(DefaultInterval * 3 / 2)
		for host, n := range z.lookups() {
			require.Equal(t, 2, n, host)
		}
	})
}

func TestResolver_SystemResolver(t *testing.T) {
	addrs, err := systemLookup(t.Context(), "localhost")
	require.NoError(t, err)
	require.Contains(t, canonical(addrs), netip.MustParseAddr("127.0.0.1"))
}
