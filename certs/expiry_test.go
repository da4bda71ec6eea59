package certs

import (
	"context"
	"crypto/x509"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const oneDay = 24 * time.Hour

func TestCertificate_EndingIsWarnedOfAhead(t *testing.T) {
	a := newAuthority(t)
	now := time.Now()
	f := func(source string, life, left time.Duration, want string) {
		t.Helper()
		c := a.issue(t, []string{"arzur.net"}).loaded(t, "a.pem")
		c.Source, c.leaf.NotAfter, c.leaf.NotBefore = source, now.Add(left), now.Add(left-life)
		got := c.ending(now)
		if want == "" {
			require.Empty(t, got)
			return
		}
		require.Contains(t, got, want)
	}
	f(FromFile, 365*oneDay, 31*oneDay, "")
	f(FromFile, 365*oneDay, 30*oneDay, "expires in 30 days, on ")
	f(FromFile, 365*oneDay, 2*oneDay, "expires in 2 days, on ")
	f(FromFile, 365*oneDay, oneDay, "expires on ")
	f(FromFile, 365*oneDay, -time.Second, "expired on ")
	f(FromFile, 45*oneDay, 16*oneDay, "") // a short life: the last third
	f(FromFile, 45*oneDay, 15*oneDay, "expires in 15 days")
	f(FromACME, 90*oneDay, 8*oneDay, "")
	f(FromACME, 90*oneDay, 7*oneDay, "expires in 7 days")
	f(FromACME, 6*oneDay, 3*oneDay, "")
	f(FromACME, 6*oneDay, 2*oneDay, "expires in 2 days")
}

func TestStore_WarnsOnceADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		x := a.issue(t, []string{"arzur.net"}, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-335*oneDay), time.Now().Add(32*oneDay)
		})
		var s Store
		s.SetFiles([]*Certificate{x.loaded(t, "a.pem"), a.issue(t, []string{"b.net"}).loaded(t, "b.pem")}, nil)
		log, logs := newLog()
		ctx, stop := context.WithTimeout(t.Context(), 5*oneDay-time.Minute)
		defer stop()
		s.WarnOfEndings(ctx, log)
		got := logs.FilterMessage("certificate ends soon").All()
		require.Len(t, got, 3, "on days 3, 4 and 5")
		require.Equal(t, "a.pem", got[0].ContextMap()["origin"])
		require.Len(t, s.Endings(), 1)
	})
}

func TestStore_ListSaysWhatOperatorsAsk(t *testing.T) {
	a := newAuthority(t)
	x := a.issue(t, []string{"*.arzur.net", "arzur.net"})
	d := a.issueFor(t, rsaKey(), []string{"default.example"})
	var s Store
	s.SetFiles([]*Certificate{x.loaded(t, "a.pem")}, d.loaded(t, "d.pem"))
	require.Equal(t, []Info{
		{Names: []string{"*.arzur.net", "arzur.net"}, Source: FromFile, Origin: "a.pem", Issuer: "CN=Test CA", Serial: x.leaf.SerialNumber.Text(16), Key: "ecdsa P-256", NotBefore: x.leaf.NotBefore, NotAfter: x.leaf.NotAfter},
		{Names: []string{"default.example"}, Source: FromFile, Origin: "d.pem", Default: true, Issuer: "CN=Test CA", Serial: d.leaf.SerialNumber.Text(16), Key: "rsa 2048", NotBefore: d.leaf.NotBefore, NotAfter: d.leaf.NotAfter},
	}, s.List())
	require.ElementsMatch(t, []Expiry{
		{"*.arzur.net", FromFile, x.leaf.NotAfter}, {"arzur.net", FromFile, x.leaf.NotAfter}, {"default.example", FromFile, d.leaf.NotAfter},
	}, s.Expiries())
	require.Empty(t, (&Store{}).Expiries())
}
