package labels

import (
	"cmp"
	"fmt"
	"math"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// streams are the TCP or the UDP routers and services of a Subject. Services of
// different networks may have one name in Traefik, so ours have the network in theirs.
type streams struct {
	*traefik3Decoder
	network  string
	refuse   map[string]string // why a service cannot be used, by its name in labels
	only     map[string]string // what our name of a service has besides, likewise
	fallback string            // the service of routers that name none, "" if there are several
}

// addStreams makes the rules and groups of TCP or UDP routers and services.
func (d *traefik3Decoder) addStreams(network string) {
	t := &streams{traefik3Decoder: d, network: network, refuse: make(map[string]string), only: make(map[string]string)}
	routers, services := t.elements(network, "routers"), t.elements(network, "services")
	if len(routers) > 0 && len(services) == 0 {
		services[d.s.Service] = newElement(d.s.Service, d.s)
	}
	for _, name := range sortedNames(services) {
		t.fallback = name
		t.only[name] = d.apart(network, name, routers, services)
		t.addService(name, services[name])
	}
	if len(services) > 1 {
		t.fallback = ""
	}
	for _, name := range sortedNames(routers) {
		t.addRouter(name, routers[name])
	}
}

func (t *streams) service(name string) string { return name + t.only[name] + "@" + t.network }

func (t *streams) addService(name string, e *element) {
	unsafe := e.doubt("loadBalancer.server", "loadBalancer.proxyProtocol")
	if unsafe == nil {
		unsafe = e.doubtsProtection()
	}
	g, why := t.group(name, e)
	if unsafe != nil {
		why = unsafe.label + ": " + unsafe.reason
	}
	t.report(e, unsafe)
	if why != "" {
		t.refuse[name] = fmt.Sprintf("service %q: %s", name, why)
		t.w.warn(t.s, e.anyLabel(), "%s; routers that use it serve nothing", t.refuse[name])
		return
	}
	t.reportUnread(e)
	t.w.Groups = append(t.w.Groups, g)
}

// group is the service, or why it cannot be one.
func (t *streams) group(name string, e *element) (g Group, why string) {
	g = Group{
		Service: rules.Service{Name: t.service(name), Origin: e.origin.origin(e.anyLabel())}, Scheme: "http",
		PortLabel: "traefik." + t.network + ".services." + name + ".loadbalancer.server.port",
	}
	port := e.number("loadBalancer.server.port", 0)
	g.Port = uint16(port)
	switch version := t.proxyVersion(e); {
	case port < 0 || port > math.MaxUint16 || port == 0 && e.label("loadBalancer.server.port") != "":
		return g, fmt.Sprintf("server.port %d is not a port; want 1 to 65535", port)
	case port == 0 && t.network == rules.UDP:
		return g, "it needs " + g.PortLabel
	case version < 0 || version > 2:
		return g, fmt.Sprintf("proxyProtocol.version %d; want 1 or 2", version)
	default:
		g.Service.ProxyProtocol = rules.ProxyProtocol(version)
	}
	if e.flag("loadBalancer.server.tls", false) {
		g.Scheme, g.Service.TLS = "https", &health.TLS{}
	}
	e.number("loadBalancer.terminationDelay", 0) // each side may end when it likes
	var lost string
	if g.Service.Check, lost = streamCheck(e); lost != "" {
		t.w.warn(t.s, e.anyOf("loadBalancer.healthCheck"), "there is no health check: %s", lost)
	}
	return g, ""
}

// proxyVersion is that of the PROXY protocol header that servers get, 0 for none.
func (t *streams) proxyVersion(e *element) int {
	if !e.section("loadBalancer.proxyProtocol") {
		return 0
	}
	return e.number("loadBalancer.proxyProtocol.version", 2)
}

func (t *streams) addRouter(name string, e *element) {
	reject := func(label, format string, args ...any) {
		t.w.reject(t.s, cmp.Or(label, e.anyLabel()), name, format+"; the router is left out", args...)
	}
	needed := e.doubt("rule", "ruleSyntax", "entryPoints", "service", "tls")
	unsafe := e.doubtsProtection()
	t.report(e, cmp.Or(needed, unsafe))
	if needed != nil {
		reject(needed.label, "%s", needed.reason)
		return
	}
	if why := e.foreignSyntax(); why != "" {
		reject(e.label("ruleSyntax"), "%s", why)
		return
	}
	r := rules.Rule{Name: name, Origin: t.s.origin(cmp.Or(e.label("rule"), e.anyLabel())), Protocol: t.protocol(e), Expr: e.text("rule")}
	if r.Expr == "" && t.network == rules.TCP {
		reject("", "it has no rule; want HostSNI(`*`), or HostSNI with a name and tls")
		return
	}
	why := ""
	if r.Expr != "" {
		r.Priority = TraefikPriority(cmp.Or(e.number("priority", 0), len(r.Expr)))
		if r.Expr, why = t.expr(e, r.Protocol); why != "" {
			reject(e.label("rule"), "%s", why)
			return
		}
	}
	ports, why := t.ports(e, &r)
	if why != "" {
		reject(e.label("entryPoints"), "%s", why)
		return
	}
	if r.Service, why = t.target(e, &r); why != "" {
		reject(e.label("service"), "%s", why)
		return
	}
	t.protect(e, &r, name, unsafe)
	e.get("") // udp: the router stands there without more to say
	r.ACME = e.text("tls.certResolver") != "" && r.Protocol == rules.TLS
	t.reportUnread(e)
	for _, r.Port = range ports {
		t.w.Rules = append(t.w.Rules, r)
	}
}

// protocol is what the ports of a router speak.
func (t *streams) protocol(e *element) string {
	switch {
	case t.network == rules.UDP:
		return rules.UDP
	case e.flag("tls.passthrough", false):
		return rules.SNI
	case e.section("tls"):
		return rules.TLS
	}
	return rules.TCP
}

// ports are those of the router's entry points. One that has TLS may leave them out.
func (t *streams) ports(e *element, r *rules.Rule) (ports []uint16, why string) {
	names := e.list("entryPoints")
	if len(names) == 0 && (r.Protocol == rules.TLS || r.Protocol == rules.SNI) {
		names = []string{secureEntryPoint}
	}
	if len(names) == 0 {
		return nil, "it has to name an entry point: each port speaks one protocol, and web speaks http"
	}
	for _, name := range names {
		port, why := t.entryPoint(name)
		if why != "" {
			return nil, why
		}
		ports = append(ports, port)
	}
	return ports, ""
}

// target is the service of a router.
func (t *streams) target(e *element, r *rules.Rule) (service, why string) {
	ref := cmp.Or(e.text("service"), t.fallback)
	if ref == "" {
		return "", "it has to name one of its services"
	}
	name, why := localName(ref)
	if why != "" {
		return "", "service " + why
	}
	r.Refuse = t.refuse[name]
	return t.service(name), ""
}

// protect refuses a rule that asks for more protection than there is.
func (t *streams) protect(e *element, r *rules.Rule, name string, unsafe *fault) {
	label, why := e.label("middlewares"), ""
	switch list := e.list("middlewares"); {
	case unsafe != nil:
		label, why = unsafe.label, unsafe.reason
	case len(list) > 0:
		why = fmt.Sprintf("middleware %q: middlewares of TCP are not supported yet, and protect", list[0])
	}
	if why != "" {
		r.Refuse = why
		t.w.reject(t.s, label, name, "%s; the rule serves nothing", why)
	}
	t.options(r, e)
}
