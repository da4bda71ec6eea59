package proxy

import (
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
	waiting []func() // the first has waited longest
}

// admission is what becomes of a handshake that wants to begin.
type admission uint8

const (
	admitted admission = iota
	waits              // until next is called
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
// called once when it is to try again, from any goroutine and with no lock held.
func (s *shares) enter(who netip.Addr, next func()) admission {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.open.Load()
	if all >= 2*maxHandshakes {
		return overload
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
		h.waiting = append(h.waiting, next)
		return waits
	}
	h.open++
	s.open.Add(1)
	return admitted
}

// leave ends a handshake that was admitted.
func (s *shares) leave(who netip.Addr) {
	s.mu.Lock()
	s.open.Add(-1)
	s.by[who].open--
	s.mu.Unlock()
	s.pass(who)
}

// pass gives the turn to who waits longest. Who was called, and does not want it
// any more, passes it on.
func (s *shares) pass(who netip.Addr) {
	s.mu.Lock()
	h := s.by[who]
	var next func()
	switch {
	case h == nil:
	case len(h.waiting) > 0:
		next, h.waiting[0] = h.waiting[0], nil
		h.waiting = h.waiting[1:]
	case h.open == 0:
		delete(s.by, who)
	}
	s.mu.Unlock()
	if next != nil {
		next()
	}
}
