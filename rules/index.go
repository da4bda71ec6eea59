package rules

import "math"

// index finds the first Entry of a port that takes a request without walking all of
// them: by host to a few buckets, and inside a large bucket by path. Candidates
// carry their rank, the position in the order of the port, and the lowest
// rank wins; so an order that cuts across hosts costs nothing extra.
type index struct {
	exact  map[string]*bucket
	suffix affix // keys reversed
	prefix affix
	any    bucket
}

// affix is the buckets of the wildcard hosts that star at one end.
type affix struct {
	trie   trie[bucket]
	lowest int32
	used   bool
}

// bucket is the candidates for one host pattern.
type bucket struct {
	scan   []candidate // by rank
	paths  *trie[[]candidate]
	folded *trie[[]candidate]
	lowest int32
}

// candidate is one alternative of an Entry, in the bucket of its host.
type candidate struct {
	rank  int32
	path  path
	cond  condition
	entry *Entry
}

// few candidates are faster looked through than looked up.
const few = 8

// longestHost is what a wildcard is compared with: a DNS name has at most 253 letters.
const longestHost = 255

func newIndex() *index { return &index{exact: make(map[string]*bucket)} }

// add must be called in the order of rank.
func (x *index) add(rank int, e *Entry) {
	for i := range e.match.alternatives {
		a := &e.match.alternatives[i]
		x.bucket(a.host, int32(rank)).add(candidate{int32(rank), a.path, e.match.cond, e})
	}
}

func (x *index) bucket(h host, rank int32) *bucket {
	switch h.kind {
	case hostExact:
		b := x.exact[h.text]
		if b == nil {
			b = new(bucket)
			x.exact[h.text] = b
		}
		return b
	case hostSuffix:
		return x.suffix.at(reverse(nil, []byte(h.text)), rank)
	case hostPrefix:
		return x.prefix.at([]byte(h.text), rank)
	}
	return &x.any
}

func (a *affix) at(key []byte, rank int32) *bucket {
	if !a.used {
		a.used, a.lowest = true, rank
	}
	return a.trie.at(string(key))
}

func (b *bucket) add(c candidate) {
	if len(b.scan) == 0 && b.paths == nil {
		b.lowest = c.rank
	}
	if b.paths != nil && c.path.indexed() {
		b.file(c)
		return
	}
	b.scan = append(b.scan, c)
	if b.paths == nil && len(b.scan) > few {
		b.paths, b.folded = new(trie[[]candidate]), new(trie[[]candidate])
		all := b.scan
		b.scan = nil
		for _, c := range all {
			if c.path.indexed() {
				b.file(c)
			} else {
				b.scan = append(b.scan, c)
			}
		}
	}
}

// indexed says whether all that p takes begins with its text.
func (p *path) indexed() bool {
	switch p.kind {
	case pathExact, pathStarts, pathFolded:
		return true
	case pathSegments:
		return p.text != "/"
	}
	return false
}

func (b *bucket) file(c candidate) {
	t := b.paths
	if c.path.kind == pathFolded {
		t = b.folded
	}
	list := t.at(c.path.text)
	*list = append(*list, c)
}

// search is one Lookup under way.
type search struct {
	r    *Request
	best *candidate
	rank int32 // of best
}

// Lookup is the Entry that r belongs to, nil when no rule takes it. It does not allocate.
func (t *PortTable) Lookup(r *Request) *Entry {
	if t == nil {
		return nil
	}
	r.route()
	x, s := t.index, search{r: r, rank: math.MaxInt32}
	if b := x.exact[string(r.Host)]; b != nil {
		s.bucket(b)
	}
	if x.suffix.used && x.suffix.lowest < s.rank && len(r.Host) <= longestHost {
		var buf [longestHost]byte
		s.affix(&x.suffix.trie, reverse(buf[:0], r.Host))
	}
	if x.prefix.used && x.prefix.lowest < s.rank && len(r.Host) <= longestHost {
		s.affix(&x.prefix.trie, r.Host)
	}
	s.bucket(&x.any)
	if s.best == nil {
		return nil
	}
	return s.best.entry
}

// affix looks into the buckets of every key that key begins with, the longest first.
func (s *search) affix(t *trie[bucket], key []byte) {
	if kid, rest := t.step(key); kid != nil {
		s.affix(kid, rest)
	}
	if t.set {
		s.bucket(&t.value)
	}
}

func (s *search) bucket(b *bucket) {
	if b.lowest >= s.rank {
		return
	}
	s.list(b.scan)
	if b.paths != nil {
		s.paths(b.paths, s.r.routing)
		s.folded(b.folded, s.r.routing)
	}
}

func (s *search) paths(t *trie[[]candidate], rest []byte) {
	if kid, after := t.step(rest); kid != nil {
		s.paths(kid, after)
	}
	s.list(t.value)
}

func (s *search) folded(t *trie[[]candidate], rest []byte) {
	if kid, after := t.stepFolded(rest); kid != nil {
		s.folded(kid, after)
	}
	s.list(t.value)
}

// list takes the first candidate that fits, when it is better than the best so far.
func (s *search) list(all []candidate) {
	for i := range all {
		c := &all[i]
		if c.rank >= s.rank {
			return
		}
		if c.path.takes(s.r.routing) && (c.cond == nil || c.cond.holds(s.r)) {
			s.best, s.rank = c, c.rank
			return
		}
	}
}

func reverse(dst, b []byte) []byte {
	for i := len(b) - 1; i >= 0; i-- {
		dst = append(dst, b[i])
	}
	return dst
}
