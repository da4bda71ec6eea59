package proxy

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules"
)

func TestTLS_MisdirectedRequests(t *testing.T) {
	b := newTLSBed(t, nil, echo(t))
	f := func(serverName, host string, want int) {
		t.Helper()
		c := b.dialTLS(func(c *tls.Config) { c.ServerName = serverName; c.InsecureSkipVerify = serverName == "127.0.0.1" })
		for range 2 {
			res, _ := ask(t, c, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
			require.Equal(t, want, res.StatusCode, "%s on a connection for %s", host, serverName)
		}
		if want == 421 {
			res, _ := ask(t, c, "GET / HTTP/1.1\r\nHost: "+serverName+"\r\n\r\n")
			require.Equal(t, 200, res.StatusCode, "the connection goes on")
		}
	}
	f("a.test", "a.test", 200)
	f("a.test", "A.Test:443", 200)
	f("a.test", "b.test", 200) // the same certificate
	f("a.test", "c.test", 421)
	f("c.test", "a.test", 421)
	f("c.test", "d.test", 421)
	f("127.0.0.1", "127.0.0.1", 200) // no SNI, and a certificate for the address
	f("127.0.0.1", "a.test", 200)
}

func TestTLS_ResumedSessionIsHeldToItsName(t *testing.T) {
	b := newTLSBed(t, nil, echo(t))
	cache := tls.NewLRUClientSessionCache(4)
	for n := range 2 {
		c := b.dialTLS(func(c *tls.Config) { c.ClientSessionCache = cache })
		res, _ := ask(t, c, "GET / HTTP/1.1\r\nHost: c.test\r\n\r\n")
		require.Equal(t, 421, res.StatusCode)
		require.Equal(t, n == 1, c.ConnectionState().DidResume)
		_ = c.Close()
	}
}

// withClientAuth has a bed demand client certificates, for b.test alone.
func withClientAuth(b *tlsBed) {
	demanding := b.server.Clone()
	demanding.ClientAuth, demanding.ClientCAs = tls.RequireAndVerifyClientCert, b.ca.pool
	b.server.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if h.ServerName == "b.test" {
			return demanding, nil
		}
		return nil, nil
	}
}

func TestTLS_OtherNamesDoNotGetAroundClientCertificates(t *testing.T) {
	b := newTLSBed(t, withClientAuth, echo(t))
	c := b.dialTLS()
	for _, host := range []string{"b.test", "B.test", "b.test.", "b.test..", "b.test:1", "b.test...:1"} {
		res, _ := ask(t, c, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
		require.Equal(t, 421, res.StatusCode, host)
	}
	res, _ := ask(t, c, getA)
	require.Equal(t, 200, res.StatusCode)
}

func TestTLS_ClientCertificates(t *testing.T) {
	names := ClientCertFields{Subject: "X-Client-Subject", Fingerprint: "X-Client-Fingerprint", Cert: "X-Client-Cert"}
	at := backend(t, func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"X-Client-Subject", "X_client_subject", "X-Client-Fingerprint", "X-Client-Cert"} {
			_, _ = fmt.Fprintf(w, "%q ", r.Header.Values(name))
		}
	})
	b := newTLSBed(t, func(b *tlsBed) {
		withClientAuth(b)
		b.opts.ClientCert = names
	}, at)
	forged := "x-client-subject: CN=root\r\nX_Client_Subject: CN=root\r\nX-CLIENT-CERT: me\r\nX-Client-Fingerprint: 00\r\n\r\n"

	_, body := ask(t, b.dialTLS(), "GET / HTTP/1.1\r\nHost: a.test\r\n"+forged)
	require.Equal(t, "[] [] [] [] ", body, "without a certificate nothing is said")

	mine := b.ca.issue(t, "client one")
	sum := sha256.Sum256(mine.Certificate[0])
	text := url.QueryEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: mine.Certificate[0]})))
	want := fmt.Sprintf("[%q] [] [%q] [%q] ", mine.Leaf.Subject, hex.EncodeToString(sum[:]), text)
	cache := tls.NewLRUClientSessionCache(4)
	for n := range 2 { // resumed, too
		c := b.dialTLS(func(c *tls.Config) {
			c.ServerName, c.Certificates, c.ClientSessionCache = "b.test", []tls.Certificate{mine}, cache
		})
		for range 2 {
			_, body = ask(t, c, "GET / HTTP/1.1\r\nHost: b.test\r\n"+forged)
			require.Equal(t, want, body)
		}
		require.Equal(t, n == 1, c.ConnectionState().DidResume)
		_ = c.Close()
	}

	c := tls.Client(b.dial(), &tls.Config{RootCAs: b.ca.pool, ServerName: "b.test"})
	_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: b.test\r\n\r\n")
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	require.ErrorContains(t, err, "certificate required")
	b.untilShakes(shakeRefused, 1)
}

func TestClientCert_IsNobodysToClaimInTheClear(t *testing.T) {
	at := backend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, r.Header.Get("X-Client-Subject")+r.Trailer.Get("X-Client-Subject")+".")
	})
	b := newBed(t, func(b *bed) { b.opts.ClientCert.Subject = "X-Client-Subject" }, at)
	c := b.dial()
	f := func(request string) {
		t.Helper()
		_, err := io.WriteString(c, request)
		require.NoError(t, err)
		_, body := answer(t, bufio.NewReader(c), "GET")
		require.Equal(t, ".", body)
	}
	f("GET / HTTP/1.1\r\nHost: x\r\nX-Client-Subject: CN=root\r\n\r\n")
	f("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Client-Subject: CN=root\r\n\r\n")
}

// A kept connection must not get around what is asked of those who come now.
func TestTLS_KeptConnectionsAreHeldToTheNewConfiguration(t *testing.T) {
	b := newTLSBed(t, nil, echo(t))
	other := newAuthority(t)
	demand := func(auth tls.ClientAuthType, ca *authority) *tls.Config {
		c := b.server.Clone()
		c.ClientAuth, c.ClientCAs = auth, ca.pool
		return c
	}
	mine := b.ca.issue(t, "client one")
	f := func(was, is *tls.Config, want int) {
		t.Helper()
		use := func(c *tls.Config) {
			b.opts.TLS = map[string]*tls.Config{rules.HTTPS: c}
			b.apply()
		}
		use(was)
		c := b.dialTLS(func(c *tls.Config) { c.Certificates = []tls.Certificate{mine} })
		r := bufio.NewReader(c)
		send := func() *http.Response {
			_, err := io.WriteString(c, getA)
			require.NoError(t, err)
			res, _ := answer(t, r, "GET")
			return res
		}
		require.Equal(t, 200, send().StatusCode)
		use(is)
		res := send()
		require.Equal(t, want, res.StatusCode)
		require.Equal(t, want == 421, res.Close)
	}
	optional, required := tls.VerifyClientCertIfGiven, tls.RequireAndVerifyClientCert
	f(b.server, b.server.Clone(), 200)
	f(b.server, demand(required, b.ca), 421)
	f(b.server, demand(optional, b.ca), 421) // its certificate was not asked for
	f(demand(optional, b.ca), demand(required, b.ca), 200)
	f(demand(required, b.ca), demand(required, b.ca), 200)
	f(demand(required, b.ca), demand(optional, b.ca), 200)
	f(demand(required, b.ca), demand(required, other), 421)
	f(demand(required, b.ca), b.server, 200)
	f(b.server, serverConfig(b.ca.issue(t, "c.test")), 421)

	b.client.Certificates = nil
	mine = tls.Certificate{}
	f(demand(optional, b.ca), demand(required, b.ca), 421)
}

func TestTLS_KeptConnectionsEndWithTheirCertificate(t *testing.T) {
	gone := make(chan struct{})
	b := newTLSBed(t, func(b *tlsBed) {
		inner := b.server.GetCertificate
		b.server.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			select {
			case <-gone:
				return nil, nil
			default:
				return inner(h)
			}
		}
	}, echo(t))
	c := b.dialTLS()
	res, _ := ask(t, c, getA)
	require.Equal(t, 200, res.StatusCode)
	close(gone)
	for res.StatusCode == 200 { // until the deadline of the connection
		res, _ = ask(t, c, getA)
	}
	require.Equal(t, 421, res.StatusCode)
	require.True(t, res.Close)
}
