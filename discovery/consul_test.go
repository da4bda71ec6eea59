package discovery

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"arzur.net/lb/rules"
)

// withConsul runs body beside a Watch of a fake Consul, in a bubble.
func withConsul(t *testing.T, c *Consul, f *fakeConsul, body func(t *testing.T, last func() string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f.changed = make(chan struct{}) // of the bubble
		if c.Config.client == nil {
			c.Config.client = &http.Client{Transport: f}
		}
		if c.Log == nil {
			c.Log = zap.NewNop()
		}
		var mu sync.Mutex
		var published []string
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { // ends with cancel
			ended <- c.Watch(ctx, func(s Snapshot) {
				mu.Lock()
				defer mu.Unlock()
				published = append(published, showSnapshot(&s))
			})
		}()
		synctest.Wait()
		body(t, func() string {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if len(published) == 0 {
				return "nothing"
			}
			return published[len(published)-1]
		})
		cancel()
		require.NoError(t, <-ended)
	})
}

// showSnapshot is rules, services and warnings as lines.
func showSnapshot(s *Snapshot) string {
	var b strings.Builder
	for _, r := range s.Rules {
		fmt.Fprintf(&b, "%d %s%s%s -> %s\n", r.Port, r.Hostname, r.Path, r.Expr, r.Service)
	}
	for _, v := range s.Services {
		b.WriteString(v.Name + ":")
		for _, i := range v.Instances {
			fmt.Fprintf(&b, " %s:%d", i.Host, i.Port)
			if i.Weight != nil && *i.Weight != 1 {
				fmt.Fprintf(&b, "*%d", *i.Weight)
			}
		}
		b.WriteByte('\n')
	}
	for _, p := range s.Warnings {
		fmt.Fprintf(&b, "!%s/%s: %s\n", p.Origin, p.Other, p.Reason)
	}
	return b.String()
}

const (
	blogTag   = "lb.hostname=blog.example"
	blogRule  = "80 blog.example -> blog\n"
	blogFirst = blogRule + "blog: 10.0.0.1:8080\n"
)

func TestConsul_KeepsTheContract(t *testing.T) {
	testSource(t, func(t *testing.T) (Source, func(string), func(Snapshot) string) {
		f := newFakeConsul()
		set := func(version string) {
			f.services["blog"] = []*api.ServiceEntry{consulEntry("blog", 1, "lb.hostname=v"+version+".example")}
		}
		set("1")
		c := &Consul{Config: DefaultConsul, Log: zap.NewNop()}
		c.Config.client = &http.Client{Transport: f}
		return c, func(version string) { f.change(func() { set(version) }) },
			func(s Snapshot) string {
				require.Len(t, s.Rules, 1)
				return strings.TrimSuffix(strings.TrimPrefix(s.Rules[0].Hostname, "v"), ".example")
			}
	})
}

func TestConsul_InstancesComeAndGo(t *testing.T) {
	f := newFakeConsul()
	blog := consulEntry("blog", 1, blogTag)
	f.services["blog"] = []*api.ServiceEntry{blog}
	withConsul(t, &Consul{Config: DefaultConsul}, f, func(t *testing.T, last func() string) {
		g := func(want string, edit func()) {
			t.Helper()
			f.change(edit)
			pass(time.Second)
			require.Equal(t, want, last())
		}
		g(blogFirst, func() {})
		second := consulEntry("blog", 2, blogTag)
		g(blogRule+"blog: 10.0.0.1:8080 10.0.0.2:8080\n", func() { f.services["blog"] = append(f.services["blog"], second) })
		status := func(s string) func() {
			return func() {
				second.Checks = append(api.HealthChecks{}, &api.HealthCheck{CheckID: "alive", Status: s})
			}
		}
		g(blogFirst, status(api.HealthCritical))
		g(blogRule+"blog: 10.0.0.1:8080 10.0.0.2:8080\n", status(api.HealthPassing))
		g(blogFirst, status(api.HealthWarning))
		g(blogRule+"blog: 10.0.0.1:8080 10.0.0.2:8080*7\n", func() { status(api.HealthPassing)(); second.Service.Weights.Passing = 7 })
		for _, id := range []string{"_node_maintenance", "_service_maintenance:blog-2"} {
			g(blogFirst, func() {
				second.Checks = api.HealthChecks{{CheckID: "alive", Status: api.HealthPassing}, {CheckID: id, Status: api.HealthCritical}}
			})
			g(blogRule+"blog: 10.0.0.1:8080 10.0.0.2:8080*7\n", status(api.HealthPassing))
		}
		g(blogFirst, func() { f.services["blog"] = f.services["blog"][:1] })
		g(blogRule+"blog:\n", func() { blog.Checks[0].Status = api.HealthCritical })
		g("", func() { delete(f.services, "blog") })
	})
}

// TestConsul_ManyChangesMakeFewSnapshots: each costs as much as there are services.
func TestConsul_ManyChangesMakeFewSnapshots(t *testing.T) {
	const services, changes, pause = 10, 100, 2 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		f := newFakeConsul()
		for n := range services {
			name := fmt.Sprint("blog-", n)
			f.services[name] = []*api.ServiceEntry{consulEntry(name, n, "lb.hostname="+name)}
		}
		c := &Consul{Config: DefaultConsul, Log: zap.NewNop()}
		c.Config.client = &http.Client{Transport: f}
		ctx, cancel := context.WithCancel(t.Context())
		var snapshots atomic.Int64
		ended := make(chan error, 1)
		go func() { ended <- c.Watch(ctx, func(Snapshot) { snapshots.Add(1) }) }() // ends with cancel
		synctest.Wait()
		for n := range changes {
			f.change(func() { f.services[fmt.Sprint("blog-", n%services)][0].Service.Port++ })
			pass(pause)
		}
		pass(time.Second)
		require.LessOrEqual(t, snapshots.Load(), int64(15))
		cancel()
		require.NoError(t, <-ended)
	})
}

func TestConsul_AsksAboutServicesThatMatterAlone(t *testing.T) {
	f := newFakeConsul()
	f.services["blog"] = []*api.ServiceEntry{consulEntry("blog", 1, blogTag)}
	f.services["db"] = []*api.ServiceEntry{consulEntry("db", 2, "primary")}
	asked := func(path string) (n int) {
		for _, r := range f.requests() {
			if strings.HasPrefix(r, "/v1/health/service/"+path) {
				n++
			}
		}
		return n
	}
	c := &Consul{Config: DefaultConsul}
	withConsul(t, c, f, func(t *testing.T, last func() string) {
		require.Equal(t, blogFirst, last())
		require.Zero(t, asked("db"))
		c.Want([]string{"consul:db"})
		pass(snapshotPace)
		require.Equal(t, blogFirst+"consul:db: 10.0.0.2:8080\n", last())
		c.Want(nil)
		pass(snapshotPace)
		require.Equal(t, blogFirst, last())
		f.requests()
		f.change(func() {})
		pass(time.Second)
		require.Zero(t, asked("db"), "is asked about no more")
	})
}

func TestConsul_ExposesByDefaultIfSaidSo(t *testing.T) {
	f := newFakeConsul()
	f.services["db"] = []*api.ServiceEntry{consulEntry("db", 2, "primary")}
	withConsul(t, &Consul{Config: DefaultConsul}, f, func(t *testing.T, last func() string) {
		require.Empty(t, last())
	})
	c := &Consul{Config: DefaultConsul}
	c.Config.Labels.ExposedByDefault = true
	withConsul(t, c, f, func(t *testing.T, last func() string) {
		require.Equal(t, "80 Host(`db`) -> db\ndb: 10.0.0.2:8080\n", last())
	})
}

func TestConsul_IdleQueriesAreFew(t *testing.T) {
	f := newFakeConsul()
	f.services["blog"] = []*api.ServiceEntry{consulEntry("blog", 1, blogTag)}
	withConsul(t, &Consul{Config: DefaultConsul}, f, func(t *testing.T, last func() string) {
		require.Equal(t, blogFirst, last())
		pass(time.Second)
		f.requests()
		pass(time.Hour)
		require.InDelta(t, 60/.9+60/4.5, len(f.requests()), 10)
	})
}

func TestConsul_KeepsWhatItKnowsWhileConsulFails(t *testing.T) {
	replies := map[string]func(*http.Request) *http.Response{
		"connection refused": func(*http.Request) *http.Response { return nil },
		"500":                func(*http.Request) *http.Response { return plainReply(500, "No cluster leader") },
		"ACL not found":      func(*http.Request) *http.Response { return plainReply(403, "ACL not found") },
		"invalid character":  func(*http.Request) *http.Response { return plainReply(200, "<html>garbage</html>") },
	}
	for want, broken := range replies {
		f := newFakeConsul()
		f.services["blog"] = []*api.ServiceEntry{consulEntry("blog", 1, blogTag)}
		core, logs := observer.New(zap.InfoLevel)
		c := &Consul{Config: DefaultConsul, Log: zap.New(core)}
		withConsul(t, c, f, func(t *testing.T, last func() string) {
			pass(time.Second)
			require.True(t, c.Report().Well)
			f.change(func() { f.broken = broken })
			pass(time.Hour)
			require.Equal(t, blogFirst, last())
			r := c.Report()
			require.False(t, r.Well)
			require.Contains(t, r.Text, want)
			require.InDelta(t, time.Hour, r.Age, float64(time.Minute))
			require.InDelta(t, 2*360, len(f.requests()), 60, "backs off to 10 s")
			f.change(func() { f.broken = nil; f.services["blog"][0] = consulEntry("blog", 3, blogTag) })
			pass(20 * time.Second)
			require.Equal(t, blogRule+"blog: 10.0.0.3:8080\n", last())
			require.True(t, c.Report().Well)
			require.Equal(t, 2, logs.Len(), "said once, and that it is over")
		})
	}
}

func TestConsul_StartsWithoutConsul(t *testing.T) {
	f := newFakeConsul()
	f.broken = func(*http.Request) *http.Response { return nil }
	f.services["blog"] = []*api.ServiceEntry{consulEntry("blog", 1, blogTag)}
	c := &Consul{Config: DefaultConsul}
	withConsul(t, c, f, func(t *testing.T, last func() string) {
		require.Empty(t, last(), "an empty Snapshot, so that nobody waits")
		require.False(t, c.Report().Well)
		f.change(func() { f.broken = nil })
		pass(15 * time.Second)
		require.Equal(t, blogFirst, last())
	})
}

func TestConsul_AnEmptyCatalogIsConfirmed(t *testing.T) {
	setUp := func() *fakeConsul {
		f := newFakeConsul()
		f.index = 100
		f.services["blog"] = []*api.ServiceEntry{consulEntry("blog", 1, blogTag)}
		return f
	}
	f := setUp()
	withConsul(t, &Consul{Config: DefaultConsul}, f, func(t *testing.T, last func() string) {
		pass(time.Second)
		services := f.services
		f.change(func() { f.services, f.index = map[string][]*api.ServiceEntry{}, 3 })
		pass(50 * time.Millisecond)
		require.Equal(t, blogFirst, last())
		f.change(func() { f.services = services })
		pass(time.Minute)
		require.Equal(t, blogFirst, last(), "it was a moment")
		f.change(func() { f.services = map[string][]*api.ServiceEntry{} })
		pass(2 * time.Second)
		require.Empty(t, last(), "it is true")
	})
	g := func(edit func(f *fakeConsul)) {
		t.Helper()
		f := setUp()
		c := &Consul{Config: DefaultConsul}
		withConsul(t, c, f, func(t *testing.T, last func() string) {
			pass(time.Second)
			f.change(func() { f.services = map[string][]*api.ServiceEntry{}; edit(f) })
			pass(time.Hour)
			require.Equal(t, blogFirst, last())
			require.False(t, c.Report().Well)
		})
	}
	g(func(f *fakeConsul) { f.filtered = true })
	g(func(f *fakeConsul) { f.noLeader = true })
}

func TestConsul_ReadsRulesFromKV(t *testing.T) {
	f := newFakeConsul()
	f.kv["lb/rules/blog"] = "good"
	f.kv["lb/rules/"] = ""
	c := &Consul{Config: DefaultConsul, ParseFragment: func(key string, data []byte) Fragment {
		if string(data) == "bad" {
			return Fragment{Problems: []rules.Problem{{Origin: key + ":1", Reason: "not good", Fatal: true}}}
		}
		return Fragment{Rules: []rules.Rule{{Port: 80, Hostname: string(data), Service: "consul:" + key}}}
	}}
	c.Config.KV = "lb/rules"
	withConsul(t, c, f, func(t *testing.T, last func() string) {
		g := func(want string, edit func()) {
			t.Helper()
			f.change(edit)
			pass(3 * time.Second)
			require.Equal(t, want, last())
		}
		good := "80 good -> consul:lb/rules/blog\n"
		g(good, func() {})
		g(good+"!lb/rules/shop:1/lb/rules/shop: not good\n", func() { f.kv["lb/rules/shop"] = "bad" })
		g(good+"80 fine -> consul:lb/rules/shop\n", func() { f.kv["lb/rules/shop"] = "fine" })
		g(good+"80 fine -> consul:lb/rules/shop\n!lb/rules/shop:1/lb/rules/shop: not good; the value before it stays in force\n",
			func() { f.kv["lb/rules/shop"] = "bad" })
		g(good, func() { delete(f.kv, "lb/rules/shop") })
		g("", func() { f.kv = map[string]string{} })
	})
}

func TestConsul_RegistersItselfAndLeaves(t *testing.T) {
	f := newFakeConsul()
	config := DefaultConsul
	config.Register = &ConsulMyself{Admin: "127.0.0.1:8080", Tags: []string{"edge"}}
	withConsul(t, &Consul{Config: config}, f, func(t *testing.T, last func() string) {
		last()
		require.Len(t, f.agent, 1)
		f.change(func() { clear(f.agent) })
		pass(registerEvery)
		require.Len(t, f.agent, 1, "the agent had forgotten it")
	})
	require.Empty(t, f.agent)
	pid := func(set string) (was string) {
		for _, s := range f.agent {
			was = s.Meta["pid"]
			s.Meta["pid"] = set
		}
		return was
	}
	withConsul(t, &Consul{Config: config}, f, func(t *testing.T, last func() string) {
		last()
		f.change(func() { pid("1") }) // a successor
		pass(2 * registerEvery)
	})
	require.Equal(t, "1", pid("2"), "a successor's entry is not ours")
	withConsul(t, &Consul{Config: config}, f, func(t *testing.T, last func() string) {
		last()
		require.NotEqual(t, "2", pid("3"), "a predecessor's is")
	})
	require.Len(t, f.agent, 1)
}

func TestConsul_TagsOfFabio(t *testing.T) {
	f := newFakeConsul()
	f.services["blog"] = []*api.ServiceEntry{
		consulEntry("blog", 1, "v1", "urlprefix-blog.example/", "urlprefix-/old strip=/old"), consulEntry("blog", 2, "v2", "urlprefix-blog.example/", "urlprefix-/old strip=/old"),
	}
	withConsul(t, &Consul{Config: DefaultConsul}, f, func(t *testing.T, last func() string) {
		require.Equal(t, "80 /old -> blog\n80 blog.example -> blog\nblog: 10.0.0.1:8080 10.0.0.2:8080\n", last(),
			"v1 and v2 make no difference")
		f.change(func() { f.services["blog"][1].Service.Tags = []string{"urlprefix-blog.example/"} })
		pass(time.Second)
		require.Equal(t, "80 /old -> blog#1\n80 blog.example -> blog#1\n80 blog.example -> blog#2\nblog#1: 10.0.0.1:8080\nblog#2: 10.0.0.2:8080\n", last())
		f.change(func() { f.services["blog"][0].Service.Tags = []string{"urlprefix-blog.example/"} })
		pass(time.Second)
		require.Equal(t, "80 blog.example -> blog\nblog: 10.0.0.1:8080 10.0.0.2:8080\n", last())
	})
}
