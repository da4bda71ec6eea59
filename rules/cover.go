package rules

import "slices"

// open says whether m takes all requests to its hosts and paths, so that it
// can cover other rules.
func (m *match) open() bool {
	isRegexp := func(a alternative) bool { return a.path.kind == pathMatches }
	return m.cond == nil && !slices.ContainsFunc(m.alternatives, isRegexp)
}

// cover finds an Entry of x that takes everything a takes. x must hold only
// open Entries. Like Lookup it follows host and path, so that checking
// every rule of a port against all rules before it stays near-linear.
func (x *index) cover(a *alternative) *Entry {
	c := coverSearch{a: a}
	c.bucket(&x.any)
	text := []byte(a.host.text)
	switch a.host.kind {
	case hostExact:
		if b := x.exact[a.host.text]; b != nil {
			c.bucket(b)
		}
		c.affix(&x.suffix.trie, reverse(nil, text))
		c.affix(&x.prefix.trie, text)
	case hostSuffix:
		c.affix(&x.suffix.trie, reverse(nil, text))
	case hostPrefix:
		c.affix(&x.prefix.trie, text)
	}
	return c.found
}

type coverSearch struct {
	a     *alternative
	found *Entry
}

// affix looks into the buckets whose host pattern takes all that a's does.
func (s *coverSearch) affix(t *trie[bucket], key []byte) {
	for ; t != nil && s.found == nil; t, key = t.step(key) {
		if t.set {
			s.bucket(&t.value)
		}
	}
}

func (s *coverSearch) bucket(b *bucket) {
	s.list(b.scan)
	if b.paths == nil {
		return
	}
	text := []byte(s.a.path.text)
	for t, rest := b.paths, text; t != nil; t, rest = t.step(rest) {
		s.list(t.value)
	}
	for t, rest := b.folded, text; t != nil; t, rest = t.stepFolded(rest) {
		s.list(t.value)
	}
}

func (s *coverSearch) list(all []candidate) {
	for i := 0; i < len(all) && s.found == nil; i++ {
		if all[i].path.covers(&s.a.path) {
			s.found = all[i].entry
		}
	}
}

// coveredBy is the Entry because of which no request ever reaches one that
// matches m: it, or it together with others of x, takes all of them. nil if there is none.
func (x *index) coveredBy(m *match) *Entry {
	var by *Entry
	for i := range m.alternatives {
		e := x.cover(&m.alternatives[i])
		if e == nil {
			return nil
		}
		if by == nil {
			by = e
		}
	}
	return by
}
