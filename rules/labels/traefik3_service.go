package labels

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// service3 is a service of Traefik 3: this Subject as one of its servers, or the
// weighted parts that it is made of.
type service3 struct {
	*element
	group      Group
	parts      []part3 // of a weighted service
	serverHost bool    // passHostHeader is false
	refuse     string  // not "": it cannot be used, and why
	at         string  // the label that refuse is about, "" for none in particular
	unsafe     *fault  // a label that cannot be read, and that refuse is about
	warnings   []fault

	middlewares []string
}

// part3 is one of the services that a weighted service is made of.
type part3 struct {
	name   string
	weight int
}

// target3 is what a router sends to.
type target3 struct {
	service    string
	weight     *int
	serverHost bool
	refuse     string // why it cannot be used

	middlewares []string // of the service, which come after those of the router
}

func newService3(e *element) *service3 {
	s := &service3{element: e}
	s.group = Group{
		Service: rules.Service{Name: e.name, Origin: e.origin.origin(e.anyLabel())}, Scheme: "http",
		PortLabel: "traefik.http.services." + e.name + ".loadbalancer.server.port",
	}
	s.unsafe = e.doubt("loadBalancer.server.port", "loadBalancer.server.url", "loadBalancer.server.scheme", "loadBalancer.passHostHeader", "weighted")
	if s.unsafe == nil {
		s.unsafe = e.doubtsProtection()
	}
	s.middlewares = e.list("middlewares")
	weighted := len(e.below("weighted")) > 0
	switch {
	case s.unsafe != nil:
		s.refuse = fmt.Sprintf("service %q: label %s: %s", e.name, s.unsafe.label, s.unsafe.reason)
	case weighted && len(e.below("loadBalancer")) > 0:
		s.refuse = fmt.Sprintf("service %q is a load balancer and weighted services at once", e.name)
	case weighted:
		s.setParts()
	default:
		s.setServer()
	}
	return s
}

func (s *service3) warn(label, format string, args ...any) {
	s.warnings = append(s.warnings, fault{label: label, reason: fmt.Sprintf(format, args...)})
}

// setParts reads weighted.services[n].name and .weight, in the order of n.
func (s *service3) setParts() {
	for n := range maxParts {
		at := fmt.Sprintf("weighted.services[%d].", n)
		name := s.text(at + "name")
		if name == "" {
			break
		}
		weight := s.number(at+"weight", 1)
		if weight < 0 {
			s.refuse = fmt.Sprintf("service %q: the weight of %q is negative", s.name, name)
		}
		s.parts = append(s.parts, part3{name, weight})
	}
	lowerWeights(s.parts)
	if rest := s.unread(); len(rest) > 0 || len(s.parts) == 0 {
		s.refuse = fmt.Sprintf("service %q: the weighted services have to be numbered from 0 without a gap, up to %d, and each needs a name", s.name, maxParts-1)
	}
}

// mostWeight is the highest weight of a rule or a server.
const mostWeight = 256

// lowerWeights keeps the proportion of the parts in weights that rules can have. A
// part that is much smaller than another keeps a little.
func lowerWeights(parts []part3) {
	common, highest := 0, 0
	for _, p := range parts {
		highest, common = max(highest, p.weight), gcd(p.weight, common)
	}
	if highest <= mostWeight {
		return
	}
	highest /= common
	for i := range parts {
		w := parts[i].weight / common
		if highest > mostWeight && w > 0 {
			w = max(1, int(math.Round(float64(w)*mostWeight/float64(highest))))
		}
		parts[i].weight = w
	}
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// maxParts is far more than anybody splits a service into.
const maxParts = 64

// setServer reads the address of this Subject's server and what goes with it.
func (s *service3) setServer() {
	s.serverHost = !s.flag("loadBalancer.passHostHeader", true)
	if w, ok := s.get("loadBalancer.server.weight"); ok {
		weight := s.number("loadBalancer.server.weight", 1)
		if weight < 0 {
			s.warn(w.label, "%d is negative; it counts as 0", weight)
			weight = 0
		}
		if weight > mostWeight {
			s.warn(w.label, "%d is more than %d, which counts", weight, mostWeight)
			weight = mostWeight
		}
		s.group.Weight = &weight
	}
	s.ignore()
	s.group.Service.Check = s.check()
	s.refuse = s.setAddress()
}

// ignore reads what needs nothing done: lb passes every part of a body on at
// once, and servers in turn is what it does.
func (s *service3) ignore() {
	s.text("loadBalancer.responseForwarding.flushInterval")
	if v, ok := s.get("loadBalancer.strategy"); ok && !strings.EqualFold(v.text, "wrr") {
		s.warn(v.label, "strategy %q is not supported yet; the servers take turns", v.text)
	}
	if s.label("loadBalancer.sticky") != "" && !s.section("loadBalancer.sticky") {
		for _, key := range s.below("loadBalancer.sticky") {
			s.read[key] = true // sticky=false turns all of it off
		}
	}
}

// setAddress reads port, scheme and url, and says why they cannot be used.
func (s *service3) setAddress() (why string) {
	port, scheme := s.number("loadBalancer.server.port", 0), strings.ToLower(s.text("loadBalancer.server.scheme"))
	hasPort := s.label("loadBalancer.server.port") != ""
	preserve := s.flag("loadBalancer.server.preservePath", false)
	fixed := s.text("loadBalancer.server.url")
	switch {
	case fixed != "" && (hasPort || scheme != ""):
		return fmt.Sprintf("service %q: server.url stands instead of server.port and server.scheme; take one of them out", s.name)
	case fixed != "":
		return s.setURL(fixed, preserve)
	case hasPort && (port < 1 || port > math.MaxUint16):
		return fmt.Sprintf("service %q: server.port %d is not a port; want 1 to 65535", s.name, port)
	}
	s.group.Port = uint16(port)
	return s.setScheme(cmp.Or(scheme, "http"))
}

func (s *service3) setScheme(scheme string) (why string) {
	switch s.group.Scheme = scheme; scheme {
	case "http":
	case "https":
		s.group.Service.TLS = &health.TLS{}
	default:
		s.at = s.label("loadBalancer.server.scheme")
		return fmt.Sprintf("service %q: its servers speak %s, which is not supported yet; want http or https", s.name, scheme)
	}
	return ""
}

func (s *service3) setURL(fixed string, preserve bool) (why string) {
	u, err := url.Parse(fixed)
	if err != nil || u.Hostname() == "" {
		return fmt.Sprintf("service %q: server.url %q is not a URL such as http://10.0.0.5:8080", s.name, fixed)
	}
	if u.Path != "" && u.Path != "/" {
		if preserve {
			return fmt.Sprintf("service %q: server.url with a path and server.preservePath are not supported yet", s.name)
		}
		s.warn(s.label("loadBalancer.server.url"), "the path %q is not used; requests keep theirs", u.Path)
	}
	port := 80
	if u.Scheme == "https" {
		port = 443
	}
	if p := u.Port(); p != "" {
		if port, err = strconv.Atoi(p); err != nil || port < 1 || port > math.MaxUint16 {
			return fmt.Sprintf("service %q: server.url %q: port %s is not a port; want 1 to 65535", s.name, fixed, p)
		}
	}
	s.group.Host, s.group.Port = u.Hostname(), uint16(port)
	return s.setScheme(u.Scheme)
}

// addServices makes the groups of this Subject: those that its labels describe,
// else one of its own name.
func (d *traefik3Decoder) addServices() {
	if len(d.services) == 0 {
		d.services[d.s.Service] = newElement(d.s.Service, d.s)
	}
	for _, name := range sortedNames(d.services) {
		s := newService3(d.services[name])
		s.group.Service.Name += d.apart("http", name, d.routers, d.services)
		d.own[name] = s
		d.report(s.element, s.unsafe)
		for _, f := range s.warnings {
			d.w.warn(d.s, f.label, "%s", f.reason)
		}
		if s.unsafe != nil {
			d.w.warn(d.s, s.unsafe.label, "%s; rules that use the service answer 503", s.unsafe.reason)
			continue
		}
		if s.refuse != "" {
			d.w.warn(d.s, cmp.Or(s.at, s.anyLabel()), "%s; rules that use it answer 503", s.refuse)
			continue
		}
		d.reportUnread(s.element)
		if s.parts == nil {
			d.w.Groups = append(d.w.Groups, s.group)
		}
	}
	if len(d.own) == 1 {
		for d.fallback = range d.own {
		}
	}
}

// targets are where a router sends its requests. why says that it cannot be known.
func (d *traefik3Decoder) targets(e *element) (targets []target3, why string) {
	ref := e.text("service")
	if ref == "" {
		ref = d.fallback
	}
	if ref == "" {
		return nil, fmt.Sprintf("it has to name one of the services %s", strings.Join(slices.Sorted(maps.Keys(d.own)), ", "))
	}
	if ref == "noop@internal" {
		return []target3{{}}, ""
	}
	name, why := localName(ref)
	if why != "" {
		return nil, "service " + why
	}
	s := d.service(name)
	if s == nil || s.parts == nil {
		return []target3{d.target(name, s)}, ""
	}
	for _, p := range s.parts {
		t := d.part(p)
		t.refuse = cmp.Or(s.refuse, t.refuse)
		targets = append(targets, t)
	}
	targets[0].middlewares = s.middlewares
	return targets, ""
}

// target is a service that servers are in. Of one that no label describes, another
// dialect or another Subject may make the group; if nobody does, Compile says so.
func (d *traefik3Decoder) target(name string, s *service3) target3 {
	if s == nil {
		return target3{service: name}
	}
	return target3{service: s.group.Service.Name, serverHost: s.serverHost, refuse: s.refuse, middlewares: s.middlewares}
}

func (d *traefik3Decoder) part(p part3) target3 {
	name, why := localName(p.name)
	if why != "" {
		return target3{refuse: "service " + why}
	}
	s := d.service(name)
	t := d.target(name, s)
	switch {
	case s == nil:
	case s.parts != nil:
		t.refuse = fmt.Sprintf("service %q is itself a weighted service; name its parts instead", name)
	case s.middlewares != nil:
		t.refuse = fmt.Sprintf("service %q has middlewares, which is not supported yet for a part of a weighted service", name)
	}
	t.middlewares = nil
	t.weight = &p.weight
	return t
}

// service is one that labels describe, of this Subject or another; else nil.
func (d *traefik3Decoder) service(name string) *service3 {
	if s := d.own[name]; s != nil {
		return s
	}
	if d.o.Shared != nil {
		return d.o.Shared.services[name]
	}
	return nil
}

// localName takes @docker off a reference. What other providers define cannot be reached.
func localName(ref string) (name, why string) {
	name, provider, qualified := strings.Cut(ref, "@")
	switch provider {
	case "":
	case "docker", "swarm", "consulcatalog":
	case "internal":
		why = fmt.Sprintf("%q is Traefik's own; lb has its API and metrics on the admin listener", ref)
	default:
		why = fmt.Sprintf("%q is defined outside the labels (%s), which lb does not read", ref, provider)
	}
	if why == "" && (name == "" || qualified && provider == "") {
		why = fmt.Sprintf("%q is not the name of one", ref)
	}
	return name, why
}
