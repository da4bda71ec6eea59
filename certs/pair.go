package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

// pair is the two files of a certificate.
type pair struct {
	cert string
	key  string // cert again if that has both
}

const (
	// mostPEM is far above any chain of certificates; what is larger is something else.
	mostPEM = 1 << 20
	// stampGrain is the coarsest clock that file systems stamp changes with. A file
	// may change again within it without its time stamp showing it.
	stampGrain = 2 * time.Second
)

// load reads the pair. The error names the file that is at fault.
func (p pair) load() (*Certificate, error) {
	cert, err := readPEM(p.cert)
	if err != nil {
		return nil, err
	}
	key := cert
	if p.key != p.cert {
		if key, err = readPEM(p.key); err != nil {
			return nil, err
		}
	}
	c, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, p.explain(cert, key, err)
	}
	n, err := New(&c, FromFile, p.cert)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.cert, err)
	}
	return n, nil
}

// errAuthority is errNoKey of a file that has an authority's certificate. Many
// clients of ACME leave one beside the pairs, so that a folder may have it.
var (
	errNoKey     = errors.New("no key; want PEM with BEGIN PRIVATE KEY")
	errAuthority = errors.New(errNoKey.Error())
)

// isAuthority says whether a certificate is not for servers but signs others.
// Self-signed ones of servers do both.
func isAuthority(b *pem.Block) bool {
	c, err := x509.ParseCertificate(b.Bytes)
	return err == nil && c.IsCA && len(c.DNSNames) == 0
}

// readPEM reads a file that is small and has an end.
func readPEM(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err // has the path
	}
	defer func() { _ = f.Close() }() // was only read
	content, err := io.ReadAll(io.LimitReader(f, mostPEM+1))
	switch {
	case err != nil:
		return nil, err
	case len(content) > mostPEM:
		return nil, fmt.Errorf("%s: larger than %d bytes; want a certificate or a key in PEM", path, mostPEM)
	}
	return content, nil
}

// explain says which file is at fault, and how, when crypto/tls takes no pair
// of the two.
func (p pair) explain(cert, key []byte, err error) error {
	chain, _ := blocks(cert)
	if len(chain) == 0 {
		return fmt.Errorf("%s: no certificate; want PEM with BEGIN CERTIFICATE", p.cert)
	}
	_, keys := blocks(key)
	if len(keys) == 0 {
		missing := errNoKey
		if p.key == p.cert && isAuthority(chain[0]) {
			missing = errAuthority
		}
		return fmt.Errorf("%s: %w", p.key, missing)
	}
	if encrypted(keys[0]) {
		return fmt.Errorf("%s: the key has a passphrase; take it away: openssl pkey -in %s -out key.pem", p.key, p.key)
	}
	for i, der := range chain {
		if _, err := x509.ParseCertificate(der.Bytes); err != nil {
			return fmt.Errorf("%s: certificate %d: %w", p.cert, i+1, err)
		}
		if _, err := tls.X509KeyPair(pem.EncodeToMemory(der), key); i > 0 && err == nil {
			return fmt.Errorf("%s: the certificate of the key is number %d; want it first, then the one that signed it, and so on", p.cert, i+1)
		}
	}
	if p.key == p.cert {
		return fmt.Errorf("%s: %w", p.cert, err)
	}
	return fmt.Errorf("%s: does not go with %s: %w", p.key, p.cert, err)
}

// blocks are the certificates and the keys in PEM.
func blocks(text []byte) (certificates, keys []*pem.Block) {
	for {
		var b *pem.Block
		if b, text = pem.Decode(text); b == nil {
			return certificates, keys
		}
		switch {
		case b.Type == "CERTIFICATE":
			certificates = append(certificates, b)
		case strings.HasSuffix(b.Type, "PRIVATE KEY"):
			keys = append(keys, b)
		}
	}
}

func encrypted(b *pem.Block) bool {
	return b.Type == "ENCRYPTED PRIVATE KEY" || b.Headers["DEK-Info"] != ""
}

// stamp is how a file looked at one moment, without reading it.
type stamp struct {
	info fs.FileInfo
	err  string    // instead of info
	at   time.Time // of the look
}

// look is how a file looks now. What is no file is an error: a pipe would make
// its reader wait.
func look(path string) stamp {
	s := stamp{at: time.Now()}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.err = path + ": no such file"
	case err != nil:
		s.err = err.Error()
	case !info.Mode().IsRegular():
		s.err = fmt.Sprintf("%s: is %s; want a file", path, kind(info))
	default:
		s.info = info
	}
	return s
}

func kind(info fs.FileInfo) string {
	if info.IsDir() {
		return "a folder"
	}
	return "no file (" + info.Mode().Type().String() + ")"
}

// same says whether the content is surely the same as at the other look.
func (s stamp) same(o stamp) bool {
	if s.info == nil || o.info == nil {
		return s.info == nil && o.info == nil && s.err == o.err
	}
	return os.SameFile(s.info, o.info) && s.info.Size() == o.info.Size() && s.info.ModTime().Equal(o.info.ModTime()) &&
		s.info.Mode() == o.info.Mode() // who could not read it may now
}

// settled says whether a change after the look would show in another one.
func (s stamp) settled() bool { return s.info == nil || s.at.Sub(s.info.ModTime()) > stampGrain }
