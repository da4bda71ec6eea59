package certs

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/acme/autocert"
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
	require.Eventually(t, func() bool { return second.serving(name) == nil }, eventually, time.Millisecond,
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

// A changed configuration takes no certificate away.
func TestACME_AnotherConfigurationGoesOnWithWhatThereIs(t *testing.T) {
	t.Parallel()
	p, q := newPebble(t, long), newPebble(t, long)
	store := &Store{}
	use := func(c *ACMEConfig) { c.Store = store }
	first := p.newClient(t, folder(t), use)
	p.behind(first.ACME)
	first.SetHosts([]string{name}, []string{HTTP01})
	first.run(t)
	had := first.awaitCertificate(t, name, nil)
	first.await(t, name, valid)

	moved := folder(t)
	second := p.newClient(t, moved, use)
	second.Adopt(first.ACME)
	second.SetHosts([]string{name}, []string{HTTP01})
	second.run(t)
	second.await(t, name, valid)
	first.stop()
	require.True(t, second.serving(name).Leaf.Equal(had.Leaf))
	data, err := moved.Get(context.Background(), name)
	require.NoError(t, err, "the new cache has it too")
	require.NotEmpty(t, data)
	require.Equal(t, 1, p.orders())

	q.httpGone.Store(true)
	elsewhere := folder(t)
	third := q.newClient(t, elsewhere, use)
	q.behind(third.ACME)
	third.Adopt(second.ACME)
	third.SetHosts([]string{name}, []string{HTTP01})
	third.run(t)
	second.stop()
	third.await(t, name, failed)
	require.True(t, third.serving(name).Leaf.Equal(had.Leaf), "until another CA has given one")
	_, err = elsewhere.Get(context.Background(), name)
	require.ErrorIs(t, err, autocert.ErrCacheMiss, "it is not the one of that CA")
	q.httpGone.Store(false)
	third.awaitCertificate(t, name, had)
	third.await(t, name, valid)
}

func TestACME_RenewsAheadOfTheEnd(t *testing.T) {
	t.Parallel()
	p := newPebble(t, 15*time.Second) // of which at least five are left when it is renewed
	c := p.newClient(t, folder(t), nil)
	p.behind(c.ACME)
	c.SetHosts([]string{name}, []string{HTTP01})
	c.run(t)
	old := c.awaitCertificate(t, name, nil)
	for range 2 {
		next := c.awaitCertificate(t, name, old)
		require.True(t, next.Leaf.NotBefore.Before(old.Leaf.NotAfter), "renewed after %s, when the old one had ended", old.Leaf.NotAfter)
		old = next
	}
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
