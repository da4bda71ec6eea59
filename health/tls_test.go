package health

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	require.NoError(t, err)
	a.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// issue makes a certificate for name, and its key.
func (a *authority) issue(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func (a *authority) pair(t *testing.T, name string) tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(a.issue(t, name))
	require.NoError(t, err)
	return pair
}

func TestTLS_Validate(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue(t, "client")
	_, other := a.issue(t, "other")
	good := func(c *TLS) {
		t.Helper()
		require.NoError(t, c.Validate())
	}
	bad := func(c *TLS, want string) {
		t.Helper()
		require.EqualError(t, c.Validate(), want)
	}
	good(nil)
	good(&TLS{})
	good(&TLS{ServerName: "2001:db8::1", CA: a.pem, Cert: cert, Key: key, Insecure: true})
	bad(&TLS{ServerName: "https://a"}, `server_name: "https://a" is no host name`)
	bad(&TLS{ServerName: "a:443"}, `server_name: "a:443" is no host name`)
	bad(&TLS{CA: key}, "ca: no certificate in it; want PEM, -----BEGIN CERTIFICATE-----")
	bad(&TLS{Cert: cert}, "key: missing; a client certificate needs its private key")
	bad(&TLS{Key: key}, "cert: missing; key is the private key of a client certificate")
	bad(&TLS{Cert: cert, Key: other}, "cert and key: private key does not match public key")
}

func TestTLS_ConfigNamesTheServer(t *testing.T) {
	f := func(c *TLS, host, want string) {
		t.Helper()
		config, err := c.Config(host)
		require.NoError(t, err)
		require.Equal(t, want, config.ServerName)
	}
	f(&TLS{}, "shop.internal", "shop.internal")
	f(&TLS{}, "[2001:db8::1]", "2001:db8::1")
	f(&TLS{ServerName: "a"}, "shop.internal", "a")
	none, err := (*TLS)(nil).Config("a")
	require.NoError(t, err)
	require.Nil(t, none)
}

func TestTransport_Key(t *testing.T) {
	key := func(x Transport) string { return x.Key() }
	require.Empty(t, key(Transport{Host: "a"}))
	require.Equal(t, "proxy=v1", key(Transport{Host: "a", Proxy: 1}))
	require.Equal(t, `tls name="a"`, key(Transport{TLS: &TLS{}, Host: "a"}))
	require.Equal(t, key(Transport{TLS: &TLS{}, Host: "a"}), key(Transport{TLS: &TLS{ServerName: "a"}, Host: "10.0.0.1"}))
	require.Equal(t, `proxy=v2 tls insecure ca=ca978112ca1bbdcafac231b39a23dc4d name="a"`,
		key(Transport{TLS: &TLS{CA: []byte("a"), Insecure: true}, Host: "a", Proxy: 2}))
	seen := map[string]bool{}
	for _, c := range []*TLS{nil, {}, {ServerName: "b"}, {CA: []byte("a")}, {CA: []byte("b")}, {Cert: []byte("a")}, {Key: []byte("a")}, {Insecure: true}} {
		for proxy := range uint8(3) {
			seen[key(Transport{TLS: c, Host: "a", Proxy: proxy})] = true
		}
	}
	require.Len(t, seen, 8*3)
}

// over makes one check of a server that listens with config.
func over(t *testing.T, config *tls.Config, answer string, c Check, x Transport) string {
	t.Helper()
	addr := scripted(t, func(raw net.Conn) {
		conn := tls.Server(raw, config)
		defer conn.Close()
		if conn.Handshake() == nil {
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = conn.Write([]byte(answer))
		}
	})
	p, err := newProbe(addr, &c, &x)
	require.NoError(t, err)
	if err := p.run(t.Context()); err != nil {
		return err.Error()
	}
	return ""
}

func TestProbe_OverTLS(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	server := &tls.Config{Certificates: []tls.Certificate{a.pair(t, "shop.internal")}}
	trusts := Transport{TLS: &TLS{CA: a.pem}, Host: "shop.internal"}
	get := Check{RequestLine: "GET / HTTP/1.0"}
	f := func(config *tls.Config, c Check, x Transport, want string) {
		t.Helper()
		require.Equal(t, want, over(t, config, "HTTP/1.0 200 OK\r\n\r\n", c, x))
	}
	f(server, get, trusts, "")
	f(server, Check{}, trusts, "")
	f(server, get, Transport{TLS: &TLS{CA: a.pem, ServerName: "shop.internal"}, Host: "10.0.0.1"}, "")
	f(server, get, Transport{TLS: &TLS{Insecure: true}, Host: "10.0.0.1"}, "")
	f(server, get, Transport{TLS: &TLS{CA: a.pem}, Host: "other.internal"},
		"tls handshake: failed to verify certificate: x509: certificate is valid for shop.internal, not other.internal")
	f(server, Check{}, Transport{TLS: &TLS{CA: stranger.pem}, Host: "shop.internal"},
		`tls handshake: failed to verify certificate: x509: certificate signed by unknown authority (possibly because of "x509: ECDSA verification failure" while trying to verify candidate authority certificate "test CA")`)
	f(&tls.Config{Certificates: server.Certificates, MaxVersion: tls.VersionTLS11}, get, trusts, "tls handshake: remote error: tls: protocol version not supported")

	clients := x509.NewCertPool()
	clients.AddCert(a.cert)
	demanding := &tls.Config{Certificates: server.Certificates, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	known := trusts
	known.TLS = &TLS{CA: a.pem}
	known.TLS.Cert, known.TLS.Key = a.issue(t, "lb")
	f(demanding, get, known, "")
	f(demanding, get, trusts, "read: remote error: tls: certificate required")
}

func TestProbe_SchemeOfTheCheckCounts(t *testing.T) {
	a := newAuthority(t)
	x := Transport{TLS: &TLS{CA: a.pem}, Host: "shop.internal", Proxy: 1}
	f := func(c Check, x Transport, proxy string, secure bool) {
		t.Helper()
		in, err := entranceTo(&x, &c, 8443)
		require.NoError(t, err)
		require.Equal(t, proxy, in.proxy)
		require.Equal(t, secure, in.tls != nil)
	}
	f(Check{}, x, "PROXY UNKNOWN\r\n", true)
	f(Check{Port: 8443}, x, "PROXY UNKNOWN\r\n", true)
	f(Check{Scheme: "http"}, x, "PROXY UNKNOWN\r\n", false)
	f(Check{Port: 8081}, x, "", false)
	f(Check{Port: 8081, Scheme: "https"}, x, "", true)
	f(Check{Port: 8081, Scheme: "https"}, Transport{}, "", true)
	f(Check{}, Transport{}, "", false)
}

func TestProbe_TLSToAPlainServer(t *testing.T) {
	p, err := newProbe(says(t, "220 smtp\r\n"), &Check{}, &Transport{TLS: &TLS{}, Host: "a"})
	require.NoError(t, err)
	require.EqualError(t, p.run(t.Context()), "tls handshake: first record does not look like a TLS handshake")
}

func TestProbe_SilentHandshake(t *testing.T) {
	release := make(chan struct{})
	addr := scripted(t, func(net.Conn) { <-release })
	p, err := newProbe(addr, &Check{ResponseTimeout: 50 * time.Millisecond}, &Transport{TLS: &TLS{}, Host: "a"})
	require.NoError(t, err)
	require.EqualError(t, p.run(t.Context()), "tls handshake: no answer in 50ms")
	close(release)
}

func TestProbe_SendsTheProxyHeader(t *testing.T) {
	f := func(version uint8, want string) {
		t.Helper()
		got := make(chan []byte, 1)
		addr := scripted(t, func(c net.Conn) {
			var all bytes.Buffer
			_, _ = all.ReadFrom(c)
			got <- all.Bytes()
		})
		p, err := newProbe(addr, &Check{}, &Transport{Proxy: version})
		require.NoError(t, err)
		require.NoError(t, p.run(t.Context()))
		require.Equal(t, want, string(<-got))
	}
	f(1, "PROXY UNKNOWN\r\n")
	f(2, "\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x20\x00\x00\x00")
}

// A close with unread tickets would be a reset, and servers log those.
func TestProbe_LeavesATLSServerInGoodOrder(t *testing.T) {
	a := newAuthority(t)
	config := &tls.Config{Certificates: []tls.Certificate{a.pair(t, "shop.internal")}, MinVersion: tls.VersionTLS13}
	ended := make(chan error, 2)
	addr := scripted(t, func(raw net.Conn) {
		conn := tls.Server(raw, config)
		_, err := conn.Read(make([]byte, 1))
		_ = conn.CloseWrite()
		_, after := raw.Read(make([]byte, 1))
		ended <- err
		ended <- after
	})
	p, err := newProbe(addr, &Check{}, &Transport{TLS: &TLS{CA: a.pem}, Host: "shop.internal"})
	require.NoError(t, err)
	require.NoError(t, p.run(t.Context()))
	require.Equal(t, io.EOF, <-ended, "a close_notify")
	require.Equal(t, io.EOF, <-ended, "no reset")
}
