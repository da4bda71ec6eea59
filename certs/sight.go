package certs

import (
	"slices"
)

// sight is how the files that a Watcher wants looked at one moment.
type sight struct {
	pairs  []found
	strays []trouble
	unseen bool // a folder could never be read
}

// found is a pair that the configuration names or a folder has.
type found struct {
	pair
	origin              string // where the configuration has it
	inFolder            bool   // it names the folder, not the pair
	certStamp, keyStamp stamp
}

// trouble is something that is wrong with a file or a folder.
type trouble struct {
	origin string // where the configuration has it
	text   string
}

// look looks at all files. The caller has mu.
func (w *Watcher) look() *sight {
	s := &sight{}
	for _, f := range w.wanted {
		if f.Dir == "" {
			s.add(f.pair(), f.Origin, false)
			continue
		}
		now, err := list(f.Dir)
		if err != nil {
			s.strays = append(s.strays, trouble{f.Origin, err.Error()})
			if now = w.folders[f.Dir]; now == nil {
				s.unseen = true
				continue
			}
		}
		w.folders[f.Dir] = now
		for _, p := range now.pairs {
			s.add(p, f.Origin, true)
		}
		for _, err := range now.strays {
			s.strays = append(s.strays, trouble{f.Origin, err.Error()})
		}
	}
	if w.standard != nil {
		s.add(w.standard.pair(), w.standard.Origin, false)
	}
	return s
}

// pair is the pair of Files that are no folder.
func (f *Files) pair() pair {
	if f.Key == "" {
		return pair{f.Cert, f.Cert}
	}
	return pair{f.Cert, f.Key}
}

func (s *sight) add(p pair, origin string, inFolder bool) {
	f := found{pair: p, origin: origin, inFolder: inFolder, certStamp: look(p.cert)}
	if f.keyStamp = f.certStamp; p.key != p.cert {
		f.keyStamp = look(p.key)
	}
	s.pairs = append(s.pairs, f)
}

func (s *sight) byPair() map[pair]*found {
	m := make(map[pair]*found, len(s.pairs))
	for i := range s.pairs {
		m[s.pairs[i].pair] = &s.pairs[i]
	}
	return m
}

func (s *sight) same(o *sight) bool {
	return slices.Equal(s.strays, o.strays) && slices.EqualFunc(s.pairs, o.pairs, func(a, b found) bool {
		return a.pair == b.pair && a.same(&b)
	})
}

func (f *found) same(o *found) bool {
	return f.certStamp.same(o.certStamp) && f.keyStamp.same(o.keyStamp)
}

func (f *found) settled() bool { return f.certStamp.settled() && f.keyStamp.settled() }
