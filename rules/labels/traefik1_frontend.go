package labels

import (
	"maps"
	"regexp"
	"slices"
	"strconv"

	"arzur.net/lb/rules"
)

// addRules adds the frontend's rules: one for each port of its entry points, and
// behind it one that corrects the final slash. Refuse, if not "", is why they must not serve.
func (f *frontend) addRules(service, scheme, refuse string) {
	v := f.ruleLabel()
	text, read, err := f.rule()
	name := f.name(text)
	if err != nil {
		v.reject(name, "%q: %s", text, err)
		return
	}
	if text == "" {
		return // the default rule wants none
	}
	for _, lost := range read.lost {
		v.warn("%q: %s", text, lost)
	}
	r := rules.Rule{
		Name: name, Origin: f.s.origin(v.key),
		Expr: read.expr, Priority: TraefikPriority(f.priority(text)),
		Service: service, Refuse: refuse,
		Rewrites:   read.rewrites,
		ServerHost: !f.flag("frontend.passHostHeader", true),
	}
	if err := checkRule(r); err != "" {
		v.reject(name, "%q, which is %s: %s", text, r.Expr, err)
		return
	}
	secure := f.headers(&r)
	sockets := f.sockets(name)
	redirect, ok := f.redirect(name)
	if !ok {
		return
	}
	for _, at := range sockets {
		r := at.on(r, false)
		if r.Protocol == rules.HTTPS {
			r.ResponseHeaders = follow(secure, r.ResponseHeaders)
		}
		f.w.Rules = append(f.w.Rules, f.reachable(redirected(r, redirect), scheme))
		if r.Refuse == "" {
			f.w.Rules = append(f.w.Rules, read.slashRules(r, service)...)
		}
	}
}

// reachable is r, which answers 503 if its servers speak what lb does not.
func (f *frontend) reachable(r rules.Rule, scheme string) rules.Rule {
	if scheme != "http" && scheme != "https" && r.Service != "" && r.Refuse == "" {
		r.Refuse = scheme + " to servers is not supported yet"
		f.label("protocol").reject(r.Name, "%s; the rule answers 503", r.Refuse)
	}
	return r
}

// checkRule says what is wrong with a rule whose words are not those of its label.
func checkRule(r rules.Rule) string {
	r.Port = 80
	_, problems := rules.Compile(rules.Input{Rules: []rules.Rule{r}, Services: []rules.Service{{Name: r.Service}}}, rules.NoBackends{})
	for _, p := range problems {
		if p.Fatal {
			return p.Reason
		}
	}
	return ""
}

// priority is the label's, else the length of the rule.
func (f *frontend) priority(rule string) int {
	v := f.label("frontend.priority")
	if v.text == "" {
		return len(rule)
	}
	n, err := strconv.Atoi(v.text)
	switch {
	case err != nil:
		v.warn("want a number, got %s; the length of the rule counts", v.quoted())
	case n < 0:
		v.warn("%d is less than 0; the length of the rule counts", n)
	case n > 0:
		return n
	}
	return len(rule)
}

// sockets are those of the frontend's entry points.
func (f *frontend) sockets(rule string) []socket {
	v := f.label("frontend.entryPoints")
	names := splitList(v.text)
	if len(names) == 0 {
		names = []string{f.o.DefaultEntryPoint}
		v = f.ruleLabel()
	}
	var sockets []socket
	var lost []func()
	note := v.warn
	for _, name := range names {
		port, known := f.o.EntryPoints[name]
		switch {
		case !known:
			words := slices.Sorted(maps.Keys(f.o.EntryPoints))
			lost = append(lost, func() { note("unknown entry point %q%s", name, didYouMean(name, words)) })
		default:
			at := socket{port: port}
			if speaksTLS(name, port) {
				at.protocol = rules.HTTPS
			}
			if !slices.Contains(sockets, at) {
				sockets = append(sockets, at)
			}
		}
	}
	if len(sockets) == 0 {
		note = func(format string, args ...any) { v.reject(rule, format, args...) }
	}
	for _, note := range lost {
		note()
	}
	return sockets
}

// redirection is where frontend.redirect leads to.
type redirection struct {
	rules.Redirect
	entryPoint uint16 // requests to this port are there already
	toTLS      bool   // and so are all those over TLS
}

// redirect reads frontend.redirect.*, nil for none. It is not ok when the rule cannot do without.
func (f *frontend) redirect(rule string) (to *redirection, ok bool) {
	to = &redirection{Redirect: rules.Redirect{ByMethod: true, Permanent: f.flag("frontend.redirect.permanent", false)}}
	entryPoint, pattern, replacement := f.label("frontend.redirect.entryPoint"), f.label("frontend.redirect.regex"), f.label("frontend.redirect.replacement")
	switch {
	case entryPoint.text != "":
		port, known := f.o.EntryPoints[entryPoint.text]
		if !known {
			words := slices.Sorted(maps.Keys(f.o.EntryPoints))
			entryPoint.reject(rule, "unknown entry point %q%s", entryPoint.text, didYouMean(entryPoint.text, words))
			return nil, false
		}
		if pattern.text != "" || replacement.text != "" {
			entryPoint.warn("it comes before redirect.regex and redirect.replacement, which do not count")
		}
		to.Scheme, to.Port, to.entryPoint = "http", port, port
		if speaksTLS(entryPoint.text, port) {
			to.Scheme = "https"
		}
		return to, true
	case pattern.text != "" && replacement.text != "":
		return f.redirectPattern(rule, to, pattern, replacement)
	case pattern.text != "":
		pattern.warn("it has no effect without redirect.replacement")
	case replacement.text != "":
		replacement.warn("it has no effect without redirect.regex")
	case f.has("frontend.redirect.permanent"):
		f.label("frontend.redirect.permanent").warn("it has no effect without redirect.entryPoint or redirect.regex")
	}
	return f.sslRedirect(), true
}

// redirectPattern: Traefik 1 takes both texts for the inside of a string of Go.
func (f *frontend) redirectPattern(rule string, to *redirection, pattern, replacement labelValue) (*redirection, bool) {
	for p, v := range map[*string]labelValue{&to.Pattern: pattern, &to.Replacement: replacement} {
		s, err := strconv.Unquote(`"` + v.text + `"`)
		if err != nil {
			v.warn("there is no redirect, for Traefik 1 wants each backslash doubled: %s", strconv.Quote(v.text))
			return nil, true
		}
		*p = s
	}
	if _, err := regexp.Compile(to.Pattern); err != nil {
		pattern.reject(rule, "%s", err)
		return nil, false
	}
	return to, true
}

// redirected is r with the redirect, unless its port is where the redirect leads to.
func redirected(r rules.Rule, to *redirection) rules.Rule {
	if to == nil || to.entryPoint == r.Port || to.toTLS && r.Protocol == rules.HTTPS || r.Refuse != "" {
		return r
	}
	r.Redirect = &to.Redirect
	if to.Pattern == "" {
		r.Service, r.Rewrites, r.ServerHost = "", nil, false
	}
	return r
}
