package discovery

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"

	"arzur.net/lb/rules"
)

// mostWeight is the most that an instance may weigh.
const mostWeight = 256

// lookupSRV finds the instances that the SRV records of a name announce (RFC
// 2782). Those of the lowest priority serve; all others are backups, whose order
// among each other does not count.
func (c *dnsClient) lookupSRV(ctx context.Context, name string) (dnsAnswer, error) {
	found, err := c.records(ctx, name, dns.TypeSRV)
	if err != nil {
		return dnsAnswer{}, err
	}
	var list []*dns.SRV
	for _, rr := range found.list {
		// The target "." says that there is no such service.
		if srv := rr.(*dns.SRV); srv.Target != "." && srv.Port != 0 {
			list = append(list, srv)
		}
	}
	if len(list) == 0 {
		return dnsAnswer{}, &noRecords{found.owner, dns.TypeSRV, dns.RcodeSuccess}
	}
	targets, err := c.targets(ctx, list, found.extra)
	if err != nil {
		return dnsAnswer{}, err
	}
	a := dnsAnswer{instances: srvInstances(list, targets), ttl: found.ttl}
	for _, t := range targets {
		a.ttl = min(a.ttl, t.ttl)
	}
	return a, nil
}

// targets finds the addresses of the targets, by name in lower case: in the
// additional section, else by asking. A target that has none is left out, unless
// all are. One that nobody could be asked about fails them all: what was known
// before is more than what would be left.
func (c *dnsClient) targets(ctx context.Context, list []*dns.SRV, extra []dns.RR) (map[string]addresses, error) {
	known := make(map[string]addresses)
	var unknown []string
	for _, srv := range list {
		target := strings.ToLower(srv.Target)
		if found := addressesIn(extra, target, dns.TypeA, dns.TypeAAAA); len(found.addrs) > 0 {
			known[target] = found
		} else if !slices.Contains(unknown, target) {
			unknown = append(unknown, target)
		}
	}
	found := make([]addresses, len(unknown))
	errs := make([]error, len(unknown))
	var lookups sync.WaitGroup
	slots := make(chan struct{}, mostTargets)
	for i, target := range unknown {
		slots <- struct{}{}
		lookups.Go(func() {
			defer func() { <-slots }()
			found[i], errs[i] = c.addresses(ctx, target)
		})
	}
	lookups.Wait()
	var none error
	for i, target := range unknown {
		switch {
		case errs[i] == nil:
			known[target] = found[i]
		case isNone(errs[i]):
			none = cmp.Or(none, errs[i])
		default:
			return nil, errs[i]
		}
	}
	if len(known) == 0 {
		return nil, none
	}
	return known, nil
}

// srvInstances makes an instance of each address of each target. A target's
// weight is divided among its addresses.
func srvInstances(list []*dns.SRV, targets map[string]addresses) []rules.Instance {
	reachable := slices.DeleteFunc(slices.Clone(list), func(srv *dns.SRV) bool {
		return len(targets[strings.ToLower(srv.Target)].addrs) == 0
	})
	lowest := slices.MinFunc(reachable, func(a, b *dns.SRV) int { return cmp.Compare(a.Priority, b.Priority) }).Priority
	var instances []rules.Instance
	for _, backup := range []bool{false, true} {
		var some []rules.Instance
		var shares []float64
		for _, srv := range reachable {
			if backup != (srv.Priority > lowest) {
				continue
			}
			addrs := targets[strings.ToLower(srv.Target)].addrs
			for _, addr := range addrs {
				some = append(some, rules.Instance{Host: strings.ToLower(withoutDot(srv.Target)), Addr: addr, Port: srv.Port, Backup: backup})
				shares = append(shares, float64(srv.Weight)/float64(len(addrs)))
			}
		}
		for i, w := range weights(shares) {
			if w != 1 {
				some[i].Weight = &w
			}
		}
		instances = append(instances, some...)
	}
	return instances
}

// weights are the shares as whole numbers from 1 to mostWeight: in proportion
// where that is possible, nearly so else. A share of 0 is a very small one (RFC
// 2782), unless all are.
func weights(shares []float64) []int {
	list := make([]int, len(shares))
	if len(shares) == 0 {
		return list
	}
	least, most := slices.Min(shares), slices.Max(shares)
	if most == 0 {
		least, most = 1, 1
		shares = slices.Repeat([]float64{1}, len(shares))
	}
	exact := func(unit float64) bool {
		return !slices.ContainsFunc(shares, func(s float64) bool {
			return math.Abs(s/unit-math.Round(s/unit)) > 1e-6
		})
	}
	unit := most / mostWeight
	for n := 1.0; least > 0 && most/least*n <= mostWeight; n++ {
		if exact(least / n) {
			unit = least / n
			break
		}
	}
	for i, s := range shares {
		list[i] = max(1, int(math.Round(s/unit)))
	}
	return list
}
