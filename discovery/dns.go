package discovery

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"arzur.net/lb/rules"
)

// firstAnswers is how long a View waits for names it meets for the first time.
const firstAnswers = 50 * time.Millisecond

// DefaultInterval is how often names are looked up again.
const DefaultInterval = 5 * time.Second

// LookupFunc finds the addresses of a name.
type LookupFunc func(ctx context.Context, name string) ([]netip.Addr, error)

// Resolver knows the addresses of the DNS names that services use and keeps
// them fresh in the background. While a name does not resolve its last
// addresses stay. Merge runs it; the fields are set before.
type Resolver struct {
	Interval time.Duration // between two lookups of a name; 0: DefaultInterval
	Lookup   LookupFunc    // nil: the system's resolver, IPv4 and IPv6

	once  sync.Once
	news  chan struct{} // holds one: an address has changed
	asked chan struct{} // holds one: there are new names

	mu    sync.Mutex
	names map[string]*name
}

// name is one DNS name in use. Resolver.mu guards it.
type name struct {
	addrs   []netip.Addr  // sorted, each once; replaced, never changed
	due     time.Time     // of the next lookup
	busy    bool          // a lookup is under way
	first   chan struct{} // closed when the first lookup has ended
	failure string        // of the newest lookup, "" if it went well
}

// Resolve returns the services with every instance that is a DNS name replaced
// by one for each of its addresses, weight and all. A name without a known
// address keeps its instance, which has no Addr. Names that in does not use are
// forgotten. New names are waited for, but not for longer than 50 ms. in is not
// changed. Not to be called twice at a time.
func (r *Resolver) Resolve(in []rules.Service) []rules.Service {
	r.init()
	r.await(r.use(in))
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(in)
	for i := range out {
		out[i].Instances = r.expand(out[i].Instances)
	}
	select {
	case <-r.news: // is in out
	default:
	}
	return out
}

// use makes the names of in the ones in use and returns those that have never
// been answered.
func (r *Resolver) use(in []rules.Service) []*name {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := make(map[string]*name)
	var fresh []*name
	for i := range in {
		for j := range in[i].Instances {
			host, isName := dnsName(&in[i].Instances[j])
			if !isName || names[host] != nil {
				continue
			}
			n := r.names[host]
			if n == nil {
				n = &name{first: make(chan struct{})}
				fresh = append(fresh, n)
			}
			names[host] = n
		}
	}
	r.names = names
	return fresh
}

// await gives the first answers a moment.
func (r *Resolver) await(fresh []*name) {
	if len(fresh) == 0 {
		return
	}
	poke(r.asked)
	enough := time.NewTimer(firstAnswers)
	defer enough.Stop()
	for _, n := range fresh {
		select {
		case <-n.first:
		case <-enough.C:
			return
		}
	}
}

// expand replaces names by addresses. r.mu is held.
func (r *Resolver) expand(in []rules.Instance) []rules.Instance {
	out := make([]rules.Instance, 0, len(in))
	for _, instance := range in {
		host, isName := dnsName(&instance)
		if !isName {
			if !instance.Addr.IsValid() {
				instance.Addr, _ = netip.ParseAddr(host)
			}
			out = append(out, instance)
			continue
		}
		addrs := r.names[host].addrs
		if len(addrs) == 0 {
			out = append(out, instance)
		}
		for _, a := range addrs {
			instance.Addr = a
			out = append(out, instance)
		}
	}
	return out
}

// dnsName says whether the instance needs the Resolver.
func dnsName(i *rules.Instance) (host string, isName bool) {
	if i.Addr.IsValid() {
		return i.Host, false
	}
	_, err := netip.ParseAddr(i.Host)
	return i.Host, err != nil && i.Host != ""
}

// changed signals that a name in use has other addresses than before.
func (r *Resolver) changed() <-chan struct{} {
	r.init()
	return r.news
}

func (r *Resolver) init() {
	r.once.Do(func() {
		r.news = make(chan struct{}, 1)
		r.asked = make(chan struct{}, 1)
	})
}

// poke sends without waiting: one token says it all.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
