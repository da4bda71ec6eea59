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
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/certs"
)

// certificate is a self-signed one for names and addresses, until end.
func certificate(t *testing.T, end time.Time, names ...string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := x509.Certificate{
		SerialNumber: big.NewInt(0xabc),
		Subject:      pkix.Name{CommonName: "test"},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     end,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
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

func TestExplain_SaysWhichCertificateClientsGet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // for its clock
		store := new(certs.Store)
		f := func(url, want string) {
			t.Helper()
			answers, err := Explain(shop(t), &Question{URL: url}, true, store)
			require.NoError(t, err)
			require.Equal(t, want, answers[0].Certificate)
		}
		f("https://arzur.net", `no certificate for "arzur.net": the handshake is refused (unrecognized_name)`)
		f("http://arzur.net", "")
		of := func(end time.Time, names ...string) *certs.Certificate {
			c, err := certs.New(certificate(t, end, names...), certs.FromFile, names[0])
			require.NoError(t, err)
			return c
		}
		late, soon := time.Date(2100, 1, 2, 0, 0, 0, 0, time.UTC), time.Now().Add(time.Hour)
		store.SetFiles([]*certs.Certificate{of(late, "arzur.net", "*.arzur.net"), of(soon, "old.net")}, of(late, "default.net"))
		time.Sleep(2 * time.Hour)
		f("https://www.arzur.net", "certificate for arzur.net, *.arzur.net until 2100-01-02T00:00:00Z")
		f("https://old.net", "certificate for old.net, expired on "+soon.UTC().Format(time.RFC3339))
		f("https://other.net", "certificate for default.net, which is not for other.net")
		f("https://10.0.0.1", "certificate for default.net, which is not for 10.0.0.1")

		store.SetFiles([]*certs.Certificate{of(late, "arzur.net", "10.0.0.1", "2001:db8::1")}, nil)
		f("https://10.0.0.1", "certificate for arzur.net, 10.0.0.1, 2001:db8::1 until 2100-01-02T00:00:00Z")
		f("https://[2001:DB8::1]", "certificate for arzur.net, 10.0.0.1, 2001:db8::1 until 2100-01-02T00:00:00Z")
		f("https://10.0.0.2", `no certificate for "10.0.0.2": the handshake is refused (unrecognized_name)`)
	})
}

func TestHealth_NamesCertificatesThatEnd(t *testing.T) {
	var store certs.Store
	d := newDesk(t, func(c *Config) { c.Certs = &store })
	f := func(want string, ends ...time.Duration) {
		t.Helper()
		var list []*certs.Certificate
		for i, in := range ends {
			name := fmt.Sprintf("%c.net", 'a'+i)
			c, err := certs.New(certificate(t, time.Now().Add(in), name), certs.FromFile, name+".pem")
			require.NoError(t, err)
			list = append(list, c)
		}
		store.SetFiles(list, nil)
		_, body := d.ask("GET", "/healthz?verbose")
		require.Regexp(t, `^\[\+\] ready\n\[\+\] event loops\n\[\+\] engine\n\[\+\] rules\n`+want+`ok\n$`, body)
	}
	f("", 1000*time.Hour)
	f(`\[!\] certificates: b.net.pem expires in 9 days, on .*; renew it\n`, 1000*time.Hour, 230*time.Hour)
	f(`\[!\] certificates: .*; renew it, and 1 more, see /api/rejected\n`, 200*time.Hour, 230*time.Hour)
}
