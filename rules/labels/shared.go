package labels

import (
	"maps"
	"slices"
)

// Shared is what the labels of all Subjects of a Source define for each other:
// in Traefik 2 and 3 a router may refer to middlewares and services on another
// container. It is immutable.
type Shared struct {
	middlewares map[string]*middleware
	services    map[string]*service3
	routed      map[string]bool // services that routers and weighted services name
}

// Share collects what the exposed Subjects define. Of two that define one name,
// the first counts for the others; each sees its own first. o.Shared is not read.
func Share(subjects []*Subject, o *Options) *Shared {
	opts := o.withDefaults()
	sh := &Shared{middlewares: make(map[string]*middleware), services: make(map[string]*service3), routed: make(map[string]bool)}
	for _, s := range subjects {
		var unused Wants // Decode reports
		if !slices.ContainsFunc(s.sortedKeys(), isTraefik3) || hidden(s, &opts, &unused) != "" {
			continue
		}
		t := parseTraefik3(s)
		for name, e := range t.middlewares {
			if sh.middlewares[name] == nil {
				sh.middlewares[name] = newMiddleware(e)
			}
		}
		for _, e := range t.routers {
			name, _ := localName(e.text("service"))
			sh.routed[name] = true
		}
		for name, e := range t.services {
			s := newService3(e)
			for _, p := range s.parts {
				part, _ := localName(p.name)
				sh.routed[part] = true
			}
			if sh.services[name] == nil {
				sh.services[name] = s
			}
		}
	}
	return sh
}

// reportShared warns of names that another Subject defines otherwise.
func (d *traefik3Decoder) reportShared() {
	if d.o.Shared == nil {
		return
	}
	for _, name := range sortedNames(d.middlewares) {
		mine, first := d.middlewares[name], d.o.Shared.middlewares[name]
		if first != nil && !mine.equal(first.element) {
			d.w.warn(d.s, mine.anyLabel(), "middleware %q is defined otherwise by %s, whose definition counts for all but this one", name, first.origin.Origin)
			d.w.Problems[len(d.w.Problems)-1].Other = first.origin.origin(first.anyLabel())
		}
	}
}

// equal says whether two elements say the same.
func (e *element) equal(o *element) bool {
	return maps.EqualFunc(e.values, o.values, func(a, b fieldValue) bool { return a.text == b.text }) && len(e.faults) == len(o.faults)
}

func sortedNames(elements map[string]*element) []string { return slices.Sorted(maps.Keys(elements)) }
