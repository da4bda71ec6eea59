package proxy

import (
	"container/list"
	"net/netip"
	"sync"
	"sync/atomic"
)

const (
	// maxHandshakes bounds how many handshakes with clients are under way at once,
	// each of which holds a stack: over it, accepting rests, and at twice as many a
	// client that has been accepted is turned away.
	maxHandshakes = 8192
	// fewestHandshakes are an address's whatever the others have.
	fewestHandshakes = 16
)

// shares are the handshakes with clients that are under way, by address. Each
// address may have as many as are left for the others: one that stalls them all
// has half of maxHandshakes at most, two have a third each. What is beyond waits
// for one of its own to end, and is not refused, because a thousand clients
// behind one address may well come at once.
type shares struct {
	open atomic.Int64 // of all addresses

	mu sync.Mutex
	by map[netip.Addr]*share // guarded by mu
}

// share is one address's.
type share struct {
	open    int64
	waiting list.List // of func(), the first has waited longest
}

// admission is what becomes of a handshake that wants to begin.
type admission uint8

const (
	admitted admission = iota
	waits              // until next is called, or forget
	overload           // there are too many of all addresses together
)

// holder is who has a share: for IPv6 whoever has the network, as one client has
// any number of addresses in it.
func holder(a netip.Addr) netip.Addr {
	if a = a.Unmap(); a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// enter begins a handshake of who, which leave ends. If it has to wait, next is
// called once when it is to try again, from any goroutine and with no lock held;
// place is where it waits.
func (s *shares) enter(who netip.Addr, next func()) (a admission, place *list.Element) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.open.Load()
	if all >= 2*maxHandshakes {
		return overload, nil
	}
	h := s.by[who]
	if h == nil {
		if s.by == nil {
			s.by = map[netip.Addr]*share{}
		}
		h = &share{}
		s.by[who] = h
	}
	if h.open >= max(maxHandshakes-all, fewestHandshakes) {
		return waits, h.waiting.PushBack(next)
	}
	h.open++
	s.open.Add(1)
	return admitted, nil
}

// leave ends a handshake that was admitted.
func (s *shares) leave(who netip.Addr) {
	s.mu.Lock()
	s.open.Add(-1)
	s.by[who].open--
	s.mu.Unlock()
	s.pass(who)
}

// forget takes away who waits no longer. If its turn has come meanwhile, it has
// that still.
func (s *shares) forget(who netip.Addr, place *list.Element) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.by[who]; h != nil {
		h.waiting.Remove(place)
	}
}

// pass gives the turn to who waits longest. Who was called, and does not want it
// any more, passes it on.
func (s *shares) pass(who netip.Addr) {
	s.mu.Lock()
	h := s.by[who]
	var next func()
	switch {
	case h == nil:
	case h.waiting.Len() > 0:
		next = h.waiting.Remove(h.waiting.Front()).(func())
	case h.open == 0:
		delete(s.by, who)
	}
	s.mu.Unlock()
	if next != nil {
		next()
	}
}
