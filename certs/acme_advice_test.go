package certs

import (
	"crypto/x509"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const renewalInfo = "/draft-ietf-acme-ari-03/renewalInfo/"

// advises answers for the CA when to renew, and counts how often it was asked.
func (p *pebble) advises(asked *atomic.Int64, answer func() string) {
	p.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, renewalInfo) {
			return false
		}
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, answer())
		return true
	})
}

func TestACMEAdvice_TheCAMayWantItEarlier(t *testing.T) {
	t.Parallel()
	p := newPebble(t, time.Minute) // of which three pass, whatever the CA says
	var asked atomic.Int64
	past := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	p.advises(&asked, func() string {
		return fmt.Sprintf(`{"suggestedWindow":{"start":%q,"end":%q},"explanationURL":"https://example.net/why"}`, past(-2*time.Hour), past(-time.Hour))
	})
	c := p.newClient(t, folder(t), nil)
	p.behind(c.ACME)
	c.SetHosts([]string{name}, []string{HTTP01})
	c.run(t)
	had := c.awaitCertificate(t, name, nil)
	c.awaitCertificate(t, name, had)
	require.Less(t, time.Since(had.Leaf.NotBefore), 30*time.Second, "earlier than in its last third")
	require.Positive(t, asked.Load())
}

// What is not an answer changes nothing.
func TestACMEAdvice_OtherAnswers(t *testing.T) {
	t.Parallel()
	p := newPebble(t, long)
	f := func(answer string) {
		t.Helper()
		var asked atomic.Int64
		p.advises(&asked, func() string { return answer })
		c := p.newClient(t, folder(t), nil)
		p.behind(c.ACME)
		c.SetHosts([]string{name}, []string{HTTP01})
		c.run(t)
		require.Eventually(t, func() bool { return asked.Load() > 0 }, eventually, 10*time.Millisecond)
		require.Eventually(t, func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return time.Until(c.names[name].advice.next) > time.Hour
		}, eventually, 10*time.Millisecond)
		s := c.await(t, name, valid)
		require.Greater(t, time.Until(s.NextTry), 50*24*time.Hour)
		c.stop()
	}
	f(`{}`)
	f(`not JSON`)
	f(`{"suggestedWindow":{"start":"2020-01-02T00:00:00Z","end":"2020-01-01T00:00:00Z"}}`)
	f(`{"suggestedWindow":{"start":"2120-01-01T00:00:00Z","end":"2120-01-02T00:00:00Z"}}`)
}

func TestACMEAdvice_PebblesOwnIsUnderstood(t *testing.T) {
	t.Parallel()
	p := newPebble(t, long)
	c := p.newClient(t, folder(t), nil)
	p.behind(c.ACME)
	c.SetHosts([]string{name}, []string{HTTP01})
	c.run(t)
	require.Eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return !c.names[name].advice.at.IsZero()
	}, eventually, 10*time.Millisecond)
}

// The example of RFC 9773 section 4.1.
func TestCertificateID(t *testing.T) {
	serial, _ := new(big.Int).SetString("8765432100", 16)
	require.Equal(t, "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE", certificateID(&x509.Certificate{
		SerialNumber:   serial.Rsh(serial, 8),
		AuthorityKeyId: []byte{0x69, 0x88, 0x5B, 0x6B, 0x87, 0x46, 0x40, 0x41, 0xE1, 0xB3, 0x7B, 0x84, 0x7B, 0xA0, 0xAE, 0x2C, 0xDE, 0x01, 0xC8, 0xD4},
	}))
}

func TestACME_OrdersByProfile(t *testing.T) {
	t.Parallel()
	profiles := func(settings map[string]any) {
		settings["profiles"] = map[string]any{
			"classic": map[string]any{"description": "long", "validityPeriod": 90 * 86400},
			"brief":   map[string]any{"description": "short", "validityPeriod": 6 * 86400},
		}
	}
	p := newPebble(t, long, profiles)
	f := func(profile string) *client {
		c := p.newClient(t, folder(t), func(c *ACMEConfig) { c.Profile = profile })
		p.behind(c.ACME)
		c.SetHosts([]string{name}, []string{HTTP01})
		c.run(t)
		return c
	}
	for profile, days := range map[string]int{"classic": 90, "brief": 6} {
		leaf := f(profile).awaitCertificate(t, name, nil).Leaf
		require.InDelta(t, days, leaf.NotAfter.Sub(leaf.NotBefore).Hours()/24, 0.1)
	}
	require.Contains(t, f("gone").await(t, name, failed).Error, "does not advertise a profile with name gone")
}
