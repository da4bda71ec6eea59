package certs

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/acme"
)

// ordersAtOnce bounds the names that are attended at the same time: enough for a
// CA that is slow, far below what one would call abuse.
const ordersAtOnce = 8

// never is when a name is looked at again that cannot have a certificate.
const never = 100 * 365 * 24 * time.Hour

// ACMEConfig says from whom certificates are to be had and where they are kept.
type ACMEConfig struct {
	Email       string        // where the CA may send warnings; "": nowhere
	Directory   string        // URL of the CA's directory; "": Let's Encrypt
	CA          []byte        // PEM bundle that the directory's own certificate must lead to; nil: the system's
	EAB         *EAB          // the account that the CA knows already; nil: none
	RenewBefore time.Duration // how long before the end, at most half of the lifetime; 0: a third of the lifetime
	KeyType     string        // KeyECDSA or KeyRSA; "": KeyECDSA
	Profile     string        // one of those that the CA has, such as "shortlived"; "": the CA's own choice

	Cache Cache       // what outlives the program, and may be shared
	Store *Store      // gets the certificates and what is known of the names, and asks for challenges
	Log   *zap.Logger // nil: none

	// For tests; what is not set is as it should be.
	now            func() time.Time
	backoff        func(n int) time.Duration
	timeout, pause time.Duration
}

// EAB binds an account to one that the CA knows already (RFC 8555 section 7.3.4).
type EAB struct {
	KID string
	Key []byte
}

// ACME gets certificates for names and renews them (RFC 8555), ahead of the first
// handshake and never in one. Several that share a Cache order each name once.
//
// It is not autocert's Manager, whose cache, account and client it shares: that one
// orders while a handshake waits, forgets why an order failed, and lets every
// program that shares a cache order for itself.
type ACME struct {
	config ACMEConfig
	ca     issuer
	seed   maphash.Seed // spreads renewals
	poke   chan struct{}

	telling sync.Mutex // guards retired, and keeps what the Store is told in order
	retired bool       // another was told to Adopt this one

	mu         sync.Mutex // of names, challenges, dirty, untold and orders
	names      map[string]*managed
	challenges []string
	dirty      bool   // something is yet to be published
	untold     []turn // what is to be logged once it is
	orders     map[string]uint64

	open openChallenges
}

// managed is one name and what is known of it. ACME.mu guards it.
type managed struct {
	name    string
	state   string
	err     error
	cert    *tls.Certificate // the best there is, expired or not; nil: none
	foreign bool             // cert is of another CA, and not for the Cache
	advice  advice           // of the CA, on cert
	next    time.Time        // when to attend to it
	seen    bool             // the Cache was asked for it
	busy    bool             // somebody does
	again   bool             // news came while somebody did
}

// NewACME makes one that knows no name yet. Run does the work.
func NewACME(config ACMEConfig) *ACME {
	if config.Log == nil {
		config.Log = zap.NewNop()
	}
	if config.now == nil {
		config.now = time.Now
	}
	if config.backoff == nil {
		config.backoff = backoff
	}
	config.timeout = cmp.Or(config.timeout, orderTimeout)
	config.pause = cmp.Or(config.pause, pause)
	a := &ACME{
		config: config,
		seed:   maphash.MakeSeed(),
		poke:   make(chan struct{}, 1),
		names:  make(map[string]*managed),
		orders: make(map[string]uint64),
	}
	return a
}

// SetHosts says which names are to have a certificate, all others none, and which
// challenges (HTTP01, TLSALPN01) can be answered, the one to begin with first. Names
// are in lower case, international ones in punycode.
func (a *ACME) SetHosts(names, challenges []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.challenges = slices.Clone(challenges)
	wanted := make(map[string]bool, len(names))
	for _, name := range names {
		wanted[name] = true
		if a.names[name] == nil {
			a.names[name] = &managed{name: name, state: ACMEWaiting, next: a.config.now()}
		}
	}
	for name := range a.names {
		if !wanted[name] {
			delete(a.names, name)
		}
	}
	a.dirty = true
	a.wake()
}

// Run orders and renews until ctx ends, and returns when nothing of it runs any
// more. Certificates that the Cache has are published at once.
func (a *ACME) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer a.ca.close()
	defer wg.Wait() // for orders, which ctx ends, and for news of the Cache and the CA
	a.config.Store.SetChallenge(a.ChallengeCertificate)
	wg.Go(func() { a.config.Cache.Follow(ctx, a.heard) })
	wg.Go(func() { a.heed(ctx) })
	slots := make(chan struct{}, ordersAtOnce)
	for ctx.Err() == nil {
		n, wait := a.due()
		if n == nil {
			a.publish()
			a.rest(ctx, wait)
			continue
		}
		select {
		case slots <- struct{}{}:
			wg.Go(func() {
				a.attendTo(ctx, n)
				<-slots
			})
		case <-ctx.Done():
		}
	}
}

// Load publishes what the Cache has for the names set, so that a program that has
// just started does not turn clients away before Run got round to it. It orders
// nothing and ends with ctx at the latest.
func (a *ACME) Load(ctx context.Context) {
	a.mu.Lock()
	var names []*managed
	for _, n := range a.names {
		if !n.seen && unfit(n.name) == "" {
			names = append(names, n)
		}
	}
	a.mu.Unlock()
	var wg sync.WaitGroup
	slots := make(chan struct{}, ordersAtOnce)
	for _, n := range names {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			a.load(ctx, n)
		})
	}
	wg.Wait()
	a.publish()
}

// load looks for a certificate of a name in the Cache. Run says what is wrong.
func (a *ACME) load(ctx context.Context, n *managed) {
	var cert *tls.Certificate
	data, err := a.config.Cache.Get(ctx, n.name)
	if err == nil {
		cert, err = decodeCertificate(data, n.name)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if n.seen = true; err == nil && n.cert == nil {
		n.cert, a.dirty = cert, true
	}
}

// due is a name that is to be attended to now, marked busy; or how long until then.
func (a *ACME) due() (*managed, time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now, wait := a.config.now(), never
	for _, n := range a.names {
		if n.busy {
			continue
		}
		if left := n.next.Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		n.busy, n.again = true, false
		return n, 0
	}
	return nil, wait
}

func (a *ACME) rest(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-a.poke:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// wake makes Run look for what is due.
func (a *ACME) wake() {
	select {
	case a.poke <- struct{}{}:
	default: // it will anyway
	}
}

// heard is called with each note and lock of the Cache that changed.
func (a *ACME) heard(key string) {
	name, isNews := newsOf(key)
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := a.names[name]; isNews && n != nil {
		n.next, n.again = a.config.now(), true
		a.wake()
	}
}

// attendTo brings one name forward and remembers how it went.
func (a *ACME) attendTo(ctx context.Context, n *managed) {
	a.mu.Lock()
	before, have := n.cert, n.cert
	if n.foreign {
		have = nil
	}
	a.mu.Unlock()
	p := a.attend(ctx, n.name, have)

	a.mu.Lock()
	defer a.mu.Unlock()
	if n.foreign = n.foreign && p.cert == nil; n.foreign {
		p.cert = before
	}
	if ctx.Err() == nil {
		a.untold = append(a.untold, turn{name: n.name, said: n.err, before: before, progress: p})
	}
	n.busy, n.seen, n.state, n.err = false, true, p.state, p.err
	if n.next = p.next; n.again {
		n.next = a.config.now()
	}
	n.cert, a.dirty = p.cert, true
	a.wake()
}

// set shows what is under way.
func (a *ACME) set(name, state string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := a.names[name]; n != nil {
		n.state, a.dirty = state, true
		a.wake()
	}
}

// publish tells the Store if there is something new, and then the log.
func (a *ACME) publish() {
	a.telling.Lock()
	defer a.telling.Unlock()
	if a.retired {
		return
	}
	a.mu.Lock()
	dirty, turns := a.dirty, a.untold
	a.dirty, a.untold = false, nil
	a.mu.Unlock()
	if dirty {
		a.config.Store.SetACME(a.Status())
	}
	for i := range turns {
		turns[i].tell(a.config.Log)
	}
}

// renewAt is when a certificate is to be replaced, a little earlier for some than
// for others, so that what was ordered together is not renewed together.
func (a *ACME) renewAt(leaf *x509.Certificate) time.Time {
	lifetime := leaf.NotAfter.Sub(leaf.NotBefore)
	before := min(a.config.RenewBefore, lifetime/2)
	if before <= 0 {
		before = lifetime / 3
	}
	spread := maphash.Bytes(a.seed, leaf.SerialNumber.Bytes()) % 1024
	return leaf.NotAfter.Add(-before - before/10*time.Duration(spread)/1024)
}

func (a *ACME) directory() string {
	if a.config.Directory == "" {
		return acme.LetsEncryptURL
	}
	return a.config.Directory
}
