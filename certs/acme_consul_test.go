package certs

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"
)

// consulAgent is a real one in memory, which can be stopped and started again.
type consulAgent struct {
	*exec.Cmd
	t    *testing.T
	port [3]int
}

func newConsul(t *testing.T) *consulAgent {
	t.Helper()
	a := &consulAgent{t: t, port: [3]int(ports(t, 3))}
	a.start()
	return a
}

func (a *consulAgent) start() {
	a.t.Helper()
	path := built(a.t, "consul", "github.com/hashicorp/consul")
	config := fmt.Sprintf("ports { http = %d, server = %d, serf_lan = %d, serf_wan = -1, dns = -1, grpc = -1, grpc_tls = -1 } disable_update_check = true",
		a.port[0], a.port[1], a.port[2])
	a.Cmd = start(a.t, nil, path, "agent", "-dev", "-bind", "127.0.0.1", "-hcl", config)
	client := a.client()
	require.Eventually(a.t, func() bool {
		_, err := client.KV().Put(&api.KVPair{Key: "ready"}, nil)
		return err == nil
	}, eventually, 50*time.Millisecond)
}

func (a *consulAgent) kill() {
	require.NoError(a.t, a.Process.Kill())
	_ = a.Wait() // it was killed
}

func (a *consulAgent) client() *api.Client {
	c, err := api.NewClient(&api.Config{Address: local(a.port[0])})
	require.NoError(a.t, err)
	return c
}

func (a *consulAgent) cache() *Consul { return NewConsul(a.client(), "lb/acme", nil) }

func TestACMEConsul_OfThreeOneOrdersAndAllServe(t *testing.T) {
	t.Parallel()
	p, consul := newPebble(t, long), newConsul(t)
	var lbs []*client
	var all []*ACME
	for range 3 {
		c := p.newClient(t, consul.cache(), nil)
		lbs, all = append(lbs, c), append(all, c.ACME)
	}
	p.behind(all...) // one that does not order answers the CA
	f := func(host, challenge string) *tls.Certificate {
		t.Helper()
		for _, c := range lbs {
			c.SetHosts([]string{name, "b.example.net"}[:p.orders()+1], []string{challenge})
		}
		cert := lbs[0].awaitCertificate(t, host, nil)
		for _, c := range lbs[1:] {
			require.True(t, c.awaitCertificate(t, host, nil).Leaf.Equal(cert.Leaf))
		}
		for _, c := range lbs {
			c.await(t, host, valid)
		}
		return cert
	}
	for _, c := range lbs {
		c.run(t)
	}
	cert := f(name, HTTP01)
	require.Equal(t, 1, p.orders())
	f("b.example.net", TLSALPN01)
	require.Equal(t, 2, p.orders())
	made, _ := p.accounts()
	require.Equal(t, 1, made)

	keys, _, err := consul.client().KV().Keys("lb/acme/", "", nil)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{
		"lb/acme/kept/acme_account+key", "lb/acme/kept/a.example.net", "lb/acme/kept/b.example.net",
		"lb/acme/live/a.example.net+note", "lb/acme/live/b.example.net+note",
	}, keys, "no locks and no tokens are left")

	late := p.newClient(t, consul.cache(), nil)
	late.SetHosts([]string{name}, []string{HTTP01})
	late.Load(context.Background())
	require.True(t, late.serving(name).Leaf.Equal(cert.Leaf))
}

func TestACMEConsul_OneRenewsForAll(t *testing.T) {
	t.Parallel()
	p, consul := newPebble(t, 20*time.Second), newConsul(t)
	one, other := p.newClient(t, consul.cache(), nil), p.newClient(t, consul.cache(), nil)
	p.behind(one.ACME, other.ACME)
	for _, c := range []*client{one, other} {
		c.SetHosts([]string{name}, []string{HTTP01})
		c.run(t)
	}
	old := one.awaitCertificate(t, name, nil)
	next := one.awaitCertificate(t, name, old)
	require.Eventually(t, func() bool { return other.serving(name) != nil && other.serving(name).Leaf.Equal(next.Leaf) },
		eventually, time.Millisecond, "what one renewed does not reach the other")
	require.Equal(t, 2, p.orders())
}

func TestACMEConsul_AFailureHoldsForAll(t *testing.T) {
	t.Parallel()
	p, consul := newPebble(t, long), newConsul(t)
	p.httpGone.Store(true)
	hour := func(config *ACMEConfig) { config.backoff = func(int) time.Duration { return time.Hour } }
	one, other := p.newClient(t, consul.cache(), hour), p.newClient(t, consul.cache(), hour)
	for _, c := range []*client{one, other} {
		c.SetHosts([]string{name}, []string{HTTP01})
		c.run(t)
	}
	require.Equal(t, one.await(t, name, failed).Error, other.await(t, name, failed).Error)
	require.Equal(t, 1, p.orders())
}

func TestACMEConsul_AnotherGoesOnForOneThatDied(t *testing.T) {
	t.Parallel()
	p, consul := newPebble(t, long), newConsul(t)
	dead := consul.client()
	// Ten seconds are the least that Consul takes; it doubles them at worst.
	id, _, err := dead.Session().CreateNoChecks(&api.SessionEntry{TTL: "10s", Behavior: api.SessionBehaviorDelete, LockDelay: time.Second}, nil)
	require.NoError(t, err)
	got, _, err := dead.KV().Acquire(&api.KVPair{Key: "lb/acme/live/" + name + "+lock", Session: id}, nil)
	require.NoError(t, err)
	require.True(t, got)

	c := p.newClient(t, consul.cache(), nil)
	p.behind(c.ACME)
	c.SetHosts([]string{name, "b.example.net"}, []string{HTTP01})
	c.run(t)
	require.Eventually(t, func() bool { // it lives until then
		_, _, err := dead.Session().Renew(id, nil)
		return err == nil && c.serving("b.example.net") != nil
	}, eventually, 10*time.Millisecond)
	require.Nil(t, c.serving(name), "ordered without the lock")
	require.Equal(t, ACMEWaiting, c.await(t, name, func(ACMEStatus) bool { return true }).State)
	c.awaitCertificate(t, name, nil)
}

func TestACMEConsul_WhoLosesTheLockStops(t *testing.T) {
	t.Parallel()
	consul := newConsul(t)
	cache := consul.cache()
	held, unlock, err := cache.Lock(context.Background(), name)
	require.NoError(t, err)
	defer unlock()
	_, _, err = consul.cache().Lock(context.Background(), name)
	require.ErrorIs(t, err, ErrLocked)

	sessions, _, err := consul.client().Session().List(nil)
	require.NoError(t, err)
	require.Len(t, sessions, 1, "the one that lost has left a session")
	_, err = consul.client().Session().Destroy(sessions[0].ID, nil)
	require.NoError(t, err)
	<-held.Done()
	require.ErrorIs(t, context.Cause(held), api.ErrSessionExpired)
}

func TestACMEConsul_WhileItIsDownWhatIsThereServes(t *testing.T) {
	t.Parallel()
	p, consul := newPebble(t, long), newConsul(t)
	c := p.newClient(t, consul.cache(), nil)
	p.behind(c.ACME)
	c.SetHosts([]string{name}, []string{HTTP01})
	c.run(t)
	cert := c.awaitCertificate(t, name, nil)
	c.await(t, name, valid)

	consul.kill()
	c.SetHosts([]string{name, "b.example.net"}, []string{HTTP01})
	s := c.await(t, "b.example.net", failed)
	require.Contains(t, s.Error, "consul")
	require.Equal(t, 1, p.orders(), "an order that nobody could be told of")
	require.True(t, cert.Leaf.Equal(c.serving(name).Leaf))

	consul.start() // and it has forgotten everything
	c.awaitCertificate(t, "b.example.net", nil)
	require.Equal(t, 2, p.orders())
	c.SetHosts([]string{name}, []string{HTTP01})
}

func TestACMEConsul_TokensAreReadForEachRequest(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 10)
	client, err := api.NewClient(&api.Config{Address: "127.0.0.1:1", HttpClient: &http.Client{
		Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			seen <- r.Header.Get("X-Consul-Token")
			return nil, os.ErrClosed
		}),
	}})
	require.NoError(t, err)
	secret := "one"
	c := NewConsul(client, "lb/acme/", func() (string, error) { return secret, nil })
	_, err = c.Get(context.Background(), name)
	require.ErrorIs(t, err, os.ErrClosed)
	require.Equal(t, "one", <-seen)
	secret = "two"
	require.ErrorIs(t, c.Put(context.Background(), name, nil), os.ErrClosed)
	require.Equal(t, "two", <-seen)
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
