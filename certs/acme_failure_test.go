package certs

import (
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

func TestACME_TheOldCertificateServesWhileTheCAIsDown(t *testing.T) {
	t.Parallel()
	f := func(fault func(http.ResponseWriter, *http.Request) bool, says string) {
		t.Helper()
		p := newPebble(t, 10*time.Second)
		c := p.newClient(t, folder(t), nil)
		p.behind(c.ACME)
		c.SetHosts([]string{name}, []string{HTTP01})
		c.run(t)
		old := c.awaitCertificate(t, name, nil)
		p.breaks(fault)
		s := c.await(t, name, failed)
		require.Contains(t, s.Error, says)
		require.Equal(t, old.Leaf.NotAfter, s.Expires)
		require.True(t, old.Leaf.Equal(c.serving(name).Leaf))
		p.breaks(nil)
		c.awaitCertificate(t, name, old)
	}
	f(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }, "the CA cannot be reached: ")
	f(problem("", 503, "serverInternal", "come back later", "0"), "come back later (serverInternal)")
	f(problem(newOrder, 429, "rateLimited", "too many", "0"), "too many (rateLimited)")
}

func TestACME_FailuresAreToldInWords(t *testing.T) {
	t.Parallel()
	p := newPebble(t, long)
	f := func(host string, challenges []string, fault func(http.ResponseWriter, *http.Request) bool, result string, says string) ACMEStatus {
		t.Helper()
		cache := folder(t)
		c := p.newClient(t, cache, func(config *ACMEConfig) { config.backoff = func(int) time.Duration { return time.Minute } })
		p.behind(c.ACME)
		p.breaks(fault)
		defer p.breaks(nil)
		began := time.Now()
		c.SetHosts([]string{host}, challenges)
		c.run(t)
		s := c.await(t, host, failed)
		c.stop()
		require.Contains(t, s.Error, says)
		require.WithinRange(t, s.NextTry, began.Add(time.Minute), time.Now().Add(24*time.Hour))
		require.Zero(t, s.Expires)
		require.Equal(t, map[string]float64{result: 1}, counted(t, c.ACME))
		return s
	}
	f("blocked.example.net", []string{HTTP01}, nil, resultRefused, "order: ")
	p.httpGone.Store(true)
	f(name, []string{HTTP01}, nil, resultUnverified, "challenge http-01: ")
	p.httpGone.Store(false)
	f(name, nil, nil, resultRefused, "no port can answer a challenge: the CA offers ")
	s := f(name, []string{HTTP01}, problem(newOrder, 429, "rateLimited", "50 a week", "7200"), resultRateLimited, "50 a week (rateLimited)")
	require.WithinRange(t, s.NextTry, time.Now().Add(119*time.Minute), time.Now().Add(121*time.Minute), "Retry-After")
	f(name, []string{HTTP01}, problem(newAccount, 400, "invalidContact", "no such address", ""), resultRefused, "account: no such address (invalidContact)")
	f(name, []string{HTTP01}, problem("/dir", 500, "serverInternal", "oh", ""), resultUnreachable, "oh (serverInternal)")
	f(name, []string{HTTP01}, func(w http.ResponseWriter, r *http.Request) bool {
		fmt.Fprint(w, "<html>a captive portal</html>")
		return true
	}, resultUnreachable, "the CA's answer is not ACME: account: invalid character")
	f(name, []string{HTTP01}, func(http.ResponseWriter, *http.Request) bool { return true }, resultUnreachable, "the CA's answer is not ACME: account: EOF")
}

func TestACME_ASlowCAIsGivenUp(t *testing.T) {
	t.Parallel()
	p := newPebble(t, long)
	c := p.newClient(t, folder(t), func(config *ACMEConfig) { config.timeout = 200 * time.Millisecond })
	p.behind(c.ACME)
	p.breaks(func(_ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // lest the client, about to leave, still sees an empty answer
	})
	c.SetHosts([]string{name}, []string{HTTP01})
	c.run(t)
	require.Contains(t, c.await(t, name, failed).Error, "the CA did not answer in time")
	p.breaks(nil)
}

func TestACME_ACAThatIsDownIsAskedForOneName(t *testing.T) {
	t.Parallel()
	p := newPebble(t, long)
	c := p.newClient(t, folder(t), func(config *ACMEConfig) { config.backoff = func(int) time.Duration { return time.Hour } })
	asked := make(chan string, 1000)
	p.breaks(func(_ http.ResponseWriter, r *http.Request) bool { asked <- r.URL.Path; panic(http.ErrAbortHandler) })
	var names []string
	for i := range 200 {
		names = append(names, fmt.Sprintf("%d.example.net", i))
	}
	c.SetHosts(names, []string{HTTP01})
	c.run(t)
	for _, n := range names {
		require.Contains(t, c.await(t, n, failed).Error, "the CA cannot be reached")
	}
	require.Len(t, asked, 1)
}

func TestACME_AnAccountThatTheCAForgotIsMadeAgain(t *testing.T) {
	t.Parallel()
	p := newPebble(t, long)
	c := p.newClient(t, folder(t), nil)
	p.behind(c.ACME)
	c.SetHosts([]string{name}, []string{HTTP01})
	c.run(t)
	c.awaitCertificate(t, name, nil)
	forgets := problem(newOrder, 400, "accountDoesNotExist", "who are you", "")
	p.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if forgets(w, r) {
			p.breaks(nil)
			return true
		}
		return false
	})
	c.SetHosts([]string{name, "b.example.net"}, []string{HTTP01})
	c.awaitCertificate(t, "b.example.net", nil)
	made, asked := p.accounts()
	require.Equal(t, 1, made)
	require.Equal(t, 2, asked)
}

func TestACME_AnAccountKeyThatCannotBeRead(t *testing.T) {
	t.Parallel()
	p := newPebble(t, long)
	f := func(key string) *client {
		cache := folder(t)
		require.NoError(t, cache.Put(t.Context(), accountKeyName, []byte(key)))
		c := p.newClient(t, cache, nil)
		p.behind(c.ACME)
		c.SetHosts([]string{name}, []string{HTTP01})
		c.run(t)
		return c
	}
	f("").awaitCertificate(t, name, nil) // a file that a crash has left empty
	broken := f("no key").await(t, name, failed)
	require.Contains(t, broken.Error, "acme_account+key in the cache: not in PEM format; remove it")
}

func TestACME_BackOffOutlivesTheProgram(t *testing.T) {
	t.Parallel()
	p := newPebble(t, long)
	cache := folder(t)
	first := p.newClient(t, cache, func(config *ACMEConfig) { config.backoff = func(int) time.Duration { return time.Hour } })
	p.httpGone.Store(true)
	first.SetHosts([]string{name}, []string{HTTP01})
	first.run(t)
	said := first.await(t, name, failed)
	first.stop()

	second := p.newClient(t, cache, nil)
	second.SetHosts([]string{name}, []string{HTTP01})
	second.run(t)
	s := second.await(t, name, failed)
	require.Equal(t, said.Error, s.Error)
	require.WithinDuration(t, said.NextTry, s.NextTry, time.Second)
	require.Equal(t, 1, p.orders())
}

func TestACME_AFolderThatCannotBeWrittenCostsNoOrder(t *testing.T) {
	t.Parallel()
	p := newPebble(t, long)
	cache := folder(t)
	require.NoError(t, os.RemoveAll(string(cache.DirCache)))
	require.NoError(t, os.WriteFile(string(cache.DirCache), nil, 0o600))
	c := p.newClient(t, cache, nil)
	c.SetHosts([]string{name}, []string{HTTP01})
	c.run(t)
	require.Contains(t, c.await(t, name, failed).Error, "not a directory")
	require.Zero(t, p.orders())

	_, err := NewFolder(string(cache.DirCache))
	require.ErrorContains(t, err, "not a directory")
}

// counted are the orders that were counted, by their result.
func counted(t *testing.T, a *ACME) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(a)
	families, err := r.Gather()
	require.NoError(t, err)
	n := make(map[string]float64)
	for _, family := range families {
		for _, m := range family.Metric {
			if family.GetName() == "lb_acme_orders_total" && m.Counter.GetValue() > 0 {
				n[m.Label[0].GetValue()] = m.Counter.GetValue()
			}
		}
	}
	return n
}
