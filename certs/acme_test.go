package certs

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

const (
	long = 90 * 24 * time.Hour
	name = "a.example.net"
)

func valid(s ACMEStatus) bool { return s.State == ACMEValid && s.Error == "" }

func failed(s ACMEStatus) bool { return s.State == ACMEFailed && s.Error != "" }

func TestACME_OrdersByBothChallenges(t *testing.T) {
	t.Parallel()
	p := newPebble(t, long)
	for _, kind := range []string{HTTP01, TLSALPN01} {
		cache := folder(t)
		c := p.newClient(t, cache, nil)
		p.behind(c.ACME)
		c.SetHosts([]string{name, "b.example.net"}, []string{kind})
		c.run(t)
		c.awaitCertificate(t, name, nil)
		c.awaitCertificate(t, "b.example.net", nil)
		c.await(t, name, valid)
		c.stop()
		require.False(t, c.open.any(), "a challenge is still open")
		left, err := filepath.Glob(filepath.Join(string(cache.DirCache), "*+token"))
		require.NoError(t, err)
		require.Empty(t, left, "answers left in the cache")
	}
	require.Equal(t, 4, p.orders())
	made, _ := p.accounts()
	require.Equal(t, 2, made)
}

func TestACME_EveryKindOfKey(t *testing.T) {
	t.Parallel()
	p := newPebble(t, long)
	f := func(kind, want string) {
		t.Helper()
		c := p.newClient(t, folder(t), func(config *ACMEConfig) { config.KeyType = kind })
		p.behind(c.ACME)
		c.SetHosts([]string{name}, []string{HTTP01})
		c.run(t)
		require.Equal(t, want, keyType(c.awaitCertificate(t, name, nil).Leaf))
		c.stop()
	}
	f("", "ecdsa P-256")
	f(KeyECDSA, "ecdsa P-256")
	f(KeyRSA, "rsa 2048")
}

func TestACME_AnotherChallengeIsTriedIfOneFails(t *testing.T) {
	t.Parallel()
	p := newPebble(t, long)
	cache := folder(t)
	c := p.newClient(t, cache, nil)
	// The CA's http port leads to somebody who knows no token.
	p.behind(c.ACME)
	p.httpGone.Store(true)
	c.SetHosts([]string{name}, []string{HTTP01, TLSALPN01})
	c.run(t)
	c.awaitCertificate(t, name, nil)
	require.Equal(t, 2, p.orders())

	data, err := cache.Get(context.Background(), noteKey(name))
	require.NoError(t, err)
	var n note
	require.NoError(t, json.Unmarshal(data, &n))
	require.Equal(t, TLSALPN01, n.Challenge, "the renewal begins with what worked")
}

func TestACME_ARestartTakesWhatTheFolderHas(t *testing.T) {
	t.Parallel()
	p := newPebble(t, long)
	cache := folder(t)
	first := p.newClient(t, cache, nil)
	p.behind(first.ACME)
	first.SetHosts([]string{name}, []string{HTTP01})
	first.run(t)
	had := first.awaitCertificate(t, name, nil)
	first.await(t, name, valid)
	first.stop()

	second := p.newClient(t, cache, nil)
	second.SetHosts([]string{name}, []string{HTTP01})
	second.Load(context.Background())
	require.True(t, second.serving(name).Leaf.Equal(had.Leaf), "there before Run")
	second.run(t)
	second.await(t, name, valid)
	require.Equal(t, 1, p.orders())

	second.SetHosts(nil, nil)
	require.Eventually(t, func() bool { return second.serving(name) == nil }, 10*time.Second, time.Millisecond,
		"a name that no rule has any more is still served")
	second.SetHosts([]string{name}, []string{HTTP01})
	second.awaitCertificate(t, name, nil)
	require.Equal(t, 1, p.orders())
}

func TestACME_ABrokenFileIsOrderedAnew(t *testing.T) {
	t.Parallel()
	p := newPebble(t, long)
	cache := folder(t)
	require.NoError(t, cache.Put(context.Background(), name, []byte("no certificate")))
	require.NoError(t, cache.Put(context.Background(), noteKey(name), []byte("no note")))
	c := p.newClient(t, cache, nil)
	p.behind(c.ACME)
	c.SetHosts([]string{name}, []string{HTTP01})
	c.run(t)
	c.awaitCertificate(t, name, nil)
}

func TestACME_AnotherCAMeansAnotherCertificate(t *testing.T) {
	t.Parallel()
	p := newPebble(t, long)
	cache := folder(t)
	first := p.newClient(t, cache, nil)
	p.behind(first.ACME)
	first.SetHosts([]string{name}, []string{HTTP01})
	first.run(t)
	had := first.awaitCertificate(t, name, nil)
	first.await(t, name, valid)
	first.stop()

	q := newPebble(t, long)
	second := q.newClient(t, cache, nil)
	q.behind(second.ACME)
	second.SetHosts([]string{name}, []string{HTTP01})
	second.run(t)
	second.awaitCertificate(t, name, had)
	require.Equal(t, 1, q.orders())
}

func TestACME_RenewsAheadOfTheEnd(t *testing.T) {
	t.Parallel()
	p := newPebble(t, 6*time.Second)
	c := p.newClient(t, folder(t), nil)
	p.behind(c.ACME)
	c.SetHosts([]string{name}, []string{HTTP01})
	c.run(t)
	old := c.awaitCertificate(t, name, nil)
	for range 3 {
		next := c.awaitCertificate(t, name, old)
		require.True(t, next.Leaf.NotBefore.Before(old.Leaf.NotAfter), "renewed after %s, when the old one had ended", old.Leaf.NotAfter)
		old = next
	}
}

func TestACME_TheOldCertificateServesWhileTheCAIsDown(t *testing.T) {
	t.Parallel()
	f := func(fault func(http.ResponseWriter, *http.Request) bool, says string) {
		t.Helper()
		p := newPebble(t, 6*time.Second)
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
	}, resultUnreachable, "invalid character")
}

func TestACME_ASlowCAIsGivenUp(t *testing.T) {
	t.Parallel()
	p := newPebble(t, long)
	c := p.newClient(t, folder(t), func(config *ACMEConfig) { config.timeout = 200 * time.Millisecond })
	p.behind(c.ACME)
	p.breaks(func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true })
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

func TestACME_AnAccountThatIsKnownElsewhere(t *testing.T) {
	t.Parallel()
	key := []byte("a key of thirty two bytes or more")
	p := newPebble(t, long, func(settings map[string]any) {
		settings["externalAccountBindingRequired"] = true
		settings["externalAccountMACKeys"] = map[string]string{"kid-1": base64.RawURLEncoding.EncodeToString(key)}
	})
	without := p.newClient(t, folder(t), nil)
	without.SetHosts([]string{name}, []string{HTTP01})
	without.run(t)
	require.Contains(t, without.await(t, name, failed).Error, "(externalAccountRequired)")
	without.stop()
	with := p.newClient(t, folder(t), func(config *ACMEConfig) { config.EAB = &EAB{KID: "kid-1", Key: key} })
	p.behind(with.ACME)
	with.SetHosts([]string{name}, []string{HTTP01})
	with.run(t)
	with.awaitCertificate(t, name, nil)
}

func TestACME_ANameWithACertificateInAFileIsNotOrdered(t *testing.T) {
	t.Parallel()
	p := newPebble(t, long)
	c := p.newClient(t, folder(t), nil)
	p.behind(c.ACME)
	c.config.Store.SetFiles([]*Certificate{newAuthority(t).issue(t, []string{"*.example.net"}).loaded(t, "file")}, nil)
	c.SetHosts([]string{name, "deeper." + name}, []string{HTTP01})
	c.run(t)
	c.await(t, name, func(s ACMEStatus) bool { return s.State == ACMECovered })
	c.await(t, "deeper."+name, valid)
	require.Equal(t, 1, p.orders())
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

func TestACME_TwoOnOneFolderOrderOnce(t *testing.T) {
	t.Parallel()
	p := newPebble(t, long)
	dir := folder(t)
	one, other := p.newClient(t, dir, nil), p.newClient(t, &Folder{dir.DirCache}, nil)
	p.behind(one.ACME, other.ACME)
	var names []string
	for i := range 6 {
		names = append(names, fmt.Sprintf("%d.example.net", i))
	}
	for _, c := range []*client{one, other} {
		c.SetHosts(names, []string{TLSALPN01})
		c.run(t)
	}
	for _, n := range names {
		require.True(t, one.awaitCertificate(t, n, nil).Leaf.Equal(other.awaitCertificate(t, n, nil).Leaf), n)
	}
	require.Equal(t, len(names), p.orders())
	made, _ := p.accounts()
	require.Equal(t, 1, made)
}

func TestACME_NamesThatNobodyCertifies(t *testing.T) {
	t.Parallel()
	p := newPebble(t, long)
	c := p.newClient(t, folder(t), nil)
	f := func(name, says string) {
		t.Helper()
		c.SetHosts([]string{name}, []string{HTTP01})
		s := c.await(t, name, func(s ACMEStatus) bool { return s.State == ACMERefused })
		require.Contains(t, s.Error, says)
		require.Zero(t, s.NextTry)
	}
	c.run(t)
	f("*.example.net", "is a wildcard")
	f("127.0.0.1", "is an address")
	f("[::1]", "is an address")
	f("localhost", "has no dot")
	f("a_b.example.net", "is no name of a host")
	f("../etc/passwd.d", "is no name of a host")
	require.Zero(t, p.orders())
}

func TestACME_ChallengeOfStrangers(t *testing.T) {
	t.Parallel()
	cache := folder(t)
	a := NewACME(ACMEConfig{Cache: cache, Store: &Store{}})
	a.SetHosts([]string{name}, []string{HTTP01})
	require.NoError(t, cache.Put(context.Background(), "token"+tokenSuffix, []byte("answer")))
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(string(cache.DirCache)), "secret+http-01"), []byte("secret"), 0o600))
	f := func(host, path, want string) {
		t.Helper()
		body, ok := a.Challenge(host, path)
		require.Equal(t, want, string(body))
		require.Equal(t, want != "", ok)
	}
	f(name, challengePath+"token", "answer")
	f("A.Example.NET.:80", challengePath+"token", "answer")
	f("b.example.net", challengePath+"token", "")
	f(name, challengePath, "")
	f(name, challengePath+"another", "")
	f(name, challengePath+"../secret", "")
	f(name, challengePath+strings.Repeat("a", 129), "")
	f(name, "/token", "")
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
