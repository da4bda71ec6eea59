package discovery

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestNextIndex(t *testing.T) {
	f := func(last, got, want uint64) {
		t.Helper()
		require.Equal(t, want, nextIndex(last, got))
	}
	f(0, 5, 5)
	f(5, 5, 5)
	f(5, 6, 6)
	f(5, 4, 0)
	f(0, 0, 1)
	f(5, 0, 1)
}

func TestConsul_AsksAsItWasTold(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("first\n"), 0o600))
	f := newFakeConsul()
	f.services["blog"] = []*api.ServiceEntry{consulEntry("blog", 1, blogTag)}
	c := &Consul{Config: DefaultConsul}
	c.Config.TokenFile, c.Config.Datacenter, c.Config.Namespace, c.Config.Partition = file, "dc1", "n", "p"
	c.Config.Filter = `Node.Node == "node"`
	var mu sync.Mutex
	tokens := map[string]bool{}
	c.Config.client = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		mu.Lock()
		tokens[r.Header.Get("X-Consul-Token")] = true
		mu.Unlock()
		return f.RoundTrip(r)
	})}
	withConsul(t, c, f, func(t *testing.T, last func() string) {
		require.Equal(t, blogFirst, last())
		for _, r := range f.requests() {
			q, err := url.ParseQuery(r[strings.Index(r, "?")+1:])
			require.NoError(t, err)
			require.Equal(t, []string{"dc1", "n", "p"}, []string{q.Get("dc"), q.Get("ns"), q.Get("partition")}, r)
			require.True(t, q.Has("stale"), r)
			require.Equal(t, strings.HasPrefix(r, "/v1/health/"), q.Get("filter") != "", r)
		}
		require.NoError(t, os.WriteFile(file, []byte("second"), 0o600))
		f.change(func() {})
		pass(time.Second)
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, map[string]bool{"first": true, "second": true}, tokens)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestConsul_AsksTheLeaderWhenAServerLags(t *testing.T) {
	f := newFakeConsul()
	f.services["blog"] = []*api.ServiceEntry{consulEntry("blog", 1, blogTag)}
	c := &Consul{Config: DefaultConsul}
	var stale, fresh atomic.Int32
	c.Config.client = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		answer, err := f.RoundTrip(r)
		if r.URL.Query().Has("stale") {
			stale.Add(1)
			if err == nil {
				answer.Header.Set("X-Consul-Lastcontact", strconv.Itoa(int(consulLag.Milliseconds())+1))
			}
		} else {
			fresh.Add(1)
		}
		return answer, err
	})}
	withConsul(t, c, f, func(t *testing.T, last func() string) {
		require.Equal(t, blogFirst, last())
		require.Positive(t, stale.Load())
		require.Equal(t, stale.Load(), fresh.Load(), "each answer was asked for again")
	})
}

func TestConsul_OneFailingQueryDoesNotHideAnother(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	var h consulHealth
	h.begin(zap.New(core))
	require.Equal(t, Report{Unheard: true, Text: "has not answered yet"}, h.Report())
	h.known.Store(true)
	f := func(want string, do func()) {
		t.Helper()
		do()
		text := ""
		for _, l := range logs.TakeAll() {
			text += l.Message[:13] + " " + fmt.Sprint(l.ContextMap()["query"]) + "\n"
		}
		require.Equal(t, want, text)
	}
	refused := func(path string) error {
		return &url.Error{Op: "Get", URL: path, Err: errors.New("connection refused")}
	}
	f("consul does n service blog@dc9\n", func() { h.failed("service blog@dc9", errors.New("no path to datacenter")) })
	f("consul does n catalog\n", func() { h.failed("catalog", refused("/catalog")) })
	f("", func() { h.failed("service shop", refused("/shop")) })
	f("", func() { h.failed("catalog", errors.New("no leader")) })
	f("", func() { h.recovered("service shop") })
	f("consul answer catalog\n", func() { h.recovered("catalog") })
	require.False(t, h.Report().Well)
	f("consul answer service blog@dc9\n", func() { h.recovered("service blog@dc9") })
	require.True(t, h.Report().Well)
}

func TestConsul_AnAgentThatHangsIsNoticed(t *testing.T) {
	f := newFakeConsul()
	f.services["blog"] = []*api.ServiceEntry{consulEntry("blog", 1, blogTag)}
	hangs := true
	c := &Consul{Config: DefaultConsul}
	c.Config.client = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		f.mu.Lock()
		hang := hangs
		f.mu.Unlock()
		if hang {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		return f.RoundTrip(r)
	})}
	withConsul(t, c, f, func(t *testing.T, last func() string) {
		pass(consulAnswer + time.Second)
		require.Empty(t, last(), "an empty Snapshot, so that nobody waits any longer")
		require.Contains(t, c.Report().Text, "has not answered for ")
		require.Contains(t, c.Report().Text, "deadline exceeded")
		require.True(t, c.Report().Unheard)
		f.change(func() { hangs = false })
		pass(consulAnswer + time.Second)
		require.Equal(t, blogFirst, last())
	})
}

func TestShrinks(t *testing.T) {
	f := func(want bool, before, now int) {
		t.Helper()
		require.Equal(t, want, shrinks(before, now))
	}
	f(false, 0, 0)
	f(false, 0, 9)
	f(true, 1, 0)
	f(false, 5, 1)
	f(true, 6, 1)
	f(false, 10, 5)
	f(true, 11, 5)
	f(false, 1000, 500)
	f(true, 1000, 100)
}

// TestConsul_AnAnswerWithMostGoneIsConfirmed: a server that restarts may know a
// part of what there is.
func TestConsul_AnAnswerWithMostGoneIsConfirmed(t *testing.T) {
	f := newFakeConsul()
	f.index = 100
	for n := range 10 {
		f.services["blog"] = append(f.services["blog"], consulEntry("blog", n+1, blogTag))
	}
	all := f.services["blog"]
	withConsul(t, &Consul{Config: DefaultConsul}, f, func(t *testing.T, last func() string) {
		pass(time.Second)
		first := last()
		f.change(func() { f.services["blog"] = all[:2] })
		pass(servicePause / 4)
		require.Equal(t, first, last())
		f.change(func() { f.services["blog"] = all })
		pass(time.Second)
		require.Equal(t, first, last())
		f.change(func() { f.services["blog"] = all[:2] })
		pass(time.Second)
		require.Equal(t, blogRule+"blog: 10.0.0.1:8080 10.0.0.2:8080\n", last())
	})
}
