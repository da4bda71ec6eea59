package labels

import (
	"maps"
	"slices"

	"arzur.net/lb/rules"
)

// Shared is what the labels of all Subjects of a Source define for each other:
// in Traefik 2 and 3 a router may refer to middlewares and services on another
// container. It is immutable.
type Shared struct {
	middlewares map[string]*middleware
	services    map[string]*service3
	routed      map[string]bool   // services that routers and weighted services name
	stacks      map[string]stacks // by protocol and service: "http.web"
}

// Share collects what the exposed Subjects define. Of two that define one name,
// the first counts for the others; each sees its own first. o.Shared is not read.
func Share(subjects []*Subject, o *Options) *Shared {
	opts := o.withDefaults()
	sh := &Shared{middlewares: make(map[string]*middleware), services: make(map[string]*service3), routed: make(map[string]bool), stacks: make(map[string]stacks)}
	for _, s := range subjects {
		var unused Wants // Decode reports
		if !slices.ContainsFunc(s.sortedKeys(), isTraefik3) || hidden(s, &opts, &unused) != "" {
			continue
		}
		t := parseTraefik3(s)
		sh.addStacks("http", s, t.routers, t.services)
		for _, network := range []string{rules.TCP, rules.UDP} {
			sh.addStacks(network, s, t.elements(network, "routers"), t.elements(network, "services"))
		}
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

// addStacks notes who has the services of a Subject.
func (sh *Shared) addStacks(protocol string, s *Subject, routers, services map[string]*element) {
	for name := range services {
		key := protocol + "." + name
		sh.stacks[key] = sh.stacks[key].with(s.Group, routersTo(name, routers, services))
	}
}

// apart finds out whether a service of this Subject has the name of another's by
// accident: stacks that know nothing of each other call both router and service
// web. Traefik serves neither then. If so, only is what to add to the name. Routers
// and services are the Subject's of that protocol.
func (d *traefik3Decoder) apart(protocol, service string, routers, services map[string]*element) (only string) {
	if d.o.Shared == nil {
		return ""
	}
	list, mine := d.o.Shared.stacks[protocol+"."+service], routersTo(service, routers, services)
	if _, only = list.find(d.s.Group, mine); only == "" {
		return ""
	}
	name := list[0].differing(mine)
	theirs := list[0].routers[name]
	d.w.warn(d.s, mine[name].anyLabel(), "router %q and service %q are defined otherwise by %s; the two are kept apart, but other names would be clearer", name, service, theirs.origin.Origin)
	d.w.Problems[len(d.w.Problems)-1].Other = theirs.origin.origin(theirs.anyLabel())
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
