package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/ocsp"
)

// responder is an OCSP responder whose answer tests choose.
type responder struct {
	*httptest.Server
	asked  atomic.Int64
	answer func(w http.ResponseWriter, question []byte)
}

func newResponder(t *testing.T) *responder {
	t.Helper()
	r := &responder{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.asked.Add(1)
		question, err := io.ReadAll(q.Body)
		if err == nil {
			r.answer(w, question)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// says makes the responder sign this about a certificate.
func (r *responder) says(t *testing.T, a *authority, answer ocsp.Response) {
	t.Helper()
	der, err := ocsp.CreateResponse(a.leaf, a.leaf, answer, a.key)
	require.NoError(t, err)
	r.answer = func(w http.ResponseWriter, _ []byte) { _, _ = w.Write(der) }
}

// stapling is a certificate that names the responder, and who asks it.
type stapling struct {
	*Stapler
	c     *Certificate
	x     *sample
	a     *authority
	r     *responder
	logs  *observer.ObservedLogs
	reply ocsp.Response // that the certificate is good, for an hour from now
}

func newStapling(t *testing.T) *stapling {
	t.Helper()
	s := &stapling{a: newAuthority(t), r: newResponder(t)}
	s.x = s.a.issue(t, []string{"arzur.net"}, func(c *x509.Certificate) { c.OCSPServer = []string{s.r.URL + "/ocsp"} })
	s.c = s.x.loaded(t, "a.pem")
	var store Store
	store.SetFiles([]*Certificate{s.c}, nil)
	var log *zap.Logger
	log, s.logs = newLog()
	s.Stapler = &Stapler{Store: &store, Log: log, Client: s.r.Client()}
	now := time.Now()
	s.reply = ocsp.Response{SerialNumber: s.x.leaf.SerialNumber, Status: ocsp.Good, ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Hour)}
	return s
}

func (s *stapling) ask(t *testing.T) *response {
	t.Helper()
	s.renew(t.Context(), s.c)
	return s.c.staple.Load()
}

func (s *stapling) staple() []byte { return s.c.served.Load().OCSPStaple }

func TestStapler_StaplesWhatIsGood(t *testing.T) {
	s := newStapling(t)
	require.True(t, s.c.due(time.Now()))
	s.r.says(t, s.a, s.reply)
	got := s.ask(t)
	require.NoError(t, got.err)
	require.Equal(t, "good", s.Store.List()[0].OCSP)
	require.InDelta(t, 30*time.Minute, time.Until(got.next), float64(time.Minute), "asked again at half of its life")
	require.False(t, s.c.due(time.Now()))
	require.True(t, s.c.due(time.Now().Add(31*time.Minute)))

	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		_, client, _, err := handshake(t, config(t, s.Store, Settings{}), &tls.Config{ServerName: "arzur.net", RootCAs: s.a.pool, MaxVersion: version})
		require.NoError(t, err)
		answer, err := ocsp.ParseResponseForCert(client.OCSPResponse, s.x.leaf, s.a.leaf)
		require.NoError(t, err)
		require.Equal(t, ocsp.Good, answer.Status)
	}

	s.reply.NextUpdate = time.Now().Add(30 * time.Second).Truncate(time.Second)
	s.r.says(t, s.a, s.reply)
	got = s.ask(t)
	require.WithinDuration(t, got.until, got.next, time.Second, "none is shown that counts no more")

	// The same leaf from other bytes takes the staple along.
	again := s.x.loaded(t, "b.pem")
	s.Store.SetFiles([]*Certificate{again}, nil)
	require.Equal(t, s.staple(), again.served.Load().OCSPStaple)
	require.False(t, again.due(time.Now()))
}

func TestStapler_TakesNothingElse(t *testing.T) {
	f := func(want string, prepare func(s *stapling)) {
		t.Helper()
		s := newStapling(t)
		prepare(s)
		got := s.ask(t)
		require.ErrorContains(t, got.err, want)
		require.Empty(t, s.staple())
		require.InDelta(t, time.Minute, time.Until(got.next), float64(10*time.Second))
		require.Equal(t, 1, s.logs.FilterMessage("get OCSP response").Len())
		s.ask(t)
		require.Equal(t, 1, s.logs.FilterMessage("get OCSP response").Len(), "a state that lasts is logged once")
	}
	says := func(edit func(*ocsp.Response)) func(*stapling) {
		return func(s *stapling) {
			edit(&s.reply)
			s.r.says(t, s.a, s.reply)
		}
	}
	f("only", says(func(r *ocsp.Response) { r.NextUpdate = time.Now().Add(-time.Minute) }))
	f("only", says(func(r *ocsp.Response) { r.ThisUpdate = time.Now().Add(time.Hour) }))
	f("no response matching", says(func(r *ocsp.Response) { r.SerialNumber = serial(t) }))
	f("bad OCSP signature", func(s *stapling) { s.r.says(t, newAuthority(t), s.reply) })
	f("response of http://127.0.0.1", func(s *stapling) {
		s.r.answer = func(w http.ResponseWriter, _ []byte) { _, _ = w.Write([]byte("garbage")) }
	})
	f("response larger than 65536 bytes", func(s *stapling) {
		s.r.answer = func(w http.ResponseWriter, _ []byte) { _, _ = w.Write(make([]byte, stapleMost+1)) }
	})
	f("status 503", func(s *stapling) { s.r.answer = func(w http.ResponseWriter, _ []byte) { w.WriteHeader(503) } })
	f("connection refused", func(s *stapling) { s.r.Close() })
	f("is no http address", func(s *stapling) { s.c.leaf.OCSPServer = []string{"ldap://127.0.0.1/"} })
	f("issuer's certificate, to ask with, is not in the file; append it", func(s *stapling) {
		alone := *s.c.served.Load()
		alone.Certificate = alone.Certificate[:1]
		s.c.served.Store(&alone)
	})
}

func TestStapler_ASlowResponderCostsNoHandshake(t *testing.T) {
	s := newStapling(t)
	began, release := make(chan struct{}), make(chan struct{})
	s.r.answer = func(http.ResponseWriter, []byte) { close(began); <-release }
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { // ends with ctx, and is waited for below
		defer close(ended)
		s.Run(ctx)
	}()
	<-began
	_, client, _, err := handshake(t, config(t, s.Store, Settings{}), &tls.Config{ServerName: "arzur.net", RootCAs: s.a.pool})
	require.NoError(t, err)
	require.Empty(t, client.OCSPResponse)
	stop()
	<-ended
	close(release)
}

func TestStapler_RevokedIsNotStapled(t *testing.T) {
	s := newStapling(t)
	s.r.says(t, s.a, s.reply)
	s.ask(t)
	require.NotEmpty(t, s.staple())
	s.reply.Status, s.reply.RevokedAt, s.reply.RevocationReason = ocsp.Revoked, time.Now(), ocsp.KeyCompromise
	s.r.says(t, s.a, s.reply)
	s.ask(t)
	require.Empty(t, s.staple())
	require.Equal(t, "revoked", s.Store.List()[0].OCSP)
	require.Equal(t, 1, s.logs.FilterMessageSnippet("is not good any more").Len())
	s.ask(t)
	require.Equal(t, 1, s.logs.FilterMessageSnippet("is not good any more").Len())
}

func TestStapler_KeepsAStapleWhileItCounts(t *testing.T) {
	s := newStapling(t)
	s.r.says(t, s.a, s.reply)
	s.ask(t)
	good := s.c.staple.Load()
	s.r.Close()
	failed := s.ask(t)
	require.NotEmpty(t, s.staple())
	require.Contains(t, s.Store.List()[0].OCSP, "good until ")

	// Then it backs off, to the end of the staple, and takes it off.
	now := time.Now()
	for range 5 {
		s.c.failed(failed, failed.err, now)
		failed = s.c.staple.Load()
	}
	require.Equal(t, 32*time.Minute, failed.next.Sub(now))
	s.c.failed(failed, failed.err, now)
	require.Equal(t, good.until, s.c.staple.Load().next)
	require.NotEmpty(t, s.staple())
	s.c.failed(s.c.staple.Load(), failed.err, good.until)
	require.Empty(t, s.staple())
	require.Equal(t, time.Hour, s.c.staple.Load().next.Sub(good.until))
	require.Equal(t, failed.err.Error(), s.Store.List()[0].OCSP)
}

func TestStapler_AsksNobodyWithoutAResponder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Store
		s.SetFiles([]*Certificate{newAuthority(t).issue(t, []string{"arzur.net"}).loaded(t, "a")}, nil)
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		(&Stapler{Store: &s, Log: zap.NewNop()}).Run(ctx)
		require.Empty(t, s.List()[0].OCSP)
	})
}

// OpenSSL's responder answers, from the index of an authority.
func TestStapler_UnderstandsOpenSSL(t *testing.T) {
	openssl := need(t, "openssl")
	s := newStapling(t)
	dir := t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(s.a.key)
	require.NoError(t, err)
	write(t, dir, map[string][]byte{"ca.pem": toPEM("CERTIFICATE", s.a.leaf.Raw), "ca.key": toPEM("PRIVATE KEY", key)})
	s.r.answer = func(w http.ResponseWriter, question []byte) {
		request, reply := filepath.Join(dir, "question"), filepath.Join(dir, "answer")
		if err := os.WriteFile(request, question, 0o600); err != nil {
			http.Error(w, err.Error(), 500)
			return
		}
		c := exec.Command(openssl, "ocsp", "-index", "index.txt", "-CA", "ca.pem", "-rsigner", "ca.pem", "-rkey", "ca.key",
			"-reqin", request, "-respout", reply, "-nmin", "60")
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			http.Error(w, err.Error()+": "+string(out), 500)
			return
		}
		if der, err := os.ReadFile(reply); err == nil {
			_, _ = w.Write(der)
		}
	}
	f := func(entry, want string, stapled bool) {
		t.Helper()
		line := fmt.Sprintf(entry, s.x.leaf.NotAfter.UTC().Format("060102150405Z"), s.x.leaf.SerialNumber.Bytes())
		write(t, dir, map[string][]byte{"index.txt": []byte(line)})
		require.NoError(t, s.ask(t).err)
		require.Equal(t, want, s.Store.List()[0].OCSP)
		require.Equal(t, stapled, len(s.staple()) > 0)
	}
	f("V\t%s\t\t%[2]X\tunknown\t/CN=test\n", "good", true)
	f("R\t%s\t260101000000Z,keyCompromise\t%[2]X\tunknown\t/CN=test\n", "revoked", false)
	f("V\t%s\t\t%.0[2]X01\tunknown\t/CN=test\n", "unknown", false)
}

func TestMustStaple(t *testing.T) {
	a := newAuthority(t)
	require.False(t, mustStaple(a.issue(t, []string{"arzur.net"}).leaf))
	feature, err := asn1.Marshal([]int{5})
	require.NoError(t, err)
	x := a.issue(t, []string{"arzur.net"}, func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: feature}}
	})
	require.True(t, mustStaple(x.leaf))
	require.True(t, x.loaded(t, "a").info().MustStaple)
}
