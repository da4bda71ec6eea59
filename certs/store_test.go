package certs

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStore_FindsExactThenWildcardThenDefault(t *testing.T) {
	a := newAuthority(t)
	var s Store
	require.True(t, s.Empty())
	s.SetFiles([]*Certificate{
		a.issue(t, []string{"*.arzur.net", "arzur.net"}).loaded(t, "wild"),
		a.issue(t, []string{"Blog.arzur.net"}).loaded(t, "blog"),
		a.issue(t, []string{"*.dev.arzur.net"}).loaded(t, "dev"),
	}, a.issue(t, []string{"default.example"}).loaded(t, "default"))
	server := config(t, &s, Settings{})
	f := func(name, want string) {
		t.Helper()
		_, client, _, err := handshake(t, server, &tls.Config{ServerName: name, InsecureSkipVerify: true})
		require.NoError(t, err)
		require.Equal(t, want, client.PeerCertificates[0].DNSNames[0], name)
	}
	f("arzur.net", "*.arzur.net")
	f("api.arzur.net", "*.arzur.net")
	f("API.arzur.net", "*.arzur.net")
	f("blog.arzur.net", "Blog.arzur.net")
	f("dev.arzur.net", "*.arzur.net")
	f("a.dev.arzur.net", "*.dev.arzur.net")
	f("a.b.arzur.net", "default.example") // a wildcard is one label
	f("default.example", "default.example")
	f("net", "default.example")
	f("", "default.example")
	require.False(t, s.Empty())
	require.True(t, s.Covers("api.ARZUR.net"))
	require.True(t, s.Covers("*.arzur.net"))
	require.True(t, s.Covers("default.example"))
	require.False(t, s.Covers("a.b.arzur.net"))
	require.False(t, s.Covers(""))
}

// Clients that were given an address do not send it.
func TestStore_FindsByTheAddressThatWasReached(t *testing.T) {
	a := newAuthority(t)
	var s Store
	here := func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }
	other := func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 1)} }
	standard := a.issue(t, []string{"default.example"}).loaded(t, "default")
	f := func(want string, client *tls.Config, certs ...*Certificate) {
		t.Helper()
		s.SetFiles(certs, standard)
		_, state, _, err := handshake(t, config(t, &s, Settings{}), client)
		require.NoError(t, err)
		require.Equal(t, want, state.PeerCertificates[0].DNSNames[0])
	}
	mine := a.issue(t, []string{"mine"}, here).loaded(t, "mine")
	f("mine", &tls.Config{ServerName: "127.0.0.1", RootCAs: a.pool}, mine)
	f("default.example", &tls.Config{InsecureSkipVerify: true}, a.issue(t, []string{"its"}, other).loaded(t, "its"))
	f("default.example", &tls.Config{ServerName: "default.example", RootCAs: a.pool}, mine)
}

func TestServer_AsksForClientCertificatesByTheAddressThatWasReached(t *testing.T) {
	a := newAuthority(t)
	var s Store
	s.SetFiles(nil, a.issue(t, []string{"default.example"}).loaded(t, "default"))
	f := func(hostname string, want bool) {
		t.Helper()
		c := config(t, &s, Settings{ClientAuth: &ClientAuth{CA: toPEM("CERTIFICATE", a.leaf.Raw), Hostnames: []string{hostname}}})
		_, _, serverErr, _ := handshake(t, c, &tls.Config{InsecureSkipVerify: true})
		require.Equal(t, want, serverErr != nil, "%v", serverErr)
	}
	f("127.0.0.1", true)
	f("10.0.0.1", false)
}

func TestStore_RefusesAnUnknownName(t *testing.T) {
	a := newAuthority(t)
	f := func(s *Store, version uint16, name string) {
		t.Helper()
		_, _, serverErr, err := handshake(t, config(t, s, Settings{}), &tls.Config{ServerName: name, InsecureSkipVerify: true, MaxVersion: version})
		require.Error(t, serverErr)
		var remote *net.OpError
		require.ErrorAs(t, err, &remote)
		require.Equal(t, "tls: unrecognized name", remote.Err.Error())
	}
	var empty, some Store
	some.SetFiles([]*Certificate{a.issue(t, []string{"arzur.net"}).loaded(t, "a")}, nil)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		f(&empty, version, "arzur.net")
		f(&some, version, "example.com")
		f(&some, version, "")
	}
}

func TestStore_PrefersWhatTheClientCanDo(t *testing.T) {
	a := newAuthority(t)
	var s Store
	s.SetFiles([]*Certificate{
		a.issueFor(t, rsaKey(), []string{"arzur.net"}).loaded(t, "rsa"),
		a.issue(t, []string{"arzur.net"}).loaded(t, "ecdsa"),
	}, nil)
	server := config(t, &s, Settings{})
	f := func(want x509.PublicKeyAlgorithm, suites ...uint16) {
		t.Helper()
		_, client, serverErr, err := handshake(t, server, &tls.Config{ServerName: "arzur.net", RootCAs: a.pool, MaxVersion: tls.VersionTLS12, CipherSuites: suites})
		require.NoError(t, serverErr)
		require.NoError(t, err)
		require.Equal(t, want, client.PeerCertificates[0].PublicKeyAlgorithm)
	}
	f(x509.ECDSA)
	f(x509.RSA, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)
	f(x509.ECDSA, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
}

func TestStore_OfTwoOfANameTheLaterOneIsServed(t *testing.T) {
	a := newAuthority(t)
	old := a.issue(t, []string{"arzur.net"}, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Hour) })
	var s Store
	s.SetFiles([]*Certificate{old.loaded(t, "old"), a.issue(t, []string{"arzur.net"}).loaded(t, "new")}, nil)
	require.Len(t, s.Expiries(), 1)
	require.Greater(t, time.Until(s.Expiries()[0].NotAfter), 24*time.Hour)
}

// Certificates end while they are in use, and nobody loads anything then.
func TestStore_OneThatHasEndedIsForWantOfABetterOne(t *testing.T) {
	a := newAuthority(t)
	var s Store
	ended := func(c *Certificate) *Certificate {
		c.leaf.NotAfter = time.Now().Add(-time.Second)
		return c
	}
	f := func(want string, exact, wildcard, standard *Certificate, more ...*Certificate) {
		t.Helper()
		all := more
		for _, c := range []*Certificate{exact, wildcard} {
			if c != nil {
				all = append(all, c)
			}
		}
		s.SetFiles(all, standard)
		for _, c := range []*Certificate{exact, wildcard, standard} {
			if c != nil && c.Origin != want {
				ended(c)
			}
		}
		got, err := s.GetCertificate(&tls.ClientHelloInfo{
			ServerName: "www.arzur.net", SupportedVersions: []uint16{tls.VersionTLS13},
			SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.PSSWithSHA256}, SupportedCurves: []tls.CurveID{tls.CurveP256},
		})
		require.NoError(t, err)
		require.Equal(t, "CN="+want, got.Leaf.Subject.String())
	}
	c := func(origin string, names ...string) *Certificate {
		subject := func(c *x509.Certificate) { c.Subject.CommonName = origin }
		return a.issue(t, names, subject).loaded(t, origin)
	}
	rsa := a.issueFor(t, rsaKey(), []string{"www.arzur.net"}, func(c *x509.Certificate) { c.Subject.CommonName = "rsa" }).loaded(t, "rsa")
	f("wild", c("exact", "www.arzur.net"), c("wild", "*.arzur.net"), nil)
	f("rsa", c("exact", "www.arzur.net"), nil, nil, rsa)
	f("exact", ended(c("exact", "www.arzur.net")), ended(c("wild", "*.arzur.net")), c("standard", "x.test"))
	f("exact", c("exact", "www.arzur.net"), ended(c("wild", "*.arzur.net")), nil)

	s.SetFiles([]*Certificate{ended(c("exact", "www.arzur.net"))}, nil)
	require.False(t, s.fileCovers("www.arzur.net"), "ACME may have a try")
	require.True(t, s.Covers("www.arzur.net"))
}

func TestStore_ACMEStandsBehindFiles(t *testing.T) {
	a := newAuthority(t)
	acme := func(names ...string) *tls.Certificate {
		x := a.issue(t, names)
		c, err := tls.X509KeyPair(x.chained(), x.key)
		require.NoError(t, err)
		return &c
	}
	source := func(s *Store, name string) string {
		for _, e := range s.Expiries() {
			if e.Name == name {
				return e.Source
			}
		}
		return ""
	}
	var s Store
	s.SetACME([]ACMEStatus{{Name: "arzur.net", State: ACMEFailed, Error: "rate limited"}})
	require.Equal(t, []Info{{Names: []string{"arzur.net"}, Source: FromACME, Origin: "arzur.net", State: ACMEFailed, Error: "rate limited"}}, s.List())
	cert := acme("arzur.net")
	s.SetACME([]ACMEStatus{{Name: "arzur.net", State: ACMEValid, Certificate: cert}})
	require.Equal(t, FromACME, source(&s, "arzur.net"))
	require.Empty(t, s.List()[0].Error)
	s.SetACME([]ACMEStatus{{Name: "arzur.net", State: ACMEFailed, Certificate: cert, Error: "timeout"}})
	require.Equal(t, "timeout", s.List()[0].Error)
	require.Equal(t, FromACME, source(&s, "arzur.net"), "the old certificate keeps serving")

	s.SetFiles([]*Certificate{a.issue(t, []string{"arzur.net"}).loaded(t, "file")}, nil)
	require.Equal(t, FromFile, source(&s, "arzur.net"))
	require.Len(t, s.List(), 2)
	s.SetFiles(nil, nil)
	require.Equal(t, FromACME, source(&s, "arzur.net"))
	s.SetACME([]ACMEStatus{{Name: "blog.arzur.net", State: ACMEWaiting}})
	require.False(t, s.Covers("arzur.net"))
	s.SetACME(nil)
	require.Empty(t, s.List())
	s.SetACME([]ACMEStatus{{Name: "arzur.net", State: ACMEValid, Certificate: &tls.Certificate{}}})
	require.Equal(t, "no certificate", s.List()[0].Error)
}

func TestStore_LookupCostsNoAllocation(t *testing.T) {
	a := newAuthority(t)
	var s Store
	s.SetFiles([]*Certificate{a.issue(t, []string{"*.arzur.net"}).loaded(t, "a")}, nil)
	hello := &tls.ClientHelloInfo{ServerName: "blog.arzur.net"}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if c, _ := s.GetCertificate(hello); c == nil {
			t.Fatal("no certificate")
		}
	}))
}

func TestNew_SaysWhyNoClientWouldAcceptIt(t *testing.T) {
	a := newAuthority(t)
	f := func(want string, names []string, edit func(*x509.Certificate)) {
		t.Helper()
		x := a.issue(t, names, edit)
		c, err := tls.X509KeyPair(x.cert, x.key)
		require.NoError(t, err)
		_, err = New(&c, FromFile, "a.pem")
		require.ErrorContains(t, err, want)
	}
	name := []string{"arzur.net"}
	f("expired on ", name, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	f("not valid before ", name, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })
	f("names no host", nil, func(*x509.Certificate) {})
	f("is not for servers", name, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
}
