package certs

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPair_TheErrorNamesFileAndFix(t *testing.T) {
	a := newAuthority(t)
	x, y := a.issue(t, []string{"arzur.net"}), a.issue(t, []string{"example.com"})
	dir := t.TempDir()
	f := func(cert, key []byte, want string) {
		t.Helper()
		write(t, dir, map[string][]byte{"a.pem": cert, "a.key": key})
		_, err := pair{filepath.Join(dir, "a.pem"), filepath.Join(dir, "a.key")}.load()
		require.ErrorContains(t, err, dir+"/"+want)
	}
	f(nil, x.key, "a.pem: no certificate; want PEM with BEGIN CERTIFICATE")
	f(x.key, x.key, "a.pem: no certificate")
	f(x.cert, nil, "a.key: no key; want PEM with BEGIN PRIVATE KEY")
	f(x.cert, x.cert, "a.key: no key")
	f(x.cert, y.key, "a.key: does not go with "+dir+"/a.pem: ")
	f(x.cert, toPEM("PRIVATE KEY", []byte("x")), "a.key: does not go with ")
	f(append(append([]byte{}, x.chain...), x.cert...), x.key, "a.pem: the certificate of the key is number 2; want it first")
	f(toPEM("CERTIFICATE", []byte("x")), x.key, "a.pem: certificate 1: x509: ")
	f(x.cert, toPEM("ENCRYPTED PRIVATE KEY", []byte("x")), "a.key: the key has a passphrase; take it away: openssl pkey -in "+dir+"/a.key -out key.pem")
	f(x.cert, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"DEK-Info": "AES-128-CBC,00"}, Bytes: []byte("x")}), "a.key: the key has a passphrase")
	f(make([]byte, mostPEM+1), x.key, "a.pem: larger than 1048576 bytes; want a certificate or a key in PEM")
}

func TestPair_TakesEveryKindOfKey(t *testing.T) {
	a := newAuthority(t)
	dir := t.TempDir()
	f := func(want string, x *sample, key []byte) {
		t.Helper()
		write(t, dir, map[string][]byte{"a.pem": append(x.cert, key...)})
		c, err := pair{filepath.Join(dir, "a.pem"), filepath.Join(dir, "a.pem")}.load()
		require.NoError(t, err)
		require.Equal(t, want, keyType(c.leaf))
	}
	ec := newKey(t)
	sec1, err := x509.MarshalECPrivateKey(ec)
	require.NoError(t, err)
	parameters := toPEM("EC PARAMETERS", []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}) // as openssl ecparam -genkey writes
	f("ecdsa P-256", a.issueFor(t, ec, []string{"a.net"}), append(parameters, toPEM("EC PRIVATE KEY", sec1)...))
	f("rsa 2048", a.issueFor(t, rsaKey(), []string{"a.net"}), toPEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey())))
}

func TestFolder_FindsEveryForm(t *testing.T) {
	a := newAuthority(t)
	x := a.issue(t, []string{"arzur.net"})
	f := func(want []string, files ...string) {
		t.Helper()
		dir := t.TempDir()
		for _, name := range files {
			write(t, dir, map[string][]byte{name: x.both()})
		}
		l, err := list(dir)
		require.NoError(t, err)
		got := []string{}
		for _, p := range l.pairs {
			cert, key := rel(t, dir, p.cert), rel(t, dir, p.key)
			got = append(got, cert+" "+key)
		}
		for _, err := range l.strays {
			got = append(got, "! "+err.Error()[len(dir)+1:])
		}
		require.Equal(t, want, got)
	}
	f([]string{})
	f([]string{"a.pem a.key"}, "a.pem", "a.key")
	f([]string{"a.crt a.key", "b.pem b.pem"}, "a.crt", "a.key", "b.pem")
	f([]string{"a.net.crt a.net.key", "a.net.issuer.crt a.net.issuer.crt"}, "a.net.crt", "a.net.key", "a.net.issuer.crt")
	f([]string{"a.net/fullchain.pem a.net/privkey.pem"}, "a.net/fullchain.pem", "a.net/privkey.pem", "a.net/cert.pem", "a.net/chain.pem", "a.net/README", "README")
	f([]string{"a.net/tls.crt a.net/tls.key"}, "a.net/tls.crt", "a.net/tls.key")
	f([]string{"a.net/fullchain.pem a.net/privkey.pem"}, "a.net/fullchain.pem")
	f([]string{"fullchain.pem privkey.pem", "other.pem other.key"}, "fullchain.pem", "privkey.pem", "cert.pem", "chain.pem", "other.pem", "other.key")
	f([]string{"tls.crt tls.key"}, "tls.crt", "tls.key", "..2026/tls.crt", ".hidden.pem")
	f([]string{"! a.key: no certificate with it; want a.pem or a.crt beside it"}, "a.key")
	f([]string{"! a: want fullchain.pem and privkey.pem in it, or tls.crt and tls.key"}, "a/other.pem")
	f([]string{}, "notes.txt", "empty/notes.txt")
}

func rel(t *testing.T, dir, path string) string {
	t.Helper()
	r, err := filepath.Rel(dir, path)
	require.NoError(t, err)
	return r
}

func TestFolder_LeavesAuthoritiesOut(t *testing.T) {
	watch(t, func(w *watching) {
		x := w.a.issue(t, []string{"arzur.net"})
		w.write(map[string][]byte{"a.crt": x.cert, "a.key": x.key, "a.issuer.crt": x.chain})
		w.Set([]Files{{Dir: w.dir}}, nil)
		require.Empty(t, w.Problems())
		require.Len(t, w.store.List(), 1)
		w.Set([]Files{{Cert: w.path("a.issuer.crt")}}, nil)
		require.Len(t, w.Problems(), 1)
		require.Contains(t, w.reasons()[0], w.path("a.issuer.crt")+": no key; want PEM with BEGIN PRIVATE KEY")
	})
}

func TestLook_DoesNotWaitForAPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe.pem")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	require.Contains(t, look(path).err, "pipe.pem: is no file")
	require.NoError(t, os.Remove(path))
	require.Equal(t, path+": no such file", look(path).err)
}

// Permission is given without a change of the content.
func TestLook_SeesAChangeOfMode(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string][]byte{"a.key": nil})
	path := filepath.Join(dir, "a.key")
	before := look(path)
	require.True(t, before.same(look(path)))
	require.NoError(t, os.Chmod(path, 0o400))
	require.False(t, before.same(look(path)))
}
