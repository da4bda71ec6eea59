package rules

import "slices"

// successors are the Entries of a port whose requests may wait for a new Table.
type successors struct {
	byMatch   map[string]*Entry
	byService map[string][]*Entry
}

func (s *successors) add(e *Entry) {
	if e.Pool == nil || e.Pool.Hold == 0 {
		return
	}
	if s.byMatch == nil {
		s.byMatch, s.byService = make(map[string]*Entry), make(map[string][]*Entry)
	}
	s.byMatch[e.match.key] = e
	name := e.Pool.Service.Name
	s.byService[name] = append(s.byService[name], e)
}

// Successor is where a request goes now that was routed by e, an Entry of an
// earlier Table that has a Pool: to the Entry with the same match, else to one
// for the same service. It edits requests and responses as e does. nil: there is
// none with a Hold.
func (t *PortTable) Successor(e *Entry) *Entry {
	if t == nil {
		return nil
	}
	same := func(next *Entry) bool { return differs(next.Rule, e.Rule) == "" }
	if next := t.byMatch[e.match.key]; next != nil {
		if same(next) {
			return next
		}
		return nil
	}
	next := t.byService[e.Pool.Service.Name]
	if i := slices.IndexFunc(next, same); i >= 0 {
		return next[i]
	}
	return nil
}
