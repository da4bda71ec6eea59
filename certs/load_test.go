package certs

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// raceDetector says whether the tests run under it, and so ten times slower.
var raceDetector bool

// fill writes n pairs for host-<i>.test and returns the folder. A quarter has an
// RSA key, which is the same for all, because making one takes long.
func fill(t testing.TB, n int) string {
	t.Helper()
	a := newAuthority(t)
	dir := t.TempDir()
	var all sync.WaitGroup
	const parts = 4
	for part := range parts {
		all.Go(func() {
			for i := part; i < n; i += parts {
				names := []string{fmt.Sprintf("host-%d.test", i), fmt.Sprintf("www.host-%d.test", i)}
				var key crypto.Signer = rsaKey()
				if i%4 != 0 {
					key = newKey(t)
				}
				x := a.issueFor(t, key, names)
				base := fmt.Sprintf("host-%d", i)
				write(t, dir, map[string][]byte{base + ".pem": x.chained(), base + ".key": x.key})
			}
		})
	}
	all.Wait()
	return dir
}

func TestWatcher_LoadsTenThousandCertificates(t *testing.T) {
	n := 10_000
	if raceDetector {
		n = 500 // making them would take a minute
	}
	dir := fill(t, n)
	var s Store
	w := NewWatcher(&s, zap.NewNop())
	began := time.Now()
	w.Set([]Files{{Dir: dir}}, nil)
	t.Logf("%d certificates loaded in %v", n, time.Since(began))
	require.Empty(t, w.Problems())
	require.Len(t, s.List(), n)
	for i := range n {
		name := fmt.Sprintf("www.host-%d.test", i)
		c, err := s.GetCertificate(&tls.ClientHelloInfo{ServerName: name})
		require.NoError(t, err)
		require.NoError(t, c.Leaf.VerifyHostname(name))
		require.Equal(t, i%4 == 0, c.Leaf.PublicKeyAlgorithm == x509.RSA)
	}
}

func BenchmarkWatcher_Load(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		dir := fill(b, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				NewWatcher(&Store{}, zap.NewNop()).Set([]Files{{Dir: dir}}, nil)
			}
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/load")
		})
	}
}

func BenchmarkWatcher_Look(b *testing.B) {
	dir := fill(b, 10_000)
	w := NewWatcher(&Store{}, zap.NewNop())
	w.Set([]Files{{Dir: dir}}, nil)
	for b.Loop() {
		w.look()
	}
}

func BenchmarkStore_GetCertificate(b *testing.B) {
	dir := fill(b, 10_000)
	var s Store
	NewWatcher(&s, zap.NewNop()).Set([]Files{{Dir: dir}}, nil)
	hello := &tls.ClientHelloInfo{ServerName: "www.host-5000.test"}
	b.ReportAllocs()
	for b.Loop() {
		if c, err := s.GetCertificate(hello); c == nil || err != nil {
			b.Fatal(err)
		}
	}
}
