package certs

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Where a Certificate comes from.
const (
	FromFile = "file"
	FromACME = "acme"
)

// Certificate is a certificate and its key, as handshakes use them. It never
// changes, but for the OCSP response that is stapled to it.
type Certificate struct {
	Names  []string // in lower case; "*.arzur.net" covers one label
	Source string   // FromFile or FromACME
	Origin string   // the file, or for ACME the name that it was ordered for

	leaf   *x509.Certificate
	sum    [sha256.Size]byte               // of the leaf
	served atomic.Pointer[tls.Certificate] // with the newest staple
	staple staple
}

// New checks that c can be served now and makes a Certificate of it. The error
// says what is wrong with c, but not where it comes from.
func New(c *tls.Certificate, source, origin string) (*Certificate, error) {
	if len(c.Certificate) == 0 {
		return nil, errors.New("no certificate")
	}
	if c.Leaf == nil {
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			return nil, err
		}
		withLeaf := *c
		withLeaf.Leaf = leaf
		c = &withLeaf
	}
	if err := servable(c.Leaf, time.Now()); err != nil {
		return nil, err
	}
	n := &Certificate{Names: namesOf(c.Leaf), Source: source, Origin: origin, leaf: c.Leaf, sum: sha256.Sum256(c.Leaf.Raw)}
	n.served.Store(c)
	return n, nil
}

// servable says why no client would accept the certificate.
func servable(leaf *x509.Certificate, now time.Time) error {
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("expired on %s; renew it", day(leaf.NotAfter))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("not valid before %s; is the clock right?", leaf.NotBefore.UTC().Format(time.RFC3339))
	case len(leaf.DNSNames) == 0 && len(leaf.IPAddresses) == 0:
		return errors.New("names no host; want one with subjectAltName, a common name alone is not enough for clients")
	case !forServers(leaf):
		return errors.New("is not for servers, as its extended key usage has it; want serverAuth")
	}
	return nil
}

func forServers(leaf *x509.Certificate) bool {
	for _, u := range leaf.ExtKeyUsage {
		if u == x509.ExtKeyUsageServerAuth || u == x509.ExtKeyUsageAny {
			return true
		}
	}
	return len(leaf.ExtKeyUsage) == 0 && len(leaf.UnknownExtKeyUsage) == 0
}

// namesOf are the hosts that a certificate is for.
func namesOf(leaf *x509.Certificate) []string {
	names := make([]string, 0, len(leaf.DNSNames)+len(leaf.IPAddresses))
	for _, n := range leaf.DNSNames {
		names = append(names, strings.ToLower(n))
	}
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// keyType is the kind and size of the key, such as "ecdsa P-256" and "rsa 2048".
func keyType(leaf *x509.Certificate) string {
	switch k := leaf.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return "ecdsa " + k.Params().Name
	case *rsa.PublicKey:
		return "rsa " + strconv.Itoa(k.N.BitLen())
	}
	return strings.ToLower(leaf.PublicKeyAlgorithm.String())
}

func isRSA(leaf *x509.Certificate) bool { return leaf.PublicKeyAlgorithm == x509.RSA }

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
