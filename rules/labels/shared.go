package labels

import (
	"cmp"
	"maps"
	"slices"
)

// Shared is what the labels of all Subjects of a Source define for each other:
// in Traefik 2 and 3 a router may refer to middlewares and services on another
// container. It is immutable.
type Shared struct {
	middlewares map[string]*middleware
	services    map[string]*service3
	routed      map[string]bool     // services that routers and weighted services name
	first       map[string]*element // routers and services of all protocols, by the start of their labels
}

// Share collects what the exposed Subjects define. Of two that define one name,
// the first counts for the others; each sees its own first. o.Shared is not read.
func Share(subjects []*Subject, o *Options) *Shared {
	opts := o.withDefaults()
	sh := &Shared{middlewares: make(map[string]*middleware), services: make(map[string]*service3), routed: make(map[string]bool), first: make(map[string]*element)}
	for _, s := range subjects {
		var unused Wants // Decode reports
		if !slices.ContainsFunc(s.sortedKeys(), isTraefik3) || hidden(s, &opts, &unused) != "" {
			continue
		}
		t := parseTraefik3(s)
		sh.note("http.routers.", t.routers)
		sh.note("http.services.", t.services)
		sh.note("", t.others)
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

func (sh *Shared) note(group string, elements map[string]*element) {
	for name, e := range elements {
		if sh.first[group+name] == nil {
			sh.first[group+name] = e
		}
	}
}

// apart finds out whether a service of this Subject has the name of another's by
// accident: stacks that know nothing of each other call both router and service
// web. Traefik serves neither then. If so, only is what to add to the name; those that agree
// about the router have it in common. Routers are the Subject's of that protocol.
func (d *traefik3Decoder) apart(protocol, service string, routers map[string]*element) (only string) {
	sh := d.o.Shared
	if sh == nil {
		return ""
	}
	first := sh.first[protocol+".services."+service]
	if first == nil || first.origin.Group == d.s.Group {
		return ""
	}
	for _, name := range sortedNames(routers) {
		mine, theirs := routers[name], sh.first[protocol+".routers."+name]
		if ref, _ := localName(mine.text("service")); ref != "" && ref != service || theirs == nil || theirs.origin != first.origin {
			continue
		}
		if mine.equal(theirs) {
			return "" // on purpose
		}
		if only == "" {
			only = "@" + normalize(cmp.Or(mine.text("rule"), mine.text("entryPoints")))
			d.w.warn(d.s, mine.anyLabel(), "router %q and service %q are defined otherwise by %s; the two are kept apart, but other names would be clearer", name, service, first.origin.Origin)
			d.w.Problems[len(d.w.Problems)-1].Other = theirs.origin.origin(theirs.anyLabel())
		}
	}
	return only
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
