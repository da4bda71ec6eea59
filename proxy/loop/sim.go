package loop

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
)

// Sim is a System made of memory, with a clock that moves only when there is
// nothing else to do. The same seed and the same calls give the same run.
//
// It behaves as Linux does where a program can tell: edges, half-closed streams,
// resets for unread or unwanted bytes, full buffers, descriptors reused from the
// lowest. Everything on one SimNet belongs to one goroutine, except Wake.
type Sim struct {
	*SimNet
	ready []*simSocket // has something to report, in order
	woken atomic.Bool
}

// SimNet is the network, the clock and the descriptors that Sims share. Its
// exported fields may be changed at any time.
type SimNet struct {
	// MaxRead is how many bytes arrive at once at most, 0 for no limit. 1 has
	// every stream arrive byte by byte.
	MaxRead int
	// MaxWrite is how many bytes a socket takes before it is full, until some of
	// them have arrived. 0 is Window.
	MaxWrite int
	// Window is how many bytes wait at the receiver. Default 64 KiB.
	Window int
	// Ragged draws the sizes at random, up to MaxRead and MaxWrite.
	Ragged bool
	// Collect has output collected for SendAll wherever that may be.
	Collect bool
	// Shuffle reports events in random order.
	Shuffle bool
	// Latency is how many nanoseconds bytes are under way.
	Latency int64
	// ConnectDelay is how many nanoseconds a Connect takes.
	ConnectDelay int64
	// MaxFiles is how many descriptors may be open; more is EMFILE. 0 is no limit.
	MaxFiles int
	// RefuseChance and ResetChance, from 0 to 1, are how often a Connect is
	// refused, and how often the arrival of bytes turns into a reset.
	RefuseChance, ResetChance float64
	// KeptAlive counts the calls of KeepAlive.
	KeptAlive int
	// LossChance, from 0 to 1, is how often a datagram is lost.
	LossChance float64

	now       int64
	seq       uint64
	rng       *rand.Rand
	agenda    []happening // by time, then by order of entry
	files     []*simSocket
	open      int
	port      uint16 // the last one given to a client
	listeners map[netip.AddrPort][]*simSocket
	bound     map[netip.AddrPort][]*simSocket // for datagrams
	fates     map[netip.AddrPort]syscall.Errno
	sims      []*Sim
}

// happening is something that the network does at a given time.
type happening struct {
	at  int64
	seq uint64
	f   func(*simSocket) // a method expression: no closure for each
	s   *simSocket
}

// firstFile: 0 to 2 are taken in every process.
const firstFile = 3

// dropped is the fate of a Connect that nobody answers.
const dropped = syscall.Errno(0)

// NewSim returns a System on a network of its own.
func NewSim(seed uint64) *Sim {
	n := &SimNet{
		Window:    64 << 10,
		now:       1e9,
		rng:       rand.New(rand.NewPCG(seed, seed)),
		files:     make([]*simSocket, firstFile),
		port:      32767,
		listeners: map[netip.AddrPort][]*simSocket{},
		bound:     map[netip.AddrPort][]*simSocket{},
		fates:     map[netip.AddrPort]syscall.Errno{},
	}
	return n.System()
}

// System returns one more System on the same network, for another Loop of the
// same process.
func (n *SimNet) System() *Sim {
	s := &Sim{SimNet: n}
	n.sims = append(n.sims, s)
	return s
}

// Now is the virtual time.
func (n *SimNet) Now() int64 { return n.now }

// Open counts the open descriptors.
func (n *SimNet) Open() int { return n.open }

// Refuse has every Connect to that address fail with err: at once with
// EADDRNOTAVAIL, which is the want of a local port, else after a round trip.
func (n *SimNet) Refuse(to netip.AddrPort, err syscall.Errno) { n.fates[to] = err }

// Drop has no Connect to that address ever be decided.
func (n *SimNet) Drop(to netip.AddrPort) { n.fates[to] = dropped }

// Restore undoes Refuse and Drop.
func (n *SimNet) Restore(to netip.AddrPort) { delete(n.fates, to) }

// After calls f when the given number of nanoseconds has passed.
func (n *SimNet) After(ns int64, f func()) {
	n.plan(ns, func(*simSocket) { f() }, nil)
}

// Run steps the loops until done, which it asks after every round. It returns
// false if nothing can happen any more and done is still false.
func (n *SimNet) Run(done func() bool, loops ...*Loop) bool {
	for !done() {
		if !n.advance(loops) {
			return false
		}
		for _, l := range loops {
			l.Step(0)
		}
	}
	return true
}

// advance moves the clock to when the next thing happens to anybody.
func (n *SimNet) advance(loops []*Loop) bool {
	if n.busy() {
		return true
	}
	next := int64(never)
	if len(n.agenda) > 0 {
		next = n.agenda[0].at
	}
	for _, l := range loops {
		if wait := l.patience(); wait >= 0 {
			next = min(next, l.now+wait)
		}
	}
	if next == never {
		return false
	}
	n.now = max(n.now, next)
	return true
}

// plan puts f(s) on the agenda.
func (n *SimNet) plan(ns int64, f func(*simSocket), s *simSocket) {
	n.seq++
	h := happening{at: n.now + ns, seq: n.seq, f: f, s: s}
	i, _ := slices.BinarySearchFunc(n.agenda, h, func(a, b happening) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.seq, b.seq))
	})
	n.agenda = slices.Insert(n.agenda, i, h)
}

// due runs what is on the agenda for now, but not what that adds: bytes that
// follow each other arrive one round after the other.
func (n *SimNet) due() {
	last := n.seq
	for len(n.agenda) > 0 && n.agenda[0].at <= n.now && n.agenda[0].seq <= last {
		h := n.agenda[0]
		n.agenda = slices.Delete(n.agenda, 0, 1)
		h.f(h.s)
	}
}

// size is how many of n bytes go at once, with limit as the option says.
func (n *SimNet) size(bytes, limit int) int {
	if limit > 0 {
		bytes = min(bytes, limit)
	}
	if n.Ragged && bytes > 1 {
		bytes = 1 + n.rng.IntN(bytes)
	}
	return bytes
}

// chance is true with probability p.
func (n *SimNet) chance(p float64) bool { return p > 0 && n.rng.Float64() < p }
