package discovery

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	"arzur.net/lb/rules"
)

// serviceSet joins services of the same name, in order of appearance.
type serviceSet struct {
	list  []rules.Service
	index map[string]int
}

// add takes one more service in. If its name is taken their instances are
// joined; should the options differ, those of the first apply to all, and the
// Problem names both.
func (s *serviceSet) add(svc *rules.Service) *rules.Problem {
	i, taken := s.index[svc.Name]
	if !taken {
		if s.index == nil {
			s.index = make(map[string]int)
		}
		s.index[svc.Name] = len(s.list)
		s.list = append(s.list, *svc)
		return nil
	}
	first := &s.list[i]
	first.Instances = joinInstances(first.Instances, svc.Instances)
	if sameOptions(first, svc) {
		return nil
	}
	return &rules.Problem{
		Origin: svc.Origin,
		Other:  first.Origin,
		Reason: fmt.Sprintf("service %q is declared twice with different options; those at %s apply to all its servers, make them equal or rename one", svc.Name, first.Origin),
	}
}

// joinInstances is a new list of a and those of b that a does not have.
func joinInstances(a, b []rules.Instance) []rules.Instance {
	type address struct {
		host string
		addr netip.Addr
		port uint16
	}
	known := make(map[address]bool, len(a))
	for _, i := range a {
		known[address{i.Host, i.Addr, i.Port}] = true
	}
	joined := slices.Clone(a)
	for _, i := range b {
		if !known[address{i.Host, i.Addr, i.Port}] {
			joined = append(joined, i)
		}
	}
	return joined
}

func sameOptions(a, b *rules.Service) bool {
	x, y := *a, *b
	x.Origin, x.Instances = y.Origin, y.Instances
	return reflect.DeepEqual(x, y)
}
