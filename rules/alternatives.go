package rules

// mostAlternatives bounds what a conjunction of disjunctions multiplies out
// to. Beyond, one side alone is used to find the rule, and the condition decides.
const mostAlternatives = 64

// alternatives lists the hosts and paths that c needs, so that rules with
// expressions are found by host and path like all others. Every request for which c
// holds fits one of them; exact says that the reverse is true as well.
func alternatives(c condition) (all []alternative, exact bool) {
	switch c := c.(type) {
	case hostIs:
		return []alternative{{host: c.host}}, true
	case oneLabel:
		return []alternative{{host: host{hostSuffix, c.suffix}}}, false
	case *pathIs:
		return []alternative{{host: anyHost, path: c.path}}, true
	case either:
		a, exactA := alternatives(c.a)
		b, exactB := alternatives(c.b)
		return append(a, b...), exactA && exactB
	case both:
		a, exactA := alternatives(c.a)
		b, exactB := alternatives(c.b)
		return multiply(a, b, exactA && exactB)
	}
	return []alternative{{host: anyHost}}, false
}

func multiply(a, b []alternative, exact bool) ([]alternative, bool) {
	if len(a)*len(b) > mostAlternatives {
		return a, false
	}
	all := make([]alternative, 0, len(a)*len(b))
	for i := range a {
		for j := range b {
			m, exactHere := meet(&a[i], &b[j])
			all = append(all, m)
			exact = exact && exactHere
		}
	}
	return all, exact
}

// meet is what fits both. Where that has no form of its own, it is what fits a's part.
func meet(a, b *alternative) (m alternative, exact bool) {
	m, exact = *a, true
	switch {
	case a.host.covers(b.host):
		m.host = b.host
	case !b.host.covers(a.host):
		exact = false
	}
	switch {
	case a.path.covers(&b.path):
		m.path = b.path
	case !b.path.covers(&a.path):
		exact = false
	}
	return m, exact
}
