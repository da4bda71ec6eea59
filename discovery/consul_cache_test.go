package discovery

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"arzur.net/lb/rules"
)

// cachedConsul is one with a cache, whose KV holds hostnames.
func cachedConsul(file string) *Consul {
	c := &Consul{Config: DefaultConsul}
	c.Config.Cache, c.Config.KV = file, "lb/"
	c.ParseFragment = func(_ string, data []byte) Fragment {
		return Fragment{Rules: []rules.Rule{{Port: 80, Hostname: string(data), Service: "consul:db"}}}
	}
	c.wanted = []string{"consul:db?tag=v1"} // Want would make a channel outside of the bubble
	return c
}

const cachedSnapshot = blogRule + "80 kv.example -> consul:db\nblog: 10.0.0.1:8080*7\nconsul:db?tag=v1: 10.0.0.2:8080\n"

// filledConsul is one that leads to cachedSnapshot.
func filledConsul() *fakeConsul {
	f := newFakeConsul()
	blog := consulEntry("blog", 1, blogTag)
	blog.Service.Weights.Passing = 7
	f.services["blog"], f.services["db"] = []*api.ServiceEntry{blog}, []*api.ServiceEntry{consulEntry("db", 2, "v1")}
	f.kv["lb/one"] = "kv.example"
	return f
}

func unanswered(f *fakeConsul) *fakeConsul {
	f.broken = func(*http.Request) *http.Response { return nil }
	return f
}

func TestConsulCache_IsServedUntilConsulAnswers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "consul.json")
	withConsul(t, cachedConsul(file), filledConsul(), func(t *testing.T, last func() string) {
		require.Equal(t, cachedSnapshot, last())
		require.NoFileExists(t, file)
		pass(cachePause)
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode(), "KV may hold secrets")
	})

	f, c := unanswered(filledConsul()), cachedConsul(file)
	withConsul(t, c, f, func(t *testing.T, last func() string) {
		require.Equal(t, cachedSnapshot, last(), "at once: nobody is there")
		pass(time.Hour)
		require.Equal(t, cachedSnapshot, last())
		r := c.Report()
		require.False(t, r.Well)
		require.False(t, r.Unheard)
		require.Regexp(t, `^has not answered yet; what it said at [-0-9: ]+ is in use; .*connection refused`, r.Text)
		require.InDelta(t, time.Hour, r.Age, float64(time.Minute), "since it was said")
		f.change(func() {
			f.broken = nil
			f.services["blog"][0] = consulEntry("blog", 3, blogTag)
			delete(f.kv, "lb/one")
			delete(f.services, "db")
		})
		pass(20 * time.Second)
		require.Equal(t, blogRule+"blog: 10.0.0.3:8080\nconsul:db?tag=v1:\n", last())
		require.True(t, c.Report().Well)
	})
	withConsul(t, cachedConsul(file), unanswered(newFakeConsul()), func(t *testing.T, last func() string) {
		require.Equal(t, blogRule+"blog: 10.0.0.3:8080\nconsul:db?tag=v1:\n", last(), "what came last was written")
	})
}

func TestConsulCache_WaitsASecondForAnAgentThatHangs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "consul.json")
	withConsul(t, cachedConsul(file), filledConsul(), func(*testing.T, func() string) {}) // the end writes it
	c := cachedConsul(file)
	c.Config.client = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})}
	withConsul(t, c, newFakeConsul(), func(t *testing.T, last func() string) {
		require.Equal(t, "nothing", last())
		pass(cachePatience)
		require.Equal(t, cachedSnapshot, last())
		require.False(t, c.Report().Unheard)
	})
}

// TestConsulCache_WithARuleThatNoLongerCounts: another version of lb wrote it.
func TestConsulCache_WithARuleThatNoLongerCounts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "consul.json")
	withConsul(t, cachedConsul(file), filledConsul(), func(*testing.T, func() string) {})
	f, c := unanswered(filledConsul()), cachedConsul(file)
	c.ParseFragment = func(key string, data []byte) Fragment {
		return Fragment{
			Rules:    []rules.Rule{{Port: 80, Hostname: string(data), Service: "consul:db"}},
			Problems: []rules.Problem{{Origin: key + ":1", Reason: "not good", Fatal: true}},
		}
	}
	withConsul(t, c, f, func(t *testing.T, last func() string) {
		without := blogRule + "blog: 10.0.0.1:8080*7\nconsul:db?tag=v1: 10.0.0.2:8080\n"
		require.Equal(t, without, last())
		f.change(func() { f.broken = nil })
		pass(20 * time.Second)
		require.Equal(t, without+"!lb/one:1/lb/one: not good\n", last(), "although the value is the same")
	})
}

func TestConsulCache_ThatIsOfNoUse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "consul.json")
	withConsul(t, cachedConsul(file), filledConsul(), func(*testing.T, func() string) {})
	f := func(want int, edit func(c *Consul)) {
		t.Helper()
		c := cachedConsul(file)
		core, logs := observer.New(zap.WarnLevel)
		c.Log = zap.New(core)
		edit(c)
		withConsul(t, c, unanswered(newFakeConsul()), func(t *testing.T, last func() string) {
			require.Equal(t, "consul:db?tag=v1:\n", last())
			require.True(t, c.Report().Unheard)
			require.Equal(t, want, logs.FilterMessage("the cache of what consul said is of no use").Len())
		})
	}
	f(1, func(c *Consul) { c.Config.Datacenter = "dc2" })
	f(0, func(c *Consul) { c.Config.Cache += ".new" })
	require.NoError(t, os.WriteFile(file, []byte(`{"Of": `), 0o600))
	f(1, func(c *Consul) {})
}

func TestConsulCache_ThatCannotBeWritten(t *testing.T) {
	c := cachedConsul(filepath.Join(t.TempDir(), "gone", "consul.json"))
	require.ErrorContains(t, c.Config.Validate(), "its folder does not exist")
	core, logs := observer.New(zap.WarnLevel)
	c.Log = zap.New(core)
	f := filledConsul()
	withConsul(t, c, f, func(t *testing.T, last func() string) {
		for n := range 3 {
			f.change(func() { f.services["blog"][0].Service.Port = 80 + n })
			pass(2 * cachePause)
		}
	})
	require.Equal(t, 1, logs.FilterMessage("what consul says is not kept for the next start").Len())
}
