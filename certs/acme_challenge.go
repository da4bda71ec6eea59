package certs

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
)

// The challenges there are.
const (
	HTTP01    = "http-01"     // RFC 8555 section 8.3
	TLSALPN01 = "tls-alpn-01" // RFC 8737
)

// challengePath is where http-01 asks.
const challengePath = "/.well-known/acme-challenge/"

// challengeTimeout is how long one who asks for a token waits for a Cache.
const challengeTimeout = 4 * time.Second

// Keys of a Cache are those of autocert, and two more. What ends like
// this is small, changes often, and is of interest to all who share the Cache.
const (
	tokenSuffix = "+http-01" // after a token: its answer
	certSuffix  = "+token"   // after a name: the certificate that answers tls-alpn-01
	noteSuffix  = "+note"    // after a name
	lockSuffix  = "+lock"    // after what is locked
)

// openChallenges are those of this program's own orders.
type openChallenges struct {
	mu      sync.Mutex
	answers map[string][]byte // by key of the Cache
}

func (o *openChallenges) get(key string) ([]byte, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	data, ok := o.answers[key]
	return data, ok
}

func (o *openChallenges) put(key string, data []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.answers == nil {
		o.answers = make(map[string][]byte)
	}
	o.answers[key] = data
}

func (o *openChallenges) delete(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.answers, key)
}

// answer makes a challenge answerable by all who share the Cache, until shut.
func (o *openChallenges) answer(ctx context.Context, cache Cache, client *acme.Client, c *acme.Challenge, name string) (shut func(), err error) {
	key, data, err := answerTo(client, c, name)
	if err != nil {
		return func() {}, err
	}
	o.put(key, data)
	shut = func() {
		o.delete(key)
		ctx, cancel := context.WithTimeout(context.Background(), tidyTimeout)
		defer cancel()
		_ = cache.Delete(ctx, key) // a token is worth nothing afterwards
	}
	if err := cache.Put(ctx, key, data); err != nil {
		return shut, &cacheError{fmt.Errorf("save token: %w", err)}
	}
	// Whoever is asked has to know it, or for http-01 at least that there is an order.
	timer := time.NewTimer(cache.Lag())
	defer timer.Stop()
	select {
	case <-timer.C:
		return shut, nil
	case <-ctx.Done():
		return shut, ctx.Err()
	}
}

// answerTo is what the CA wants to see, and its key in a Cache.
func answerTo(client *acme.Client, c *acme.Challenge, name string) (key string, data []byte, err error) {
	if c.Type == HTTP01 {
		text, err := client.HTTP01ChallengeResponse(c.Token)
		return c.Token + tokenSuffix, []byte(text), err
	}
	cert, err := client.TLSALPN01ChallengeCert(c.Token, name)
	if err != nil {
		return "", nil, err
	}
	data, err = encodeCertificate(&cert)
	return name + certSuffix, data, err
}

// Challenge answers http-01: the body for a path of a host, which may have a port.
// false: it is none of our orders. It may take some seconds when another program
// orders, and the Cache is slow.
func (a *ACME) Challenge(host, path string) ([]byte, bool) {
	token, ok := strings.CutPrefix(path, challengePath)
	name := nameOf(host)
	if !ok || !isToken(token) || !a.has(name) {
		return nil, false
	}
	key := token + tokenSuffix
	if data, ok := a.open.get(key); ok {
		return data, true
	}
	if data, ok := a.config.Cache.Peek(key); ok {
		return data, true
	}
	if !a.ordered(name) {
		return nil, false // strangers cost no look-up
	}
	ctx, cancel := context.WithTimeout(context.Background(), challengeTimeout)
	defer cancel()
	data, err := a.config.Cache.Get(ctx, key)
	return data, err == nil
}

// ordered reports whether another program that shares the Cache orders for a name.
func (a *ACME) ordered(name string) bool {
	data, ok := a.config.Cache.Peek(noteKey(name))
	var n note
	return ok && json.Unmarshal(data, &n) == nil && a.config.now().Sub(n.Ordering) < 2*orderTimeout
}

// ChallengeCertificate is what to answer a CA with that asks for tls-alpn-01 and
// nothing else; nil: no such challenge is open. It does not wait for the network.
func (a *ACME) ChallengeCertificate(hello *tls.ClientHelloInfo) *tls.Certificate {
	name := nameOf(hello.ServerName)
	if !a.has(name) {
		return nil
	}
	data, ok := a.open.get(name + certSuffix)
	if !ok {
		data, ok = a.config.Cache.Peek(name + certSuffix)
	}
	if !ok {
		return nil
	}
	cert, err := decodeCertificate(data, name)
	if err != nil {
		return nil // the CA says so, and its words are kept
	}
	return cert
}

func (a *ACME) has(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.names[name] != nil
}

// nameOf is a host without port and final dot, in lower case.
func nameOf(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// isToken holds what may become part of a key to what RFC 8555 section 8.3 allows.
func isToken(s string) bool {
	return s != "" && len(s) <= 128 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}
