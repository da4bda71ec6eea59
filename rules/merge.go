package rules

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"arzur.net/lb/health"
)

// mostWeight is the highest weight of a rule or an instance, as in Rancher and HAProxy.
const mostWeight = 256

func weightOf(w *int) int { return valueOf(w, 1) }

func valueOf[T any](p *T, standard T) T {
	if p == nil {
		return standard
	}
	return *p
}

// share is what one rule brings to the Pool of its match.
type share struct {
	service *announced
	port    uint16
	weight  int
	fixed   float64 // Rule.Share
	divides bool    // Rule.Divides
}

// pools makes Pools and their Targets, each once.
type pools struct {
	reg      Backends
	byKey    map[string]*Pool
	all      []*Pool
	backends map[health.Key]int // index into uses
	uses     []BackendUse
}

// of is the Pool of a draft. Drafts with the same services share one, so that
// a thousand hosts on three servers do not all begin with the first server.
func (p *pools) of(d *draft) *Pool {
	var key strings.Builder
	key.WriteString(d.rule.BackendName)
	for _, s := range d.shares {
		fmt.Fprintf(&key, "\x00%s\x00%d\x00%d\x00%g\x00%t", s.service.Name, s.port, s.weight, s.fixed, s.divides)
	}
	if pool := p.byKey[key.String()]; pool != nil {
		return pool
	}
	first := &d.shares[0].service.Service
	pool := newPool(len(p.all), cmp.Or(d.rule.BackendName, first.Name), first)
	p.fill(pool, d.shares)
	p.byKey[key.String()] = pool
	p.all = append(p.all, pool)
	return pool
}

// fill adds the servers of every share, each Backend once.
func (p *pools) fill(pool *Pool, shares []share) {
	has := make(map[*health.Backend]bool)
	scale := scales(shares)
	for i, s := range shares {
		for _, inst := range s.service.Instances {
			if !inst.Addr.IsValid() {
				continue // a DNS name that has no address yet
			}
			addr := netip.AddrPortFrom(inst.Addr.Unmap(), cmp.Or(inst.Port, s.port))
			b := p.backend(addr, inst.Host, s.service)
			if has[b] {
				continue
			}
			has[b] = true
			tier := tierOf(inst.Backup)
			pool.Targets = append(pool.Targets, &Target{
				Backend: b, Service: s.service.Name, Host: inst.Host,
				Weight: weightOf(inst.Weight) * scale[i][tier], Backup: inst.Backup,
				MaxConnections: int32(min(s.service.MaxConnections, math.MaxInt32)), Pool: pool, Index: len(pool.Targets),
			})
		}
	}
	pool.reduce(primaries)
	pool.reduce(backups)
}

// reduce divides the weights of a tier by what they have in common.
func (p *Pool) reduce(tier int) {
	d := 0
	for _, t := range p.Targets {
		if tierOf(t.Backup) == tier {
			d = gcd(d, t.Weight)
		}
	}
	for _, t := range p.Targets {
		if tierOf(t.Backup) == tier && d > 1 {
			t.Weight /= d
		}
	}
}

// backend asks for a Backend, and notes that s uses it.
func (p *pools) backend(addr netip.AddrPort, host string, s *announced) *health.Backend {
	key := health.Key{Addr: addr, Check: s.Check.Key(), Transport: s.transport(host)}
	i, known := p.backends[key]
	if !known {
		i = len(p.uses)
		p.backends[key] = i
		p.uses = append(p.uses, BackendUse{
			Backend: p.reg.Backend(addr, s.Check, key.Transport), Check: s.Check, Host: host,
			Transport: health.Transport{TLS: s.TLS, Host: host, Proxy: uint8(s.ProxyProtocol)},
		})
	}
	use := &p.uses[i]
	if !slices.Contains(use.Services, s.Name) {
		use.Services = append(use.Services, s.Name)
	}
	return use.Backend
}

// The primaries of a Pool share its traffic among themselves, and so do the backups.
const (
	primaries = iota
	backups
	tiers
)

func tierOf(backup bool) int {
	if backup {
		return backups
	}
	return primaries
}

// scales is by what to multiply the weights of each share's instances, so that
// the weight of a rule is its share of the traffic, however many servers it
// brings. When all rules weigh the same and none divides, every server counts by
// its own weight alone.
func scales(shares []share) [][tiers]int {
	scale := make([][tiers]int, len(shares))
	if slices.ContainsFunc(shares, func(s share) bool { return s.fixed > 0 }) {
		for tier := range tiers {
			fixScales(scale, shares, tier)
		}
		return scale
	}
	even := true
	for i, s := range shares {
		even = even && s.weight == shares[0].weight && !s.divides
		scale[i] = [tiers]int{s.weight, s.weight}
	}
	if even {
		return scale
	}
	for tier := range tiers {
		common := 1
		for _, s := range shares {
			common = min(lcm(common, max(1, s.total(tier))), finest)
		}
		for i, s := range shares {
			scale[i][tier] *= max(1, common/max(1, s.total(tier)))
		}
	}
	return scale
}

// wholeShare is the weight of a server that gets all the traffic.
const wholeShare = 10_000

// fixScales is scales where rules say which part of all the traffic each of
// their servers gets, as in fabio: the others share what is left. Parts that
// add up to more than all, or to less with nobody to take the rest, keep their proportion.
func fixScales(scale [][tiers]int, shares []share, tier int) {
	sum, others := 0.0, 0
	for i := range shares {
		if n := shares[i].total(tier); shares[i].fixed > 0 {
			sum += shares[i].fixed * float64(n)
		} else {
			others += n
		}
	}
	rest := max(0, 1-sum) / float64(max(1, others))
	for i := range shares {
		part := rest
		if shares[i].fixed > 0 {
			part = shares[i].fixed
		}
		if part > 0 {
			scale[i][tier] = max(1, int(math.Round(part*wholeShare)))
		} else {
			scale[i][tier] = 0
		}
	}
}

// finest bounds the common multiple of many odd totals; beyond, shares are rounded.
const finest = 1 << 30

// total is the weight of all servers of a tier.
func (s *share) total(tier int) int {
	total := 0
	for _, inst := range s.service.Instances {
		if inst.Addr.IsValid() && tierOf(inst.Backup) == tier {
			total += weightOf(inst.Weight)
		}
	}
	return total
}

func lcm(a, b int) int { return a / gcd(a, b) * b }
