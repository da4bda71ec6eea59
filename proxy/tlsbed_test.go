package proxy

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules"
)

// authority is a CA of the tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	a := &authority{key: key, pool: x509.NewCertPool(), cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}}
	raw, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, key.Public(), key)
	require.NoError(t, err)
	a.cert, err = x509.ParseCertificate(raw)
	require.NoError(t, err)
	a.pool.AddCert(a.cert)
	return a
}

// issue makes a certificate for names; the first is its subject too.
func (a *authority) issue(t testing.TB, names ...string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: names[0], Organization: []string{"lb"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, name)
		}
	}
	raw, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(raw)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key, Leaf: leaf}
}

// serverConfig is a port's side of TLS with certificates by exact name, and an
// unknown name refused.
func serverConfig(certs ...tls.Certificate) *tls.Config {
	return &tls.Config{
		DynamicRecordSizingDisabled: true,
		NextProtos:                  []string{"http/1.1"},
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			for i := range certs {
				if h.ServerName == "" || certs[i].Leaf.VerifyHostname(h.ServerName) == nil {
					return &certs[i], nil
				}
			}
			return nil, nil // unrecognized_name
		},
	}
}

// tlsBed is a bed that speaks https.
type tlsBed struct {
	*bed
	ca     *authority
	client *tls.Config // for a.test
	server *tls.Config
}

func newTLSBed(t *testing.T, change func(*tlsBed), backends ...string) *tlsBed {
	b := &tlsBed{ca: newAuthority(t)}
	b.client = &tls.Config{RootCAs: b.ca.pool, ServerName: "a.test", NextProtos: []string{"http/1.1"}}
	b.server = serverConfig(b.ca.issue(t, "a.test", "b.test", "127.0.0.1"), b.ca.issue(t, "c.test"))
	newBed(t, func(plain *bed) {
		b.bed = plain
		b.rule.Protocol = rules.HTTPS
		if change != nil {
			change(b)
		}
		b.opts.TLS = map[string]*tls.Config{rules.HTTPS: b.server, rules.TLS: b.server}
	}, backends...)
	return b
}

// dialTLS opens a connection and shakes hands, as b.client says or as changed.
func (b *tlsBed) dialTLS(change ...func(*tls.Config)) *tls.Conn {
	b.t.Helper()
	config := b.client.Clone()
	for _, f := range change {
		f(config)
	}
	c := tls.Client(b.dial(), config)
	require.NoError(b.t, c.Handshake())
	return c
}

// ask sends a request and returns the answer and its body.
func ask(t *testing.T, c net.Conn, request string) (*http.Response, string) {
	t.Helper()
	_, err := io.WriteString(c, request)
	require.NoError(t, err)
	return answer(t, bufio.NewReader(c), "GET")
}

func answer(t *testing.T, r *bufio.Reader, method string) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(r, &http.Request{Method: method})
	require.NoError(t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(body)
}

// shakes waits for a count of handshakes with clients.
func (b *tlsBed) untilShakes(r handshakeResult, n int) {
	b.t.Helper()
	require.Eventually(b.t, func() bool {
		sum := 0
		for _, k := range b.cores {
			done := make(chan int)
			k.loop.Post(func() { done <- int(k.stats.shakes[sideClient][r]) })
			sum += <-done
		}
		return sum == n
	}, eventually, tick, "handshakes that ended with %s", r)
}

var discardLog = log.New(io.Discard, "", 0)

const getA = "GET /p HTTP/1.1\r\nHost: a.test\r\n\r\n"
