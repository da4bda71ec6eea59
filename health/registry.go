package health

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// RetireAfter is how long a Backend outlives the last Table that named it, so
// that a server which is briefly missing from a Snapshot keeps its history.
const RetireAfter = time.Minute

// Registry owns the Backends: one per Key, for as long as Tables name it and a
// minute more. All methods may be called from any goroutine.
type Registry struct {
	mu       sync.Mutex
	backends map[Key]*Backend
}

// NewRegistry returns an empty Registry.
func NewRegistry() *Registry {
	return &Registry{backends: make(map[Key]*Backend)}
}

// Backend returns the record of addr under c, nil meaning no active check, and
// the Transport with that Key. A new one is up, unless c says InitialDown.
func (r *Registry) Backend(addr netip.AddrPort, c *Check, transport string) *Backend {
	key := Key{Addr: addr, Check: c.Key(), Transport: transport}
	now := Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.backends[key]
	if b == nil {
		b = &Backend{Key: key}
		if c != nil {
			b.expect(c.InitialDown, now)
		}
		r.backends[key] = b
	}
	b.seen.Store(now)
	return b
}

// Sweep forgets the Backends that keep does not claim for the current Table,
// that no Table has named for RetireAfter and that are idle. It returns them;
// their idle connections can be closed.
func (r *Registry) Sweep(now int64, keep func(*Backend) bool) []*Backend {
	r.mu.Lock()
	defer r.mu.Unlock()
	var retired []*Backend
	for key, b := range r.backends {
		if keep(b) {
			b.seen.Store(now)
			continue
		}
		busy := b.inFlight.Load() > 0 || b.waiting.Load() > 0
		if !busy && now-b.seen.Load() >= int64(RetireAfter) {
			delete(r.backends, key)
			retired = append(retired, b)
		}
	}
	return retired
}

// All lists the Backends by address, check and Transport.
func (r *Registry) All() []*Backend {
	r.mu.Lock()
	all := make([]*Backend, 0, len(r.backends))
	for _, b := range r.backends {
		all = append(all, b)
	}
	r.mu.Unlock()
	slices.SortFunc(all, func(a, b *Backend) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Check, b.Check), cmp.Compare(a.Transport, b.Transport))
	})
	return all
}
