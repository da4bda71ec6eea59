package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"
)

// authority signs certificates of tests.
type authority struct {
	t    *testing.T
	file string // its own certificate
	pool *x509.CertPool
	leaf *x509.Certificate
	key  *ecdsa.PrivateKey

	responder []string // OCSP responders that certificates name
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, file: filepath.Join(t.TempDir(), "ca.pem"), pool: x509.NewCertPool()}
	a.leaf, a.key = a.sign(&x509.Certificate{
		Subject:               pkix.Name{CommonName: "Test CA"},
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	})
	a.pool.AddCert(a.leaf)
	write(t, a.file, inPEM("CERTIFICATE", a.leaf.Raw))
	return a
}

// sign makes a certificate with a new key; the first one is the authority's own.
func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	return a.signKey(template, key), key
}

func (a *authority) signKey(template *x509.Certificate, key crypto.Signer) *x509.Certificate {
	a.t.Helper()
	var err error
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(a.t, err)
	template.NotBefore = time.Now().Add(-time.Hour)
	parent, signer := template, key
	if a.leaf != nil {
		parent, signer = a.leaf, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	require.NoError(a.t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	return leaf
}

// issue puts a certificate for names into one file with its key and the
// authority's, for servers and clients alike, and returns its leaf.
func (a *authority) issue(file string, names ...string) *x509.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	return a.issueKey(file, key, names...)
}

// issueRSA is issue for clients that are old.
func (a *authority) issueRSA(file string, names ...string) *x509.Certificate {
	a.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(a.t, err)
	return a.issueKey(file, key, names...)
}

func (a *authority) issueKey(file string, key crypto.Signer, names ...string) *x509.Certificate {
	a.t.Helper()
	leaf := a.signKey(&x509.Certificate{
		Subject:     pkix.Name{CommonName: names[0], Organization: []string{"Test"}},
		DNSNames:    names,
		NotAfter:    time.Now().Add(90 * 24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		OCSPServer:  a.responder,
	}, key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	write(a.t, file, inPEM("CERTIFICATE", leaf.Raw)+inPEM("CERTIFICATE", a.leaf.Raw)+inPEM("PRIVATE KEY", der))
	return leaf
}

// respond has certificates name a responder from now on that says all are good.
func (a *authority) respond() {
	a.t.Helper()
	a.responder = []string{"http://" + testServer(a.t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		question, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		about, err := ocsp.ParseRequest(question)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer := ocsp.Response{SerialNumber: about.SerialNumber, ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
		if der, err := ocsp.CreateResponse(a.leaf, a.leaf, answer, a.key); err == nil {
			_, _ = w.Write(der)
		}
	}))}
}

// identity is what issue has put into a file.
func identity(t *testing.T, file string) tls.Certificate {
	t.Helper()
	c, err := tls.LoadX509KeyPair(file, file)
	require.NoError(t, err)
	return c
}

func inPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
