package certs

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/acme/autocert"
)

const (
	// pause is how long to leave a name alone that another lb orders, whose note is
	// usually heard of earlier, and a Cache that cannot be reached.
	pause = 10 * time.Second
	// coveredPause is how soon a certificate in a file is missed that has gone.
	coveredPause = time.Minute
	// orderTimeout bounds one order: CAs say when they are busy, and retry
	// validations for less than this.
	orderTimeout = 5 * time.Minute
)

// progress is how it went with a name.
type progress struct {
	state string
	err   error
	cert  *tls.Certificate // the best there is now
	next  time.Time
}

// note is what those who share a Cache tell each other of a name.
type note struct {
	Directory string    `json:"directory"`           // the CA of the certificate
	Serial    string    `json:"serial,omitempty"`    // of the certificate
	Ordering  time.Time `json:"ordering,omitzero"`   // an order began then and has not ended
	Challenge string    `json:"challenge,omitempty"` // what to begin with; "": the first
	Failures  int       `json:"failures,omitempty"`  // in a row
	Error     string    `json:"error,omitempty"`     // the last one's
	NextTry   time.Time `json:"next_try,omitzero"`   // not before
}

func noteKey(name string) string { return name + noteSuffix }

// newsOf is the name that a key tells something of.
func newsOf(key string) (name string, ok bool) {
	if name, ok = strings.CutSuffix(key, noteSuffix); ok {
		return name, true
	}
	return strings.CutSuffix(key, lockSuffix)
}

// attend finds out how it is with a name, and orders if it is time. have is what
// is being served, nil if nothing is.
func (a *ACME) attend(ctx context.Context, name string, have *tls.Certificate) progress {
	if reason := unfit(name); reason != "" {
		return progress{state: ACMERefused, err: errors.New(reason), next: a.config.now().Add(never)}
	}
	if a.config.Store.fileCovers(name) {
		return progress{state: ACMECovered, cert: have, next: a.config.now().Add(coveredPause)}
	}
	p, n := a.look(ctx, name, have)
	if n == nil {
		return p
	}
	held, unlock, err := a.config.Cache.Lock(ctx, name)
	if errors.Is(err, ErrLocked) {
		return progress{state: ACMEWaiting, cert: p.cert, err: p.err, next: a.config.now().Add(a.config.pause)}
	}
	if err != nil {
		return a.cacheFailed(p.cert, err)
	}
	defer unlock()
	// Whoever had the lock before may have ordered it, or failed to.
	if p, n = a.look(held, name, p.cert); n == nil {
		return p
	}
	return a.renew(held, name, p.cert, *n)
}

// look reads what the Cache has. The note is nil if there is nothing to do now but
// what progress says.
func (a *ACME) look(ctx context.Context, name string, have *tls.Certificate) (progress, *note) {
	cert, err := a.newest(ctx, name, have)
	if err != nil {
		return a.cacheFailed(have, err), nil
	}
	n, err := a.readNote(ctx, name)
	if err != nil {
		return a.cacheFailed(cert, err), nil
	}
	now := a.config.now()
	if cert != nil && (n.Directory == "" || n.Directory == a.directory()) {
		if at := a.advised(name, cert.Leaf); now.Before(at) {
			return progress{state: ACMEValid, cert: cert, next: at}, nil
		}
	}
	if n.NextTry.After(now) {
		return progress{state: ACMEFailed, cert: cert, err: errors.New(n.Error), next: n.NextTry}, nil
	}
	if until, err := a.ca.resting(now); err != nil {
		return progress{state: ACMEFailed, cert: cert, err: err, next: until}, nil
	}
	return progress{cert: cert}, n
}

// newest is the certificate that ends last of the one in the Cache and the one that
// is served. What the Cache lacks it gets.
func (a *ACME) newest(ctx context.Context, name string, have *tls.Certificate) (*tls.Certificate, error) {
	data, err := a.config.Cache.Get(ctx, name)
	if err != nil && !errors.Is(err, autocert.ErrCacheMiss) {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	var cached *tls.Certificate
	if err == nil {
		if cached, err = decodeCertificate(data, name); err != nil {
			a.config.Log.Warn("a cached certificate cannot be used and is ordered anew", zap.String("name", name), zap.Error(err))
		}
	}
	switch {
	case have == nil || cached != nil && cached.Leaf.NotAfter.After(have.Leaf.NotAfter):
		return cached, nil
	case cached != nil && cached.Leaf.Equal(have.Leaf):
		return have, nil
	}
	return have, a.save(ctx, name, have)
}

func (a *ACME) save(ctx context.Context, name string, cert *tls.Certificate) error {
	data, err := encodeCertificate(cert)
	if err != nil {
		return err
	}
	if err := a.config.Cache.Put(ctx, name, data); err != nil {
		return fmt.Errorf("save certificate: %w", err)
	}
	return nil
}

func (a *ACME) readNote(ctx context.Context, name string) (*note, error) {
	n := &note{}
	data, err := a.config.Cache.Get(ctx, noteKey(name))
	if errors.Is(err, autocert.ErrCacheMiss) {
		return n, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read note: %w", err)
	}
	if json.Unmarshal(data, n) != nil {
		return &note{}, nil // it only ever saves orders
	}
	return n, nil
}

func (a *ACME) writeNote(ctx context.Context, name string, n note) error {
	data, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if err := a.config.Cache.Put(ctx, noteKey(name), data); err != nil {
		return fmt.Errorf("write note: %w", err)
	}
	return nil
}

// renew orders, with the lock of the name held for as long as ctx lasts.
func (a *ACME) renew(ctx context.Context, name string, old *tls.Certificate, n note) progress {
	a.set(name, ACMEOrdering)
	// A Cache that cannot keep a note would not keep the certificate.
	n.Ordering = a.config.now()
	if err := a.writeNote(ctx, name, n); err != nil {
		return a.cacheFailed(old, err)
	}
	limited, cancel := context.WithTimeout(ctx, a.config.timeout)
	defer cancel()
	cert, answered, err := a.order(limited, name, n.Challenge)
	if cert == nil && errors.Is(err, ErrLocked) { // the account is being made
		return progress{state: ACMEWaiting, cert: old, next: a.config.now().Add(a.config.pause)}
	}
	if ctx.Err() != nil && cert == nil {
		return progress{state: ACMEWaiting, cert: old, err: context.Cause(ctx), next: a.config.now().Add(a.config.pause)}
	}
	now := a.config.now()
	if err != nil {
		return a.failed(ctx, name, old, n, now, err)
	}
	a.ca.answered()
	a.count(resultIssued)
	p := progress{state: ACMEValid, cert: cert, next: a.renewAt(cert.Leaf)}
	if err := a.save(ctx, name, cert); err != nil {
		return a.cacheFailed(cert, err) // and saved when there is a Cache again
	}
	// A note that is missing costs the others a look, not an order.
	_ = a.writeNote(ctx, name, note{Directory: a.directory(), Serial: cert.Leaf.SerialNumber.Text(16), Challenge: answered})
	return p
}

// failed says when to try again, to others as well.
func (a *ACME) failed(ctx context.Context, name string, old *tls.Certificate, n note, now time.Time, err error) progress {
	f := faultOf(err)
	a.count(f.result)
	if f.result == resultCache {
		return a.cacheFailed(old, err)
	}
	err = errors.New(f.words)
	if f.result == resultUnreachable {
		// Not this name's fault, and no other will fare better.
		until := a.ca.failed(now, f.after, a.config.backoff, err)
		n.Ordering = time.Time{}
		_ = a.writeNote(ctx, name, n) // best effort: it only tells others that nothing is under way
		return progress{state: ACMEFailed, cert: old, err: err, next: until}
	}
	a.ca.answered()
	n.Failures++
	n.Ordering, n.Error, n.Challenge = time.Time{}, f.words, ""
	n.NextTry = now.Add(max(f.after, a.config.backoff(n.Failures)))
	_ = a.writeNote(ctx, name, n) // best effort: without it another lb tries earlier
	return progress{state: ACMEFailed, cert: old, err: err, next: n.NextTry}
}

// cacheFailed goes on with what is in memory.
func (a *ACME) cacheFailed(have *tls.Certificate, err error) progress {
	now := a.config.now()
	p := progress{state: ACMEFailed, cert: have, err: err, next: now.Add(a.config.pause)}
	if have != nil && now.Before(a.renewAt(have.Leaf)) {
		p.state = ACMEValid
	}
	return p
}

// turn is how a name came forward.
type turn struct {
	progress
	name   string
	said   error            // what had gone wrong the time before
	before *tls.Certificate // what had been there
}

// tell logs what an operator wants to know of it, once.
func (t *turn) tell(log *zap.Logger) {
	log = log.With(zap.String("name", t.name))
	if t.cert != nil {
		log = log.With(zap.Time("expires", t.cert.Leaf.NotAfter))
	}
	switch {
	case t.state == ACMERefused:
		log.Warn("a name cannot have a certificate", zap.Error(t.err))
	case t.err != nil && (t.said == nil || t.said.Error() != t.err.Error()):
		log.Warn("a certificate cannot be had yet", zap.Error(t.err), zap.Time("next_try", t.next))
	case t.err == nil && t.cert != nil && (t.before == nil || t.said != nil || !t.before.Leaf.Equal(t.cert.Leaf)):
		log.Info("a certificate is in use", zap.String("source", "acme"), zap.Time("renewal", t.next))
	}
}

// unfit says why no public CA certifies a name by the challenges there are; ""
// if one may.
func unfit(name string) string {
	_, err := netip.ParseAddr(strings.Trim(name, "[]"))
	switch {
	case err == nil:
		return fmt.Sprintf("%q is an address; certificates by ACME are for names", name)
	case strings.Contains(name, "*"):
		return fmt.Sprintf("%q is a wildcard, which http-01 and tls-alpn-01 cannot prove; give a certificate by file, or name the hosts", name)
	case !strings.Contains(strings.Trim(name, "."), "."):
		return fmt.Sprintf("%q is no public name: it has no dot", name)
	case strings.ContainsAny(name, "/+:_ "):
		return fmt.Sprintf("%q is no name of a host", name)
	}
	return ""
}
