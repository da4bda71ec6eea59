package discovery

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// lookupTime bounds one lookup; a resolver's own retries may take longer.
	lookupTime = 10 * time.Second
	// maxLookups bounds the lookups under way: each takes a descriptor or two.
	maxLookups = 32
)

// errNoAddress is an answer without addresses.
var errNoAddress = errors.New("no address")

// run looks names up as they fall due, until ctx ends and no lookup is left.
func (r *Resolver) run(ctx context.Context, log *zap.Logger) {
	r.init()
	var lookups sync.WaitGroup
	defer lookups.Wait()
	slots := make(chan struct{}, maxLookups)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.asked:
		case <-timer.C:
		}
		due, pause := r.due()
		for host, n := range due {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			lookups.Go(func() {
				defer func() { <-slots }()
				r.refresh(ctx, host, n, log)
			})
		}
		timer.Reset(pause)
	}
}

// due takes the names whose time has come, and says when to look again.
func (r *Resolver) due() (names map[string]*name, pause time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	names = make(map[string]*name)
	now := time.Now()
	pause = r.interval()
	for host, n := range r.names {
		switch {
		case n.busy:
		case n.due.After(now):
			pause = min(pause, n.due.Sub(now))
		default:
			n.busy = true
			names[host] = n
		}
	}
	return names, pause
}

func (r *Resolver) interval() time.Duration {
	if r.Interval > 0 {
		return r.Interval
	}
	return DefaultInterval
}

// refresh looks one name up.
func (r *Resolver) refresh(ctx context.Context, host string, n *name, log *zap.Logger) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	lookup := r.Lookup
	if lookup == nil {
		lookup = systemLookup
	}
	addrs, err := lookup(ctx, host)
	addrs = canonical(addrs)
	if err == nil && len(addrs) == 0 {
		err = errNoAddress
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return // the end, no answer
	}
	r.answer(host, n, addrs, err, log)
}

// answer enters the result of a lookup.
func (r *Resolver) answer(host string, n *name, addrs []netip.Addr, err error, log *zap.Logger) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n.busy = false
	n.due = time.Now().Add(r.interval())
	log = log.With(zap.String("name", host))
	switch {
	case err != nil && n.failure == "":
		log.Warn("name does not resolve; its last addresses stay in use", zap.Stringers("addresses", n.addrs), zap.Error(err))
	case err == nil && n.failure != "":
		log.Info("name resolves again", zap.Stringers("addresses", addrs))
	}
	n.failure = ""
	if err != nil {
		n.failure = err.Error()
	} else if !slices.Equal(addrs, n.addrs) {
		n.addrs = addrs
		poke(r.news)
	}
	select {
	case <-n.first:
	default:
		close(n.first)
	}
}

func systemLookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// canonical is the addresses sorted, each once, IPv4 as IPv4. It may reorder its
// argument.
func canonical(addrs []netip.Addr) []netip.Addr {
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}
