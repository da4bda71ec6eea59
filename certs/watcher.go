package certs

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"arzur.net/lb/rules"
)

const (
	// watchEvery is how often files are looked at. Polling sees what inotify does
	// not: network file systems, and swaps of a symlink further up the path.
	watchEvery = time.Second
	// watchShare keeps looking cheap: very many files are looked at less often, so
	// that it takes a fiftieth of the time, but every watchSlow at the latest.
	watchShare = 50
	watchSlow  = 5 * time.Second
	// watchQuiet is how long files must stay as they are before they are read,
	// because a certificate and its key are written one after the other.
	watchQuiet = 100 * time.Millisecond
	// watchMost ends the wait for quiet when something writes all the time.
	watchMost = 2 * time.Second
	// retryBroken is when a pair is read again although its files are the same: it
	// may not have been valid yet.
	retryBroken = time.Minute
	// goneAfter is how long a pair must be missing from its folder before it is
	// given up: some tools delete before they write.
	goneAfter = 5 * time.Second
)

// Watcher loads the certificates of files into a Store and keeps up with the
// files. A pair that cannot be served costs itself alone; if it could be served
// before, the certificate of before stays in use. Its methods may be called from
// any goroutine.
type Watcher struct {
	store *Store
	log   *zap.Logger

	mu       sync.Mutex // guards what follows
	wanted   []Files
	standard *Files
	folders  map[string]*listing // when they could last be read
	known    map[pair]*watched
	strays   []trouble
	said     map[rules.Problem]bool // was logged
	shown    *Certificate           // for the other names, in use
	// replaced are certificates of the files that were wanted before, those of longer
	// ago last. They stay in use until all that is wanted in their place can be served.
	replaced []*Certificate
}

// watched is what is known of a pair.
type watched struct {
	found   // when it was last read
	current *Certificate
	err     error     // why the files as they are cannot be served
	old     bool      // was wanted before the last Set that wanted others
	missed  time.Time // since when its folder has not had it; zero: it has
}

// NewWatcher makes a Watcher that fills the store.
func NewWatcher(store *Store, log *zap.Logger) *Watcher {
	return &Watcher{store: store, log: log, folders: map[string]*listing{}, known: map[pair]*watched{}, said: map[rules.Problem]bool{}}
}

// Set loads the certificates of these files, and standard for clients that ask
// for a name that none has; nil: they are refused. What was loaded before and
// has not changed is not read again. As long as one of the files that were not
// wanted before is no good, the certificates of those that it may replace stay in
// use, for names that no other has.
func (w *Watcher) Set(wanted []Files, standard *Files) {
	w.mu.Lock()
	defer w.mu.Unlock()
	same := slices.Equal(w.wanted, wanted) && (w.standard == standard || w.standard != nil && standard != nil && *w.standard == *standard)
	w.wanted, w.standard = slices.Clone(wanted), standard
	s := w.look()
	if !same { // else what is missing may come back
		w.replace(s.byPair())
	}
	began := time.Now()
	if read := w.load(s); len(read) > 0 {
		w.log.Info("certificates loaded", zap.Int("files", len(read)), zap.Duration("took", time.Since(began)))
	}
}

// replace forgets the files that are not among the named any more. The caller has mu.
func (w *Watcher) replace(named map[pair]*found) {
	var replaced []*Certificate
	maps.DeleteFunc(w.known, func(p pair, k *watched) bool {
		if named[p] == nil && k.current != nil {
			replaced = append(replaced, k.current)
		}
		k.old = true
		return named[p] == nil
	})
	now := time.Now()
	slices.SortFunc(replaced, func(a, b *Certificate) int { return cmp.Or(a.order(b, now), cmp.Compare(a.Origin, b.Origin)) })
	w.replaced = slices.Concat(replaced, w.replaced)
}

// Run watches the files until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	wait := watchEvery
	for sleep(ctx, wait) {
		began := time.Now()
		if w.changed() {
			w.settle(ctx)
			w.reload()
			began = time.Now() // reading is not looking
		}
		wait = min(max(watchEvery, watchShare*time.Since(began)), watchSlow)
	}
}

// sleep returns false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// settle waits until the files are quiet, or ctx ends.
func (w *Watcher) settle(ctx context.Context) {
	see := func() *sight {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.look()
	}
	last := see()
	for range int(watchMost / watchQuiet) {
		if !sleep(ctx, watchQuiet) {
			return
		}
		now := see()
		if now.same(last) {
			return
		}
		last = now
	}
}

// changed says whether there is something to load.
func (w *Watcher) changed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, now := w.look(), time.Now()
	if !slices.Equal(s.strays, w.strays) {
		return true
	}
	for i := range s.pairs {
		if k := w.known[s.pairs[i].pair]; k == nil || k.stale(&s.pairs[i], now) {
			return true
		}
	}
	named := s.byPair()
	for p, k := range w.known {
		if named[p] == nil && (k.missed.IsZero() || now.Sub(k.missed) >= goneAfter) {
			return true
		}
	}
	return false
}

func (w *Watcher) reload() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.load(w.look()) {
		if c.current == c.before {
			continue
		}
		message := "certificate renewed"
		if c.before == nil {
			message = "certificate added"
		}
		w.log.Info(message, zap.String("file", c.pair.cert), zap.Strings("names", c.current.Names), zap.Time("not_after", c.current.leaf.NotAfter))
	}
}

// stale says whether the pair, which looks like f now, is to be read again.
func (p *watched) stale(f *found, now time.Time) bool {
	return !p.missed.IsZero() || p.err != nil && now.Sub(p.certStamp.at) >= retryBroken || !p.settled() || !p.same(f)
}
