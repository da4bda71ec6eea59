package certs

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
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// eventually is how long to wait for what another goroutine or program brings
// about: more than it takes on a busy machine.
const eventually = time.Minute

func TestMain(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		os.Exit(code) // the fuzzer has goroutines of its own
	}
	for deadline := time.Now().Add(eventually); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			fmt.Fprintf(os.Stderr, "%d goroutines at the end, want %d\n", runtime.NumGoroutine(), before)
			_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
			os.Exit(1)
		}
	}
	os.Exit(code)
}

// need returns the path of a program that a test drives. Where it is missing the
// test is left out; with LB_TEST_REQUIRE=all it fails.
func need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	require.NotEqual(t, "all", os.Getenv("LB_TEST_REQUIRE"), "%s is required: %v", program, err)
	t.Skipf("%s is missing: %v", program, err)
	return ""
}

// authority signs certificates.
type authority struct {
	leaf *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

// newKey is cheap to make, and good for any number of certificates.
func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{key: newKey(t), pool: x509.NewCertPool()}
	template := x509.Certificate{
		SerialNumber:          serial(t),
		Subject:               pkix.Name{CommonName: "Test CA"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(10 * 365 * 24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &a.key.PublicKey, a.key)
	require.NoError(t, err)
	a.leaf, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	a.pool.AddCert(a.leaf)
	return a
}

func serial(t testing.TB) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	require.NoError(t, err)
	return n
}

// sample is a certificate, its chain and its key in PEM.
type sample struct {
	cert, chain, key []byte
	leaf             *x509.Certificate
}

// both is one file with all of it.
func (s *sample) both() []byte { return append(append([]byte{}, s.chained()...), s.key...) }

func (s *sample) chained() []byte { return append(append([]byte{}, s.cert...), s.chain...) }

// issue makes a certificate for names, good for 90 days unless edit says
// otherwise.
func (a *authority) issue(t testing.TB, names []string, edits ...func(*x509.Certificate)) *sample {
	t.Helper()
	return a.issueFor(t, newKey(t), names, edits...)
}

func (a *authority) issueFor(t testing.TB, key crypto.Signer, names []string, edits ...func(*x509.Certificate)) *sample {
	t.Helper()
	template := x509.Certificate{
		SerialNumber: serial(t),
		Subject:      pkix.Name{CommonName: "test"},
		DNSNames:     names,
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(90 * 24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, edit := range edits {
		edit(&template)
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, a.leaf, key.Public(), a.key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return &sample{
		cert:  toPEM("CERTIFICATE", der),
		chain: toPEM("CERTIFICATE", a.leaf.Raw),
		key:   toPEM("PRIVATE KEY", pkcs8),
		leaf:  leaf,
	}
}

func toPEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// loaded is the sample as a Store has it.
func (s *sample) loaded(t testing.TB, origin string) *Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(s.chained(), s.key)
	require.NoError(t, err)
	c, err := New(&pair, FromFile, origin)
	require.NoError(t, err)
	return c
}

// write writes files below dir, by name, and stamps them with the time of the
// test, which may be another than that of the file system.
func write(t testing.TB, dir string, files map[string][]byte) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, content, 0o600))
		require.NoError(t, os.Chtimes(path, time.Now(), time.Now()))
	}
}

// replace puts content in the place of a file at once, as good tools do.
func replace(t testing.TB, path string, content []byte) {
	t.Helper()
	write(t, filepath.Dir(path), map[string][]byte{"." + filepath.Base(path): content})
	require.NoError(t, os.Rename(filepath.Join(filepath.Dir(path), "."+filepath.Base(path)), path))
}

func newLog() (*zap.Logger, *observer.ObservedLogs) {
	core, logs := observer.New(zapcore.DebugLevel)
	return zap.New(core), logs
}

// handshake lets a client talk to a server, and returns what each made of it.
// The client reads once, so that it has what comes after the handshake.
func handshake(t testing.TB, server, client *tls.Config) (atServer, atClient tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	done := make(chan struct{})
	go func() { // waited for below
		defer close(done)
		var conn net.Conn
		if conn, serverErr = l.Accept(); serverErr != nil {
			return
		}
		s := tls.Server(conn, server)
		defer s.Close()
		if serverErr = s.Handshake(); serverErr == nil {
			atServer = s.ConnectionState()
			_, serverErr = s.Write([]byte("x"))
		}
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(eventually)))
	c := tls.Client(conn, client)
	if clientErr = c.Handshake(); clientErr == nil {
		_, clientErr = io.ReadFull(c, make([]byte, 1))
		atClient = c.ConnectionState()
	}
	c.Close()
	<-done
	return atServer, atClient, serverErr, clientErr
}

// config is the tls.Config of https with these settings.
func config(t testing.TB, s *Store, settings Settings) *tls.Config {
	t.Helper()
	c, err := NewServer(s).Config(&settings, "http/1.1")
	require.NoError(t, err)
	return c
}
