package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
)

// The keys of certificates that there are.
const (
	KeyECDSA = "ecdsa" // P-256: small and quick
	KeyRSA   = "rsa"   // 2048 bits: for clients that know no other
)

func makeKey(kind string) (crypto.Signer, error) {
	if kind == KeyRSA {
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// order gets a certificate from the CA, and says which challenge was answered for
// it; "" if the CA wanted none. first is the challenge to begin with, "" the one
// that SetHosts named first. If the CA cannot verify one, the others are tried.
func (a *ACME) order(ctx context.Context, name, first string) (cert *tls.Certificate, answered string, err error) {
	client, err := a.ca.account(ctx, a)
	if err != nil {
		return nil, "", err
	}
	var unverified []error
	for _, kind := range a.kinds(first) {
		cert, answered, err = a.orderBy(ctx, client, name, kind)
		if f := (*acme.AuthorizationError)(nil); !errors.As(err, &f) {
			break
		}
		unverified = append(unverified, err)
	}
	if err != nil {
		a.ca.forgotten(err)
		unverified = slices.DeleteFunc(unverified, func(e error) bool { return e == err })
		return nil, "", errors.Join(append(unverified, err)...)
	}
	return cert, answered, nil
}

// kinds are the challenges that can be answered, in the order to try them.
func (a *ACME) kinds(first string) []string {
	a.mu.Lock()
	kinds := slices.Clone(a.challenges)
	a.mu.Unlock()
	slices.SortStableFunc(kinds, func(x, y string) int {
		switch {
		case x == first && y != first:
			return -1
		case y == first && x != first:
			return 1
		}
		return 0
	})
	if len(kinds) == 0 {
		return []string{""} // the CA may have verified the name lately, and want none
	}
	return kinds
}

// orderBy orders with one kind of challenge.
func (a *ACME) orderBy(ctx context.Context, client *acme.Client, name, kind string) (*tls.Certificate, string, error) {
	var options []acme.OrderOption
	if a.config.Profile != "" {
		options = append(options, acme.WithOrderIssuanceProfile(acme.ProfileName(a.config.Profile)))
	}
	o, err := client.AuthorizeOrder(ctx, acme.DomainIDs(name), options...)
	if err != nil {
		return nil, "", fmt.Errorf("order: %w", err)
	}
	answered := ""
	for _, url := range o.AuthzURLs {
		did, err := a.authorize(ctx, client, name, kind, url)
		if err != nil {
			return nil, "", err
		}
		if did {
			answered = kind
		}
	}
	if o, err = client.WaitOrder(ctx, o.URI); err != nil {
		return nil, "", fmt.Errorf("wait for the order: %w", err)
	}
	key, err := makeKey(a.config.KeyType)
	if err != nil {
		return nil, "", err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{name}}, key)
	if err != nil {
		return nil, "", fmt.Errorf("certificate request: %w", err)
	}
	chain, _, err := client.CreateCertFromOrder(ctx, o, request, true)
	if err != nil {
		return nil, "", fmt.Errorf("finalize: %w", err)
	}
	cert, err := a.issued(name, key, chain)
	return cert, answered, err
}

// issued checks what the CA sent.
func (a *ACME) issued(name string, key crypto.Signer, chain [][]byte) (*tls.Certificate, error) {
	data, err := encodeCertificate(&tls.Certificate{Certificate: chain, PrivateKey: key})
	if err != nil {
		return nil, err
	}
	cert, err := decodeCertificate(data, name)
	if err != nil {
		return nil, fmt.Errorf("the CA's certificate: %w", err)
	}
	if !a.config.now().Before(cert.Leaf.NotAfter) {
		return nil, fmt.Errorf("the CA's certificate ended %s already; is this machine's clock right?", cert.Leaf.NotAfter.Format(time.RFC3339))
	}
	return cert, nil
}

// authorize proves to the CA that the name is ours, unless it is sure of it already.
func (a *ACME) authorize(ctx context.Context, client *acme.Client, name, kind, url string) (did bool, err error) {
	z, err := client.GetAuthorization(ctx, url)
	if err != nil {
		return false, fmt.Errorf("authorization: %w", err)
	}
	if z.Status == acme.StatusValid {
		return false, nil
	}
	i := slices.IndexFunc(z.Challenges, func(c *acme.Challenge) bool { return c.Type == kind })
	if i < 0 {
		give(client, url)
		return false, noChallenge(kind, z)
	}
	shut, err := a.open.answer(ctx, a.config.Cache, client, z.Challenges[i], name)
	defer shut()
	if err == nil {
		_, err = client.Accept(ctx, z.Challenges[i])
	}
	if err == nil {
		_, err = client.WaitAuthorization(ctx, url)
	}
	if err != nil {
		give(client, url)
		return false, fmt.Errorf("challenge %s: %w", kind, err)
	}
	return true, nil
}

// noChallenge names what the CA would have taken.
func noChallenge(kind string, z *acme.Authorization) error {
	var offers []string
	for _, c := range z.Challenges {
		offers = append(offers, c.Type)
	}
	all := strings.Join(offers, ", ")
	if kind == "" {
		return fmt.Errorf("no port can answer a challenge: the CA offers %s; http-01 needs a rule on port 80, tls-alpn-01 one on port 443", all)
	}
	return fmt.Errorf("the CA does not offer %s but %s", kind, all)
}

// tidyTimeout bounds what is done for order's sake, also when the program ends.
const tidyTimeout = 3 * time.Second

// give takes an authorization back that will not be answered: CAs bound how many
// may be pending.
func give(client *acme.Client, url string) {
	ctx, cancel := context.WithTimeout(context.Background(), tidyTimeout)
	defer cancel()
	if z, err := client.GetAuthorization(ctx, url); err == nil && z.Status == acme.StatusPending {
		_ = client.RevokeAuthorization(ctx, url) // it expires by itself
	}
}

// encodeCertificate writes the key and the chain in PEM, as autocert does.
func encodeCertificate(cert *tls.Certificate) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	var b bytes.Buffer
	_ = pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: der}) // a Buffer takes all
	for _, c := range cert.Certificate {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c})
	}
	return b.Bytes(), nil
}

// decodeCertificate reads a key and a chain that fit each other and the name.
func decodeCertificate(data []byte, name string) (*tls.Certificate, error) {
	cert, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil, err
	}
	if err := cert.Leaf.VerifyHostname(name); err != nil {
		return nil, err
	}
	return &cert, nil
}
