package certs

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// serving is a Store with a certificate for each name.
func serving(t *testing.T, a *authority, names ...string) *Store {
	t.Helper()
	var s Store
	var list []*Certificate
	for _, n := range names {
		list = append(list, a.issue(t, []string{n}).loaded(t, n))
	}
	s.SetFiles(list, nil)
	return &s
}

// identity is a client certificate.
func (a *authority) identity(t *testing.T) tls.Certificate {
	t.Helper()
	x := a.issue(t, []string{"alice"}, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	c, err := tls.X509KeyPair(x.cert, x.key)
	require.NoError(t, err)
	return c
}

func TestServer_ModernByDefault(t *testing.T) {
	a := newAuthority(t)
	server := config(t, serving(t, a, "arzur.net"), Settings{})
	_, client, _, err := handshake(t, server, &tls.Config{ServerName: "arzur.net", RootCAs: a.pool, NextProtos: []string{"h2", "http/1.1"}})
	require.NoError(t, err)
	require.Equal(t, uint16(tls.VersionTLS13), client.Version)
	require.Equal(t, tls.X25519MLKEM768, client.CurveID)
	require.Equal(t, "http/1.1", client.NegotiatedProtocol)

	refused := func(c *tls.Config) {
		t.Helper()
		c.ServerName, c.RootCAs = "arzur.net", a.pool
		_, _, serverErr, err := handshake(t, server, c)
		require.Error(t, serverErr)
		require.Error(t, err)
	}
	refused(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	refused(&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}})
	refused(&tls.Config{NextProtos: []string{"h2"}})
}

func TestServer_KeepsToItsSettings(t *testing.T) {
	a := newAuthority(t)
	s := serving(t, a, "arzur.net")
	f := func(settings Settings, client *tls.Config, version, suite uint16) {
		t.Helper()
		client.ServerName, client.RootCAs = "arzur.net", a.pool
		got, _, _, err := handshake(t, config(t, s, settings), client)
		if version == 0 {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.Equal(t, version, got.Version)
		if suite != 0 {
			require.Equal(t, suite, got.CipherSuite)
		}
	}
	f(Settings{MinVersion: tls.VersionTLS13}, &tls.Config{MaxVersion: tls.VersionTLS12}, 0, 0)
	f(Settings{MinVersion: tls.VersionTLS13}, &tls.Config{}, tls.VersionTLS13, 0)
	f(Settings{MaxVersion: tls.VersionTLS12}, &tls.Config{}, tls.VersionTLS12, 0)
	chacha := []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}
	f(Settings{Ciphers: chacha}, &tls.Config{MaxVersion: tls.VersionTLS12}, tls.VersionTLS12, chacha[0])
	f(Settings{Ciphers: chacha}, &tls.Config{}, tls.VersionTLS13, 0)

	wrong := func(want string, settings Settings) {
		t.Helper()
		_, err := NewServer(s).Config(&settings)
		require.EqualError(t, err, want)
	}
	wrong("tls: max_version is below min_version", Settings{MinVersion: tls.VersionTLS13, MaxVersion: tls.VersionTLS12})
	wrong("tls: ciphers are those of TLS 1.2, which min_version leaves out; leave one of the two out", Settings{MinVersion: tls.VersionTLS13, Ciphers: chacha})
	wrong("tls: client_auth: ca has no certificate in PEM; want those that client certificates must lead to", Settings{ClientAuth: &ClientAuth{}})
}

func TestServer_WithoutProtocolsAnyIsFine(t *testing.T) {
	a := newAuthority(t)
	server, err := NewServer(serving(t, a, "arzur.net")).Config(&Settings{})
	require.NoError(t, err)
	_, client, _, err := handshake(t, server, &tls.Config{ServerName: "arzur.net", RootCAs: a.pool, NextProtos: []string{"postgresql"}})
	require.NoError(t, err)
	require.Empty(t, client.NegotiatedProtocol)
}

func TestServer_AsksForClientCertificates(t *testing.T) {
	a, clients, strangers := newAuthority(t), newAuthority(t), newAuthority(t)
	ca := toPEM("CERTIFICATE", clients.leaf.Raw)
	s := serving(t, a, "arzur.net", "admin.arzur.net")
	alice, mallory := []tls.Certificate{clients.identity(t)}, []tls.Certificate{strangers.identity(t)}
	f := func(auth ClientAuth, name string, with []tls.Certificate, ok bool) {
		t.Helper()
		auth.CA = ca
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			client := &tls.Config{ServerName: name, RootCAs: a.pool, MaxVersion: version}
			// The certificate goes out even if the server's list of CAs says it is in vain.
			client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if len(with) == 0 {
					return &tls.Certificate{}, nil
				}
				return &with[0], nil
			}
			got, _, serverErr, err := handshake(t, config(t, s, Settings{ClientAuth: &auth}), client)
			require.Equal(t, ok, serverErr == nil, "server: %v", serverErr)
			require.Equal(t, ok, err == nil, "client: %v", err)
			if ok && len(with) > 0 && (auth.Hostnames == nil || name == "admin.arzur.net") {
				require.Equal(t, "CN=test", got.VerifiedChains[0][0].Subject.String())
			} else {
				require.Empty(t, got.VerifiedChains)
			}
		}
	}
	f(ClientAuth{}, "arzur.net", nil, false)
	f(ClientAuth{}, "arzur.net", alice, true)
	f(ClientAuth{}, "arzur.net", mallory, false)
	f(ClientAuth{Optional: true}, "arzur.net", nil, true)
	f(ClientAuth{Optional: true}, "arzur.net", alice, true)
	f(ClientAuth{Optional: true}, "arzur.net", mallory, false)
	for _, hostname := range []string{"admin.arzur.net", "Admin.arzur.net", "*.arzur.net"} {
		f(ClientAuth{Hostnames: []string{hostname}}, "admin.arzur.net", nil, false)
		f(ClientAuth{Hostnames: []string{hostname}}, "ADMIN.arzur.net", nil, false)
		f(ClientAuth{Hostnames: []string{hostname}}, "admin.arzur.net", alice, true)
		f(ClientAuth{Hostnames: []string{hostname}}, "arzur.net", nil, true)
		f(ClientAuth{Hostnames: []string{hostname}}, "arzur.net", alice, true)
	}
}

func TestServer_TicketsOutliveAReload(t *testing.T) {
	a := newAuthority(t)
	s := serving(t, a, "arzur.net", "www.arzur.net")
	maker := NewServer(s)
	server := func(settings Settings) *tls.Config {
		t.Helper()
		c, err := maker.Config(&settings, "http/1.1")
		require.NoError(t, err)
		return c
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client := &tls.Config{ServerName: "arzur.net", RootCAs: a.pool, MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
		resumed := func(c *tls.Config) bool {
			t.Helper()
			_, got, _, err := handshake(t, c, client)
			require.NoError(t, err)
			return got.DidResume
		}
		require.False(t, resumed(server(Settings{})))
		require.True(t, resumed(server(Settings{})), "a new tls.Config, as after a reload")
		require.True(t, resumed(server(Settings{Ciphers: (&Settings{}).suites()})))

		other, err := NewServer(s).Config(&Settings{}, "http/1.1")
		require.NoError(t, err)
		require.False(t, resumed(other), "another Server has other keys")
	}
}

// sharedCache gives a client the session of one server name for another.
type sharedCache struct{ tls.ClientSessionCache }

func (c sharedCache) Get(string) (*tls.ClientSessionState, bool) { return c.ClientSessionCache.Get("") }
func (c sharedCache) Put(_ string, s *tls.ClientSessionState)    { c.ClientSessionCache.Put("", s) }

func TestServer_TicketsCountForTheirNameAlone(t *testing.T) {
	a, clients := newAuthority(t), newAuthority(t)
	both := a.issue(t, []string{"arzur.net", "admin.arzur.net"})
	var s Store
	s.SetFiles([]*Certificate{both.loaded(t, "both")}, nil)
	maker := NewServer(&s)
	make := func(settings Settings) *tls.Config {
		c, err := maker.Config(&settings, "http/1.1")
		require.NoError(t, err)
		return c
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cache := sharedCache{tls.NewLRUClientSessionCache(0)}
		connect := func(server *tls.Config, name string) (bool, error) {
			_, got, _, err := handshake(t, server, &tls.Config{ServerName: name, RootCAs: a.pool, MaxVersion: version, ClientSessionCache: cache})
			return got.DidResume, err
		}
		open := make(Settings{})
		_, err := connect(open, "arzur.net")
		require.NoError(t, err)
		resumed, err := connect(open, "arzur.net")
		require.NoError(t, err)
		require.True(t, resumed)
		resumed, err = connect(open, "admin.arzur.net")
		require.NoError(t, err)
		require.False(t, resumed)

		strict := make(Settings{ClientAuth: &ClientAuth{CA: toPEM("CERTIFICATE", clients.leaf.Raw), Hostnames: []string{"admin.arzur.net"}}})
		_, err = connect(strict, "admin.arzur.net")
		require.Error(t, err, "the ticket was given without asking for a certificate")
		optional := make(Settings{ClientAuth: &ClientAuth{CA: toPEM("CERTIFICATE", clients.leaf.Raw), Optional: true}})
		_, err = connect(open, "arzur.net")
		require.NoError(t, err)
		resumed, err = connect(optional, "arzur.net")
		require.NoError(t, err)
		require.False(t, resumed)
	}
}

func TestServer_TicketsEndWithTheCertificate(t *testing.T) {
	a := newAuthority(t)
	s := serving(t, a, "arzur.net")
	server := config(t, s, Settings{})
	client := &tls.Config{ServerName: "arzur.net", RootCAs: a.pool, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	_, _, _, err := handshake(t, server, client)
	require.NoError(t, err)
	s.SetFiles(nil, nil)
	_, _, _, err = handshake(t, server, client)
	require.ErrorContains(t, err, "unrecognized name")
}

func TestServer_TicketsOfClientsThatNameNoServer(t *testing.T) {
	a := newAuthority(t)
	local := func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }
	withdrawn, other := a.issue(t, nil, local), a.issue(t, []string{"arzur.net"})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		var s Store
		s.SetFiles([]*Certificate{withdrawn.loaded(t, "127.0.0.1"), other.loaded(t, "arzur.net")}, nil)
		server := config(t, &s, Settings{})
		client := &tls.Config{ServerName: "127.0.0.1", RootCAs: a.pool, MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
		for _, resumed := range []bool{false, true} {
			_, got, _, err := handshake(t, server, client)
			require.NoError(t, err)
			require.Equal(t, resumed, got.DidResume)
		}
		s.SetFiles([]*Certificate{other.loaded(t, "arzur.net")}, nil)
		_, _, _, err := handshake(t, server, client)
		require.ErrorContains(t, err, "unrecognized name")
	}
}

func TestServer_TicketKeysRotate(t *testing.T) {
	a := newAuthority(t)
	s := serving(t, a, "arzur.net")
	maker := NewServer(s)
	now := time.Now()
	maker.tickets.now = func() time.Time { return now }
	server, err := maker.Config(&Settings{}, "http/1.1")
	require.NoError(t, err)
	client := &tls.Config{ServerName: "arzur.net", RootCAs: a.pool, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	resumed := func() bool {
		_, got, _, err := handshake(t, server, client)
		require.NoError(t, err)
		return got.DidResume
	}
	require.False(t, resumed())
	now = now.Add(2 * 24 * time.Hour)
	require.True(t, resumed(), "a ticket of a key of two days ago")
	now = now.Add(8 * 24 * time.Hour)
	require.False(t, resumed(), "a ticket of a key that is forgotten")
}

func TestServer_TicketsOutliveTheProcess(t *testing.T) {
	a := newAuthority(t)
	s := serving(t, a, "arzur.net")
	before, after := NewServer(s), NewServer(s)
	client := &tls.Config{ServerName: "arzur.net", RootCAs: a.pool, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	resumed := func(s *Server) bool {
		t.Helper()
		server, err := s.Config(&Settings{}, "http/1.1")
		require.NoError(t, err)
		_, got, _, err := handshake(t, server, client)
		require.NoError(t, err)
		return got.DidResume
	}
	require.False(t, resumed(before))
	require.NoError(t, after.SetTicketKeys(before.TicketKeys()))
	require.True(t, resumed(after))
	require.True(t, resumed(before), "both know the key of the ticket")

	now := time.Now().Add(ticketKeyLife)
	late := NewServer(s)
	late.tickets.now = func() time.Time { return now }
	require.NoError(t, late.SetTicketKeys(before.TicketKeys()))
	require.False(t, resumed(late), "what is handed over is no younger for it")

	require.Error(t, late.SetTicketKeys(nil))
	require.Error(t, late.SetTicketKeys(make([]byte, ticketKeySize+1)))
	require.True(t, resumed(late), "a refusal changes nothing")
}

func TestServer_ShowsACMEItsChallenge(t *testing.T) {
	a := newAuthority(t)
	s := serving(t, a, "arzur.net")
	server := config(t, s, Settings{})
	client := func(name string, protos ...string) (tls.ConnectionState, error) {
		t.Helper()
		_, got, _, err := handshake(t, server, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: protos})
		return got, err
	}
	_, err := client("new.arzur.net", acmeTLS)
	require.ErrorContains(t, err, "no application protocol")

	x := a.issue(t, []string{"new.arzur.net"})
	answer, err := tls.X509KeyPair(x.cert, x.key)
	require.NoError(t, err)
	s.SetChallenge(func(hello *tls.ClientHelloInfo) *tls.Certificate {
		if hello.ServerName != "new.arzur.net" {
			return nil
		}
		return &answer
	})
	got, err := client("new.arzur.net", acmeTLS)
	require.NoError(t, err)
	require.Equal(t, acmeTLS, got.NegotiatedProtocol)
	require.Equal(t, x.leaf.Raw, got.PeerCertificates[0].Raw)
	_, err = client("new.arzur.net", "http/1.1")
	require.ErrorContains(t, err, "unrecognized name", "the certificate of a challenge is for nobody else")
	_, err = client("new.arzur.net", acmeTLS, "http/1.1")
	require.Error(t, err)
	_, err = client("arzur.net", acmeTLS)
	require.Error(t, err)
	got, err = client("arzur.net", "http/1.1")
	require.NoError(t, err)
	require.Equal(t, "http/1.1", got.NegotiatedProtocol)
}

func TestSettings_Names(t *testing.T) {
	v := func(name string, want uint16, wrong string) {
		t.Helper()
		got, err := ParseVersion(name)
		if wrong != "" {
			require.EqualError(t, err, wrong)
			return
		}
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	v("1.2", tls.VersionTLS12, "")
	v("1.3", tls.VersionTLS13, "")
	v("1.1", 0, `TLS version "1.1" is not safe (RFC 8996); want "1.2" or "1.3"`)
	v("TLS1.2", 0, `unknown TLS version "TLS1.2"; want "1.2" or "1.3"`)

	c := func(name string, want uint16, wrong string) {
		t.Helper()
		got, err := ParseCipher(name)
		if wrong != "" {
			require.ErrorContains(t, err, wrong)
			return
		}
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	c("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "")
	c("ECDHE-RSA-AES128-GCM-SHA256", tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "")
	c("ECDHE-RSA-AES256-SHA", tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, "")
	c("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA265", 0, `unknown cipher suite "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA265"; did you mean TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256?`)
	c("ecdhe-rsa-aes128-gcm-sha256", 0, "did you mean ECDHE-RSA-AES128-GCM-SHA256?")
	c("TLS_AES_128_GCM_SHA256", 0, "belongs to TLS 1.3, where all are on; leave it out")
	c("TLS_RSA_WITH_RC4_128_SHA", 0, "is not safe; want one of TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, ")
	c("HIGH", 0, `unknown cipher suite "HIGH"; want one of TLS_ECDHE_`)
}
