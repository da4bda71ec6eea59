package certs

import (
	"bytes"
	"cmp"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"arzur.net/lb/rules"
)

// change is what came of reading a pair.
type change struct {
	*watched
	before *Certificate
}

// load reads what is new in s, or was not read well, and puts the outcome into
// use. The caller has mu.
func (w *Watcher) load(s *sight) (read []change) {
	now := time.Now()
	named := s.byPair()
	for p, f := range named {
		k := w.known[p]
		if k == nil {
			k = &watched{}
			w.known[p] = k
		} else if !k.stale(f, now) {
			k.origin, k.inFolder = f.origin, f.inFolder
			continue
		}
		k.found, k.missed = *f, time.Time{}
		read = append(read, change{k, k.current})
	}
	readAll(read)
	w.giveUp(named, now)
	w.strays = s.strays
	if !s.unseen && !w.lacking() {
		w.replaced = nil
	}
	w.publish()
	w.say()
	return read
}

// giveUp forgets pairs that their folder has not had for a while. The caller has mu.
func (w *Watcher) giveUp(named map[pair]*found, now time.Time) {
	for p, k := range w.known {
		switch {
		case named[p] != nil:
		case k.missed.IsZero():
			k.missed = now
		case now.Sub(k.missed) >= goneAfter:
			delete(w.known, p)
			if k.current != nil {
				w.log.Info("certificate gone", zap.String("file", p.cert), zap.Strings("names", k.current.Names))
			}
		}
	}
}

// lacking says whether a pair that the last Set was the first to name was never any
// good. The caller has mu.
func (w *Watcher) lacking() bool {
	for _, k := range w.known {
		if k.current == nil && !k.inFolder && !k.old {
			return true
		}
	}
	return false
}

// readAll reads pairs on all CPUs: a thousand take a tenth of a second on one.
func readAll(list []change) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(list)) {
		all.Go(func() { // ends with the list, and is waited for below
			for {
				i := int(next.Add(1)) - 1
				if i >= len(list) {
					return
				}
				list[i].read()
			}
		})
	}
	all.Wait()
}

// read reads the pair. After an error the certificate of before stays.
func (p *watched) read() {
	if text := cmp.Or(p.certStamp.err, p.keyStamp.err); text != "" {
		p.err = errors.New(text)
		return
	}
	c, err := p.pair.load()
	if p.err = err; err == nil && !p.current.equal(c) {
		p.current = c
	}
}

// equal says whether both have the same chain, and so the same key.
func (c *Certificate) equal(o *Certificate) bool {
	return c != nil && slices.EqualFunc(c.served.Load().Certificate, o.served.Load().Certificate, bytes.Equal)
}

// publish hands the store what there is. The caller has mu.
func (w *Watcher) publish() {
	var list []*Certificate
	var standard *Certificate
	for p, k := range w.known {
		switch {
		case k.current == nil:
		case w.standard != nil && w.standard.pair() == p:
			standard = k.current
		default:
			list = append(list, k.current)
		}
	}
	if w.standard != nil && standard == nil {
		standard = w.shown
	}
	w.shown = standard
	w.replaced = slices.DeleteFunc(w.replaced, func(c *Certificate) bool { return c == standard })
	slices.SortFunc(list, func(a, b *Certificate) int { return cmp.Compare(a.Origin, b.Origin) })
	w.store.SetFiles(list, standard, w.replaced...)
}

// Problems are the files that cannot be served, in the order of their paths.
// They are not Fatal where the certificate of before stays in use.
func (w *Watcher) Problems() []rules.Problem {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.problems()
}

func (w *Watcher) problems() (all []rules.Problem) {
	meanwhile := ""
	if len(w.replaced) > 0 {
		meanwhile = "; until it is good, the certificates of before stay in use"
	}
	for _, t := range w.strays {
		all = append(all, rules.Problem{Origin: t.origin, Reason: t.text + meanwhile, Fatal: true})
	}
	for _, k := range w.known {
		switch {
		case k.err == nil || k.inFolder && errors.Is(k.err, errAuthority):
		case k.current == nil:
			all = append(all, rules.Problem{Origin: k.origin, Reason: k.err.Error() + meanwhile, Fatal: true})
		default:
			all = append(all, rules.Problem{Origin: k.origin, Reason: k.err.Error() + "; the certificate of before keeps serving, until " + day(k.current.leaf.NotAfter)})
		}
	}
	slices.SortFunc(all, func(a, b rules.Problem) int {
		return cmp.Or(cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Reason, b.Reason))
	})
	return all
}

// say logs problems that are new. The caller has mu.
func (w *Watcher) say() {
	now := map[rules.Problem]bool{}
	for _, p := range w.problems() {
		if now[p] = true; !w.said[p] {
			w.log.Warn("certificate cannot be served", zap.String("origin", p.Origin), zap.String("reason", p.Reason))
		}
	}
	w.said = now
}
