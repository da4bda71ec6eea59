package certs

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// accountKeyName is autocert's, so that its folders can be taken over.
const accountKeyName = "acme_account+key"

// requestTimeout bounds one request to the CA.
const requestTimeout = 30 * time.Second

// issuer is the CA as this program knows it.
type issuer struct {
	mu        sync.Mutex
	transport *http.Transport // nil: none needed yet
	client    *acme.Client    // with an account; nil: none yet
	failures  int             // in a row of the CA, whatever the name
	until     time.Time       // leave it alone until then
	err       error

	directory   caDirectory // this and the next are heed's alone
	directoryAt time.Time
}

// resting is why nothing is asked of a CA that was found to be down a moment ago.
type resting struct{ error }

// resting says until when the CA is to be left alone, and why.
func (c *issuer) resting(now time.Time) (time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Before(c.until) {
		return c.until, c.err
	}
	return time.Time{}, nil
}

// failed leaves the CA alone for a while, longer each time. Orders that were under
// way at the same time are one failure.
func (c *issuer) failed(now time.Time, after time.Duration, backoff func(int) time.Duration, err error) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rest(now, after, backoff, err)
}

// rest does so with mu held.
func (c *issuer) rest(now time.Time, after time.Duration, backoff func(int) time.Duration, err error) time.Time {
	if !now.Before(c.until) {
		c.failures++
		c.until = now.Add(max(after, backoff(c.failures)))
	}
	c.err = err
	c.client = nil // the directory may have moved
	return c.until
}

func (c *issuer) answered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures, c.until, c.err = 0, time.Time{}, nil
}

// forgotten drops an account that the CA no longer knows, so that the next order
// registers again.
func (c *issuer) forgotten(err error) {
	if e := (*acme.Error)(nil); errors.As(err, &e) && e.ProblemType == "urn:ietf:params:acme:error:accountDoesNotExist" {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.client = nil
	}
}

// close lets go of connections.
func (c *issuer) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.transport != nil {
		c.transport.CloseIdleConnections()
	}
}

// account is a client whose account the CA knows.
func (c *issuer) account(ctx context.Context, a *ACME) (*acme.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.config.now().Before(c.until) {
		return nil, resting{c.err} // another order found out while this one waited for mu
	}
	if c.client != nil {
		return c.client, nil
	}
	web, err := c.webOf(a)
	if err != nil {
		return nil, err
	}
	key, err := a.accountKey(ctx)
	if err != nil {
		return nil, err
	}
	client := &acme.Client{
		Key:          key,
		DirectoryURL: a.directory(),
		UserAgent:    "lb",
		HTTPClient:   web,
		RetryBackoff: retryRequest,
	}
	account := &acme.Account{}
	if a.config.Email != "" {
		account.Contact = []string{"mailto:" + a.config.Email}
	}
	if e := a.config.EAB; e != nil {
		account.ExternalAccountBinding = &acme.ExternalAccountBinding{KID: e.KID, Key: e.Key}
	}
	// Whoever configures ACME agrees to the CA's terms, says docs/tls.md.
	if _, err := client.Register(ctx, account, acme.AcceptTOS); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		err = fmt.Errorf("account: %w", err)
		if f := faultOf(err); f.result == resultUnreachable { // before those who wait for mu ask again
			c.rest(a.config.now(), f.after, a.config.backoff, errors.New(f.words))
		}
		return nil, err
	}
	c.client = client
	return client, nil
}

// web is for what needs no account.
func (c *issuer) web(a *ACME) (*http.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.webOf(a)
}

// webOf is web for a caller that has mu.
func (c *issuer) webOf(a *ACME) (*http.Client, error) {
	if c.transport == nil {
		t, err := a.config.transport()
		if err != nil {
			return nil, err
		}
		c.transport = t
	}
	return &http.Client{Transport: c.transport, Timeout: requestTimeout}, nil
}

// transport trusts the CA's own CA if it has one, else the system's.
func (c *ACMEConfig) transport() (*http.Transport, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	if c.CA == nil {
		return t, nil
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(c.CA) {
		return nil, errors.New("ca: no certificate in it; want PEM")
	}
	t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return t, nil
}

// retryRequest says how long to wait before a request to the CA is sent again, 0
// not at all: within an order only what passes in a moment is waited for, the rest
// is for the back-off between orders.
func retryRequest(n int, _ *http.Request, r *http.Response) time.Duration {
	const nonces, busy = 20, 2
	switch {
	case r.StatusCode == http.StatusTooManyRequests || r.Header.Get("Retry-After") != "":
		return 0
	case r.StatusCode < 500 && n <= nonces: // acme asks for these when a nonce was refused
		return time.Duration(1+rand.IntN(20)) * time.Millisecond
	case r.StatusCode >= 500 && n <= busy:
		return time.Duration(n) * time.Second
	}
	return 0
}

// accountKey is the one that all who share the Cache use, made by the first.
func (a *ACME) accountKey(ctx context.Context) (crypto.Signer, error) {
	key, err := a.readAccountKey(ctx)
	if !errors.Is(err, autocert.ErrCacheMiss) {
		return key, err
	}
	held, unlock, err := a.config.Cache.Lock(ctx, accountKeyName)
	if err != nil {
		return nil, &cacheError{fmt.Errorf("account key: %w", err)}
	}
	defer unlock()
	if key, err = a.readAccountKey(held); !errors.Is(err, autocert.ErrCacheMiss) {
		return key, err
	}
	if key, err = makeKey(KeyECDSA); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("account key: %w", err)
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := a.config.Cache.Put(held, accountKeyName, data); err != nil {
		return nil, &cacheError{fmt.Errorf("save account key: %w", err)}
	}
	return key, nil
}

func (a *ACME) readAccountKey(ctx context.Context) (crypto.Signer, error) {
	data, err := a.config.Cache.Get(ctx, accountKeyName)
	if errors.Is(err, autocert.ErrCacheMiss) {
		return nil, err
	}
	if err != nil {
		return nil, &cacheError{fmt.Errorf("read account key: %w", err)}
	}
	if len(data) == 0 {
		return nil, autocert.ErrCacheMiss // the machine went down while it was written
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, &cacheError{fmt.Errorf("%s in the cache: not in PEM format; remove it to have another account made", accountKeyName)}
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil // autocert's
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, &cacheError{fmt.Errorf("%s in the cache: %w", accountKeyName, err)}
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, &cacheError{fmt.Errorf("%s in the cache: a %T cannot sign", accountKeyName, key)}
	}
	return signer, nil
}
