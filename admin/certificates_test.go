package admin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/certs"
)

// certificate is a self-signed one for names, until end.
func certificate(t *testing.T, end time.Time, names ...string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := x509.Certificate{
		SerialNumber: big.NewInt(0xabc),
		Subject:      pkix.Name{CommonName: "test"},
		DNSNames:     names,
		NotBefore:    time.Unix(0, 0),
		NotAfter:     end,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	require.NoError(t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestAPI_Certificates(t *testing.T) {
	end := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	var store certs.Store
	c, err := certs.New(certificate(t, end, "arzur.net", "*.arzur.net"), certs.FromFile, "/etc/lb/a.pem")
	require.NoError(t, err)
	store.SetFiles(nil, c)
	store.SetACME([]certs.ACMEStatus{{Name: "blog.arzur.net", State: certs.ACMEFailed, Error: "rate limited", NextTry: end}})
	d := newDesk(t, func(c *Config) { c.Certs = &store })
	status, body := d.ask("GET", "/api/certificates")
	require.Equal(t, 200, status)
	var got []certificateView
	require.NoError(t, json.Unmarshal([]byte(body), &got))
	require.Equal(t, []certificateView{{
		Names: []string{"arzur.net", "*.arzur.net"}, Source: "file", Origin: "/etc/lb/a.pem", Default: true,
		Issuer: "CN=test", Serial: "abc", Key: "ecdsa P-256", NotBefore: new(time.Unix(0, 0).UTC()), NotAfter: &end,
	}, {
		Names: []string{"blog.arzur.net"}, Source: "acme", Origin: "blog.arzur.net", State: "failed", Error: "rate limited", NextTry: &end,
	}}, got)

	_, body = d.ask("GET", "/metrics")
	for _, name := range []string{"arzur.net", "*.arzur.net"} {
		require.Contains(t, body, fmt.Sprintf("\nlb_certificate_expiry_seconds{name=%q,source=\"file\"} %g\n", name, float64(end.Unix())))
	}

	status, body = newDesk(t, nil).ask("GET", "/api/certificates")
	require.Equal(t, 200, status)
	require.Equal(t, "[]\n", body)
}
