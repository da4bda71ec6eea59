package discovery

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"
)

// withMany runs body beside a Watch that may hold 2 connections for 20 services.
func withMany(t *testing.T, more func(c *Consul), body func(t *testing.T, f *fakeConsul, last func() string)) {
	t.Helper()
	f := newFakeConsul()
	for i := range 20 {
		name := fmt.Sprint("s", i)
		f.services[name] = []*api.ServiceEntry{consulEntry(name, 1, "lb.hostname="+name)}
	}
	c := &Consul{Config: DefaultConsul}
	c.Config.Connections = 2
	more(c)
	withConsul(t, c, f, func(t *testing.T, last func() string) {
		require.Equal(t, 20, strings.Count(last(), "10.0.0.1"))
		pass(5 * time.Second)
		f.requests()
		body(t, f, last)
	})
}

// reads counts the requests that read services, and those that look at them.
func reads(requests []string) (reads, looks int) {
	for _, r := range requests {
		switch {
		case !strings.HasPrefix(r, "/v1/health/service/"):
		case strings.Contains(r, "tag=%01"):
			looks++
		default:
			reads++
		}
	}
	return reads, looks
}

func TestConsul_MoreServicesThanConnectionsAreScouted(t *testing.T) {
	withMany(t, func(*Consul) {}, func(t *testing.T, f *fakeConsul, last func() string) {
		g := func(edit func(s7 *api.ServiceEntry), want string) {
			t.Helper()
			f.change(func() { edit(f.services["s7"][0]) })
			pass(100 * time.Millisecond)
			require.Contains(t, last(), want)
			pass(10 * time.Second)
			r, _ := reads(f.requests())
			require.LessOrEqual(t, r, 2, "only what has changed is read")
		}
		g(func(s7 *api.ServiceEntry) { s7.Service.Address = "10.0.0.7" }, "s7: 10.0.0.7:8080\n")
		g(func(s7 *api.ServiceEntry) { s7.Checks[0].Status = api.HealthCritical }, "s7:\n")
		g(func(s7 *api.ServiceEntry) { s7.Checks[0].Status = api.HealthPassing }, "s7: 10.0.0.7:8080\n")
		g(func(s7 *api.ServiceEntry) { s7.Checks[0].Status = api.HealthWarning }, "s7:\n")
		g(func(s7 *api.ServiceEntry) {
			f.services["s20"] = []*api.ServiceEntry{consulEntry("s20", 20, "lb.path=/")}
		}, "s20: 10.0.0.20:8080\n")
		g(func(s7 *api.ServiceEntry) { delete(f.services, "s20") }, "s7:\n")
		require.NotContains(t, last(), "s20")

		pass(time.Hour)
		r, looks := reads(f.requests())
		require.Zero(t, r)
		require.InDelta(t, 20*60/.9, looks, 20*10, "idle, each is looked at about once a minute")
	})
}

func TestConsul_ScoutsReadAllOnceConsulIsBack(t *testing.T) {
	withMany(t, func(*Consul) {}, func(t *testing.T, f *fakeConsul, last func() string) {
		f.change(func() { f.broken = func(*http.Request) *http.Response { return nil } })
		pass(time.Minute)
		require.Equal(t, 20, strings.Count(last(), "10.0.0.1"))
		f.change(func() {
			f.broken = nil
			f.services["s7"][0].Service.Address = "10.0.0.7"
			f.indexOf("s7")
			f.versions["s7"] = fakeVersion{f.versions["s7"].text, f.versions["s6"].index} // as before
		})
		pass(20 * time.Second)
		require.Contains(t, last(), "s7: 10.0.0.7:8080\n")
	})
}

func TestConsul_ScoutsFailAndRecover(t *testing.T) {
	var c *Consul
	withMany(t, func(consul *Consul) { c = consul }, func(t *testing.T, f *fakeConsul, last func() string) {
		f.change(func() {
			f.services["s7"][0].Service.Address = "10.0.0.7"
			f.broken = func(r *http.Request) *http.Response {
				if strings.Contains(r.URL.RawQuery, "tag=") {
					return plainReply(500, "overloaded")
				}
				f.mu.Lock()
				defer f.mu.Unlock()
				return f.answer(r)
			}
		})
		pass(10 * time.Second)
		require.Contains(t, c.Report().Text, "overloaded")
		f.change(func() { f.broken = nil })
		pass(20 * time.Second)
		require.True(t, c.Report().Well)
		require.Contains(t, last(), "s7: 10.0.0.7:8080\n")
	})
}

func TestConsul_ServicesOfOtherDatacentersTakeTurns(t *testing.T) {
	var c *Consul
	withMany(t, func(consul *Consul) { c = consul }, func(t *testing.T, f *fakeConsul, last func() string) {
		c.Want([]string{"consul:s1@dc2", "consul:s2@dc2", "consul:s3@dc2"})
		pass(2 * consulTurn)
		f.change(func() { f.services["s3"][0].Service.Address = "10.0.0.3" })
		pass(2 * consulTurn)
		require.Contains(t, last(), "consul:s3@dc2: 10.0.0.3:8080\n")
	})
}
