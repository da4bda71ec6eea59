package discovery

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"arzur.net/lb/rules"
)

const (
	// mostAliases is how many CNAMEs may follow one another, as in other resolvers.
	mostAliases = 8
	// mostTargets bounds the SRV targets looked up at a time: each takes two descriptors.
	mostTargets = 8
	// longTTL is that of nothing at all.
	longTTL = time.Duration(1<<63 - 1)
)

// dnsAnswer is what DNS knows of a service.
type dnsAnswer struct {
	instances []rules.Instance // sorted; at least one
	ttl       time.Duration    // of the shortest-lived record in it
}

// lookup finds the instances of a service.
func (c *dnsClient) lookup(ctx context.Context, s *dnsService) (dnsAnswer, error) {
	var failure error
	for _, name := range c.search.NameList(s.host) {
		a, err := c.lookupName(ctx, name, s)
		if err == nil {
			slices.SortFunc(a.instances, compareInstances)
			return a, nil
		}
		failure = cmp.Or(failure, err)
		if !isNone(err) {
			return dnsAnswer{}, err // the next name is another one's
		}
	}
	return dnsAnswer{}, failure
}

func (c *dnsClient) lookupName(ctx context.Context, name string, s *dnsService) (dnsAnswer, error) {
	if s.srv {
		return c.lookupSRV(ctx, name)
	}
	found, err := c.addresses(ctx, name)
	if err != nil {
		return dnsAnswer{}, err
	}
	a := dnsAnswer{ttl: found.ttl}
	for _, addr := range found.addrs {
		a.instances = append(a.instances, rules.Instance{Host: s.host, Addr: addr, Port: s.port})
	}
	return a, nil
}

// addresses are those of one name.
type addresses struct {
	addrs []netip.Addr // sorted, each once; at least one
	ttl   time.Duration
}

// addresses finds the IPv4 and the IPv6 addresses. Having those of one kind is
// enough, as for every resolver: servers that fail on AAAA are too many.
func (c *dnsClient) addresses(ctx context.Context, name string) (addresses, error) {
	var found [2]addresses
	var errs [2]error
	var queries sync.WaitGroup
	for i, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		queries.Go(func() { found[i], errs[i] = c.addressesOf(ctx, name, kind) })
	}
	queries.Wait()
	all := found[0].and(found[1])
	if len(all.addrs) > 0 {
		return all, nil
	}
	if isNone(errs[0]) && !isNone(errs[1]) {
		return all, errs[1] // there may be addresses
	}
	return all, errs[0]
}

// and joins two sets, either of which may be empty.
func (a addresses) and(b addresses) addresses {
	switch {
	case len(a.addrs) == 0:
		return b
	case len(b.addrs) == 0:
		return a
	}
	return addresses{canonical(slices.Concat(a.addrs, b.addrs)), min(a.ttl, b.ttl)}
}

// addressesOf finds the addresses of one kind.
func (c *dnsClient) addressesOf(ctx context.Context, name string, kind uint16) (addresses, error) {
	r, err := c.records(ctx, name, kind)
	if err != nil {
		return addresses{}, err
	}
	found := addressesIn(r.list, r.owner, kind)
	if len(found.addrs) == 0 {
		return addresses{}, &noRecords{r.owner, kind, dns.RcodeSuccess}
	}
	found.ttl = min(found.ttl, r.ttl)
	return found, nil
}

// records are those of one kind that a name has; at least one.
type records struct {
	owner string        // the name, or what it is an alias of
	list  []dns.RR      // of the owner
	extra []dns.RR      // what the server thought useful too
	ttl   time.Duration // of the shortest-lived in list and of the aliases
}

// records asks for the records of a name, through aliases.
func (c *dnsClient) records(ctx context.Context, name string, kind uint16) (records, error) {
	found := records{owner: name, ttl: longTTL}
	for range mostAliases {
		r, err := c.ask(ctx, found.owner, kind)
		if err != nil {
			return records{}, err
		}
		end, ttl := followAliases(r, found.owner)
		found.ttl = min(found.ttl, ttl)
		for _, rr := range r.Answer {
			if isAbout(rr, end, kind) {
				found.list = append(found.list, rr)
				found.ttl = min(found.ttl, ttlOf(rr))
			}
		}
		if len(found.list) > 0 {
			found.owner, found.extra = end, r.Extra
			return found, nil
		}
		if end == found.owner || r.Rcode == dns.RcodeNameError {
			return records{}, &noRecords{end, kind, r.Rcode}
		}
		found.owner = end // the server leaves it to us to follow
	}
	return records{}, fmt.Errorf("%s is an alias of an alias, and so on without an end", withoutDot(name))
}

// followAliases is where the CNAMEs in an answer lead, and for how long.
func followAliases(r *dns.Msg, name string) (end string, ttl time.Duration) {
	ttl = longTTL
	for range mostAliases {
		i := slices.IndexFunc(r.Answer, func(rr dns.RR) bool { return isAbout(rr, name, dns.TypeCNAME) })
		if i < 0 {
			break
		}
		name, ttl = r.Answer[i].(*dns.CNAME).Target, min(ttl, ttlOf(r.Answer[i]))
	}
	return name, ttl
}

// addressesIn picks the addresses of a name out of records. Addresses that no
// server can have are left out: to connect to 0.0.0.0 is to connect to ourselves.
func addressesIn(records []dns.RR, name string, kinds ...uint16) addresses {
	found := addresses{ttl: longTTL}
	for _, rr := range records {
		if !slices.ContainsFunc(kinds, func(kind uint16) bool { return isAbout(rr, name, kind) }) {
			continue
		}
		var addr netip.Addr
		switch rr := rr.(type) {
		case *dns.A:
			addr, _ = netip.AddrFromSlice(rr.A)
		case *dns.AAAA:
			addr, _ = netip.AddrFromSlice(rr.AAAA)
		}
		if addr = addr.Unmap(); addr.IsValid() && !addr.IsUnspecified() && !addr.IsMulticast() {
			found.addrs = append(found.addrs, addr)
			found.ttl = min(found.ttl, ttlOf(rr))
		}
	}
	found.addrs = canonical(found.addrs)
	return found
}

func isAbout(rr dns.RR, name string, kind uint16) bool {
	return rr.Header().Rrtype == kind && rr.Header().Class == dns.ClassINET && strings.EqualFold(rr.Header().Name, name)
}

// ttlOf is how long a record is good for. A TTL with the top bit set counts as 0
// (RFC 2181 section 8).
func ttlOf(rr dns.RR) time.Duration {
	if rr.Header().Ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(rr.Header().Ttl) * time.Second
}

func compareInstances(a, b rules.Instance) int {
	rank := map[bool]int{true: 1}
	return cmp.Or(cmp.Compare(rank[a.Backup], rank[b.Backup]), strings.Compare(a.Host, b.Host), a.Addr.Compare(b.Addr), cmp.Compare(a.Port, b.Port))
}
