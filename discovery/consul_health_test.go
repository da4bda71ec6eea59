package discovery

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"
)

func TestConsulOutcome(t *testing.T) {
	f := func(want, before consulOutcome, err error) {
		t.Helper()
		before.miss(err)
		require.Equal(t, want, before)
	}
	refusal := api.StatusError{Code: 500, Body: "No path to datacenter"}
	f(consulFailed, consulPending, errors.New("connection refused"))
	f(consulRefused, consulPending, refusal)
	f(consulRefused, consulFailed, refusal)
	f(consulFailed, consulRefused, errNoLeader)
	f(consulHeard, consulHeard, refusal)
}

// TestConsul_IsUnheardWithAPartMissing: who takes over then lacks rules or servers
// that its predecessor knows.
func TestConsul_IsUnheardWithAPartMissing(t *testing.T) {
	refuse := func(*http.Request) (*http.Response, error) { return plainReply(500, "No path to datacenter"), nil }
	hang := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	f := func(path string, instead roundTripper, missing string, forGood bool) {
		t.Helper()
		fake, c := filledConsul(), cachedConsul("")
		var well atomic.Bool
		c.Config.client = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if strings.HasPrefix(r.URL.Path, path) && !well.Load() {
				return instead(r)
			}
			return fake.RoundTrip(r)
		})}
		withConsul(t, c, fake, func(t *testing.T, last func() string) {
			require.True(t, c.Report().Unheard)
			pass(consulGrace - time.Second)
			require.True(t, c.Report().Unheard)
			pass(consulAnswer)
			require.Equal(t, missing, last(), "nobody else waits for it")
			require.Equal(t, forGood, c.Report().Unheard)
			require.False(t, c.Report().Well)
			if forGood {
				require.Contains(t, c.Report().Text, "has not answered for ")
			}
			well.Store(true)
			pass(time.Minute)
			require.Equal(t, cachedSnapshot, last())
			require.False(t, c.Report().Unheard)
			require.True(t, c.Report().Well)
		})
	}
	blog := blogRule + "blog: 10.0.0.1:8080*7\n"
	kv := "80 kv.example -> consul:db\n"
	f("/v1/kv/", hang, blog+"consul:db?tag=v1: 10.0.0.2:8080\n", true)
	f("/v1/kv/", refuse, blog+"consul:db?tag=v1: 10.0.0.2:8080\n", false)
	f("/v1/health/service/db", hang, blogRule+kv+"blog: 10.0.0.1:8080*7\nconsul:db?tag=v1:\n", true)
	f("/v1/health/service/db", refuse, blogRule+kv+"blog: 10.0.0.1:8080*7\nconsul:db?tag=v1:\n", false)
	f("/v1/catalog/", refuse, kv+"consul:db?tag=v1: 10.0.0.2:8080\n", true)
}

// TestConsul_IsHeardWithNothingInKV: an answer that removes nothing is one too.
func TestConsul_IsHeardWithNothingInKV(t *testing.T) {
	fake, c := filledConsul(), cachedConsul("")
	clear(fake.kv)
	var failures atomic.Int32
	c.Config.client = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if strings.HasPrefix(r.URL.Path, "/v1/kv/") && failures.Add(1) == 1 {
			return nil, errors.New("connection reset")
		}
		return fake.RoundTrip(r)
	})}
	withConsul(t, c, fake, func(t *testing.T, _ func() string) {
		require.True(t, c.Report().Unheard)
		pass(time.Second)
		require.False(t, c.Report().Unheard)
	})
}

// TestConsul_IsUnheardUntilWhatKVNamesIsRead: the name comes after the first answers.
func TestConsul_IsUnheardUntilWhatKVNamesIsRead(t *testing.T) {
	fake, c := filledConsul(), cachedConsul("")
	var well atomic.Bool
	c.Config.client = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/shop") && !well.Load() {
			return nil, errors.New("connection reset")
		}
		return fake.RoundTrip(r)
	})}
	c.wanted = nil
	withConsul(t, c, fake, func(t *testing.T, _ func() string) {
		require.False(t, c.Report().Unheard)
		c.Want([]string{"consul:shop"})
		pass(time.Minute)
		require.True(t, c.Report().Unheard)
		well.Store(true)
		pass(time.Minute)
		require.False(t, c.Report().Unheard)
	})
}
