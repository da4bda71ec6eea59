package labels

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"arzur.net/lb/rules"
)

// addRouter makes the rules of one router: one for each port and service.
func (d *traefik3Decoder) addRouter(e *element) {
	reject := func(label, format string, args ...any) {
		d.w.reject(d.s, cmp.Or(label, e.anyLabel()), e.name, format+"; the router is left out", args...)
	}
	needed := e.doubt("rule", "ruleSyntax", "entryPoints", "service", "tls")
	d.report(e, cmp.Or(needed, e.doubtsProtection()))
	if needed != nil {
		reject(needed.label, "%s", needed.reason)
		return
	}
	if why := e.foreignSyntax(); why != "" {
		reject(e.label("ruleSyntax"), "%s", why)
		return
	}
	sockets, why := d.sockets(e)
	if why != "" {
		reject(e.label("entryPoints"), "%s", why)
		return
	}
	base, why := d.base(e)
	if why != "" {
		reject(e.label("rule"), "%s", why)
		return
	}
	targets, why := d.targets(e)
	if why != "" {
		reject(e.label("service"), "%s", why)
		return
	}
	secure := d.edit(&base, e, targets)
	d.options(&base, e)
	acme := e.text("tls.certResolver") != ""
	d.reportUnread(e)
	if targets[0].service == "" && base.Redirect == nil && base.Refuse == "" {
		reject(e.label("service"), "noop@internal serves nothing, and no middleware redirects")
		return
	}
	d.add(base, secure, sockets, targets, acme)
}

// foreignSyntax says why a router's rule is in no language that is known, "" if it is.
func (e *element) foreignSyntax() string {
	switch syntax := strings.ToLower(e.text("ruleSyntax")); syntax {
	case "", "default", "v3", syntax2:
		return ""
	default:
		return fmt.Sprintf("unknown syntax %q; want v3 or v2", syntax)
	}
}

// expr is the rule that e's label has, in our language.
func (d *traefik3Decoder) expr(e *element, protocol string) (expr, why string) {
	syntax := cmp.Or(strings.ToLower(e.text("ruleSyntax")), d.o.RuleSyntax)
	expr, note, why := language(e.text("rule"), syntax, protocol)
	if note != "" {
		d.w.warn(d.s, e.label("rule"), "%s", note)
	}
	return expr, why
}

// addDefaultRouter makes the router of a Subject that has none, for its only service.
func (d *traefik3Decoder) addDefaultRouter() {
	e := newElement(d.s.Service, d.s)
	d.addRouter(e)
}

// base is the rule but for port, service and what middlewares do.
func (d *traefik3Decoder) base(e *element) (r rules.Rule, why string) {
	expr, length := "", len(e.text("rule"))
	if length > 0 {
		if expr, why = d.expr(e, rules.HTTP); why != "" {
			return r, why
		}
	} else {
		var err error
		if expr, err = defaultExpr(d.s, d.o); err != nil {
			return r, "default_rule: " + err.Error()
		}
		length = len(expr)
	}
	if expr == "" {
		return r, "it has no rule, and the default rule is empty"
	}
	return rules.Rule{
		Name:     e.name,
		Origin:   d.s.origin(cmp.Or(e.label("rule"), e.anyLabel())),
		Expr:     expr,
		Priority: TraefikPriority(cmp.Or(e.number("priority", 0), length)),
	}, ""
}

// sockets are where a router listens. With a tls section it does so on entry points
// for https, without one on each as it is.
func (d *traefik3Decoder) sockets(e *element) (sockets []socket, why string) {
	secure := e.section("tls")
	names := e.list("entryPoints")
	if len(names) == 0 {
		names = []string{d.o.DefaultEntryPoint}
		if secure {
			names = []string{secureEntryPoint}
		}
	}
	for _, name := range names {
		at, reason := d.socket(name, secure)
		switch {
		case reason == "" && slices.Contains(sockets, at):
		case reason == "":
			sockets = append(sockets, at)
		default:
			if why = reason; len(names) > 1 {
				d.w.warn(d.s, e.label("entryPoints"), "%s", why)
			}
		}
	}
	if len(sockets) > 0 {
		return sockets, ""
	}
	return nil, why
}

// socket is where an entry point listens, and what HTTP routers find there.
func (d *traefik3Decoder) socket(name string, secure bool) (at socket, why string) {
	port, why := d.entryPoint(name)
	switch {
	case why != "":
		return at, why
	case speaksTLS(name, port) || secure && !speaksPlain(name, port):
		return socket{port, rules.HTTPS}, ""
	case secure:
		return at, fmt.Sprintf("entry point %q is one for http, and the router asks for tls; want %s", name, secureEntryPoint)
	}
	return socket{port: port}, ""
}

func (d *traefik3Decoder) entryPoint(name string) (port uint16, why string) {
	port, known := d.o.EntryPoints[name]
	if !known {
		all := slices.Sorted(maps.Keys(d.o.EntryPoints))
		why = fmt.Sprintf("unknown entry point %q%s; known are %s", name, didYouMean(name, all), strings.Join(all, ", "))
	}
	return port, why
}

// options refuses a rule whose tls.options may demand client certificates: lb
// knows the default ones alone.
func (d *traefik3Decoder) options(r *rules.Rule, e *element) {
	v, _ := e.get("tls.options")
	if name, _, _ := strings.Cut(v.text, "@"); name == "" || name == "default" || r.Refuse != "" {
		return
	}
	r.Refuse = fmt.Sprintf("tls.options %q are not known here, and may ask for client certificates; lb has tls.client_auth", v.text)
	d.w.reject(d.s, v.label, e.name, "%s; the rule serves nothing", r.Refuse)
}

// add makes a rule of base for each socket and target. Secure is what responses
// over TLS get besides.
func (d *traefik3Decoder) add(base rules.Rule, secure rules.HeaderEdit, sockets []socket, targets []target3, acme bool) {
	for _, at := range sockets {
		r := at.on(base, acme)
		if r.Protocol == rules.HTTPS {
			r.ResponseHeaders = follow(secure, r.ResponseHeaders)
		}
		if r.Refuse != "" {
			d.w.Rules = append(d.w.Rules, r)
			continue
		}
		for _, t := range targets {
			r.Service, r.Weight, r.Divides, r.ServerHost = t.service, t.weight, t.weight != nil, t.serverHost
			d.w.Rules = append(d.w.Rules, r)
		}
	}
}

// edit applies the router's middlewares to r, and refuses what asks for more than lb can do.
// It returns what they do to responses over TLS alone.
func (d *traefik3Decoder) edit(r *rules.Rule, e *element, targets []target3) (secure rules.HeaderEdit) {
	refuse := func(label, why string) {
		if r.Refuse == "" {
			r.Refuse = why
			d.w.reject(d.s, label, e.name, "%s; the rule answers 503", why)
		}
	}
	if f := e.doubtsProtection(); f != nil {
		refuse(f.label, f.reason)
		r.Refuse = "label " + f.label + ": " + f.reason
	}
	applied := 0
	var apply func(refs, within []string) string
	apply = func(refs, within []string) string {
		for _, ref := range refs {
			if applied++; applied > mostMiddlewares {
				return fmt.Sprintf("more than %d middlewares", mostMiddlewares)
			}
			m, why := d.middleware(ref)
			if why == "" && slices.Contains(within, m.name) {
				why = fmt.Sprintf("middleware %q is a chain that leads back to itself", ref)
			}
			if why == "" && m.redirect != nil && r.Redirect != nil {
				d.w.warn(d.s, e.label("middlewares"), "%q redirects, but an earlier middleware does already; a rule has one redirect", ref)
			}
			if why == "" {
				why = m.apply(r)
				secure = follow(m.secure, secure)
			}
			if why == "" && m.chain != nil {
				why = apply(m.chain, append(within[:len(within):len(within)], m.name))
			}
			if why != "" {
				return why
			}
		}
		return ""
	}
	if why := apply(e.list("middlewares"), nil); why != "" {
		refuse(e.label("middlewares"), why)
	}
	for _, t := range targets {
		why := t.refuse
		if why == "" {
			why = apply(t.middlewares, nil)
		}
		if why != "" {
			refuse(cmp.Or(e.label("service"), e.anyLabel()), why)
		}
	}
	return secure
}

// mostMiddlewares bounds what chains of chains can grow to.
const mostMiddlewares = 100
