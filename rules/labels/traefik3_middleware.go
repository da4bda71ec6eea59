package labels

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"arzur.net/lb/rules"
)

// middleware is one of Traefik 3's, as far as the engine can do what it does.
type middleware struct {
	*element
	rewrite  *rules.Rewrite
	redirect *rules.Redirect
	request  rules.HeaderEdit
	response rules.HeaderEdit
	secure   rules.HeaderEdit // of responses over TLS, beside response
	chain    []string         // the middlewares that it stands for
	refuse   string           // not "": no rule may serve with it, and why
	warnings []fault
}

func newMiddleware(e *element) *middleware {
	m := &middleware{element: e}
	t, why := e.middlewareType()
	switch {
	case why != "":
		m.refuse = fmt.Sprintf("middleware %q %s", e.name, why)
		return m
	case t.protects && !e.isOnly(t.unless):
		m.refuse = fmt.Sprintf("middleware %q: %s is not supported yet, and it protects", e.name, t.name)
		return m
	}
	for _, need := range t.needs {
		if e.label(need) == "" {
			m.refuse = fmt.Sprintf("middleware %q: %s is missing or cannot be used", e.name, need)
			return m
		}
	}
	if why := m.set(t.name); why != "" {
		m.refuse = fmt.Sprintf("middleware %q: %s", e.name, why)
	}
	return m
}

// middlewareType is the one type that all labels of e are about.
func (e *element) middlewareType() (found *middlewareType, why string) {
	see := func(path string) {
		switch t := middlewareTypeOf(path); {
		case t == nil:
			word, _, _ := strings.Cut(path, ".")
			why = fmt.Sprintf("has the unknown type %q%s", word, didYouMean(word, middlewareTypeNames()))
		case found == nil:
			found = t
		case found != t && why == "":
			why = fmt.Sprintf("is %s and %s at once; give each a name", found.name, t.name)
		}
	}
	for _, key := range e.below("") {
		see(key)
	}
	for i := range e.faults {
		see(e.faults[i].path)
	}
	return found, why
}

// isOnly says whether all labels of e are good and about these fields.
func (e *element) isOnly(fields []string) bool {
	for _, v := range e.values {
		if !slices.Contains(fields, v.field.name) {
			return false
		}
	}
	return len(e.faults) == 0
}

// set takes over what a middleware of a type that does not protect does.
func (m *middleware) set(typ string) (refuse string) {
	switch typ {
	case "addPrefix":
		m.rewrite = &rules.Rewrite{Kind: rules.AddPrefix, Replacement: rooted(m.text("addPrefix.prefix"))}
	case "stripPrefix":
		m.flag("stripPrefix.forceSlash", true) // what is sent on begins with a slash anyway
		m.rewrite = &rules.Rewrite{Kind: rules.StripPrefixes, Prefixes: m.list("stripPrefix.prefixes")}
	case "stripPrefixRegex":
		return m.setStripRegex()
	case "replacePath":
		m.rewrite = &rules.Rewrite{Kind: rules.ReplacePath, Replacement: m.text("replacePath.path")}
	case "replacePathRegex":
		m.rewrite = &rules.Rewrite{
			Kind:    rules.ReplacePathRegexp,
			Pattern: m.text("replacePathRegex.regex"), Replacement: m.text("replacePathRegex.replacement"),
		}
		return badPattern(m.rewrite.Pattern)
	case "redirectScheme":
		return m.setRedirectScheme()
	case "redirectRegex":
		m.redirect = &rules.Redirect{
			Pattern: m.text("redirectRegex.regex"), Replacement: m.text("redirectRegex.replacement"),
			ByMethod: true, Permanent: m.flag("redirectRegex.permanent", false),
		}
		return badPattern(m.redirect.Pattern)
	case "headers":
		return m.setHeaders()
	case "chain":
		m.chain = m.list("chain.middlewares")
	default:
		m.warn(m.anyLabel(), "%s is not supported yet; rules work without it", typ)
		for key := range m.values {
			m.read[key] = true
		}
	}
	return ""
}

func (m *middleware) warn(label, format string, args ...any) {
	m.warnings = append(m.warnings, fault{label: label, reason: fmt.Sprintf(format, args...)})
}

func rooted(path string) string {
	if strings.HasPrefix(path, "/") {
		return path
	}
	return "/" + path
}

func badPattern(pattern string) string {
	if _, err := regexp.Compile(pattern); err != nil {
		return fmt.Sprintf("bad regexp %q: %s", pattern, err)
	}
	return ""
}

// setStripRegex: the first of several patterns that matches counts, which is how
// alternatives of one pattern work.
func (m *middleware) setStripRegex() (refuse string) {
	patterns := m.list("stripPrefixRegex.regex")
	for i, p := range patterns {
		if why := badPattern(p); why != "" {
			return why
		}
		if len(patterns) > 1 {
			patterns[i] = "(?:" + p + ")"
		}
	}
	m.rewrite = &rules.Rewrite{Kind: rules.StripPrefixRegexp, Pattern: strings.Join(patterns, "|")}
	return ""
}

// setRedirectScheme writes the redirect as a pattern over the whole URL, because a
// request that is as it should be (behind a proxy that speaks TLS, say) is served.
func (m *middleware) setRedirectScheme() (refuse string) {
	scheme, port := strings.ToLower(m.text("redirectScheme.scheme")), m.text("redirectScheme.port")
	if !slices.Contains([]string{"http", "https", "ws", "wss"}, scheme) {
		return fmt.Sprintf("redirectScheme.scheme %q; want https or http", scheme)
	}
	if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) {
		return fmt.Sprintf("redirectScheme.port %q is not a port; want 1 to 65535", port)
	}
	secure := scheme == "https" || scheme == "wss"
	if secure && port == "443" || !secure && port == "80" {
		port = ""
	}
	const host = `(\[[^\]]*\]|[^/?:]*)`
	pattern, replacement := `^http://`+host+`(?::\d+)?(.*)$`, "${1}"+colon(port)+"${2}"
	switch {
	case !secure && port == "":
		pattern = `^https://` + host + `(?::\d+)?(.*)$`
	case !secure: // nor may the URL that this leads to match again
		pattern = `^(?:https://` + host + `(?::\d+)?|http://` + host + `)((?:[/?].*)?)$`
		replacement = "${1}${2}" + colon(port) + "${3}"
	}
	m.redirect = &rules.Redirect{
		Pattern: pattern, Replacement: scheme + "://" + replacement,
		ByMethod: true, Permanent: m.flag("redirectScheme.permanent", false),
	}
	return ""
}

func colon(port string) string {
	if port == "" {
		return ""
	}
	return ":" + port
}

// apply makes r do what the middleware does, but for its chain. Requests go
// through a router's middlewares first to last, responses last to first.
func (m *middleware) apply(r *rules.Rule) (refuse string) {
	if m.refuse != "" {
		return m.refuse
	}
	if m.rewrite != nil {
		r.Rewrites = append(r.Rewrites, *m.rewrite)
	}
	if m.redirect != nil && r.Redirect == nil {
		r.Redirect = m.redirect
	}
	r.RequestHeaders = follow(r.RequestHeaders, m.request)
	r.ResponseHeaders = follow(m.response, r.ResponseHeaders)
	return ""
}

// follow is first and then second as one edit: of a field that both change, the
// second has the last word.
func follow(first, second rules.HeaderEdit) rules.HeaderEdit {
	changes := func(name string) bool {
		return slices.ContainsFunc(second.Set, func(f rules.HeaderField) bool { return strings.EqualFold(f.Name, name) }) ||
			slices.ContainsFunc(second.Remove, func(n string) bool { return strings.EqualFold(n, name) })
	}
	var e rules.HeaderEdit
	for _, f := range first.Set {
		if !changes(f.Name) {
			e.Set = append(e.Set, f)
		}
	}
	for _, name := range first.Remove {
		if !changes(name) {
			e.Remove = append(e.Remove, name)
		}
	}
	e.Set, e.Remove = append(e.Set, second.Set...), append(e.Remove, second.Remove...)
	return e
}

// middleware looks a reference up among those of this Subject, then of the others.
func (d *traefik3Decoder) middleware(ref string) (*middleware, string) {
	name, why := localName(ref)
	if why != "" {
		return nil, "middleware " + why
	}
	if e := d.middlewares[name]; e != nil {
		return newMiddleware(e), ""
	}
	if d.o.Shared != nil && d.o.Shared.middlewares[name] != nil {
		return d.o.Shared.middlewares[name], ""
	}
	return nil, fmt.Sprintf("unknown middleware %q%s", ref, didYouMean(name, d.middlewareNames()))
}

// middlewareNames are those that a router of this Subject can refer to, nil if
// there are too many to guess among.
func (d *traefik3Decoder) middlewareNames() []string {
	var names []string
	for name := range d.middlewares {
		names = append(names, name)
	}
	if d.o.Shared != nil {
		for name := range d.o.Shared.middlewares {
			names = append(names, name)
		}
	}
	if len(names) > mostNames {
		return nil
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// mostNames bounds what is searched for near misses: a thousand routers that each
// misspell one of a thousand names would take a second.
const mostNames = 200

// reportMiddlewares tells what of this Subject's middlewares is not in force,
// whether a router uses them or not.
func (d *traefik3Decoder) reportMiddlewares() {
	for _, name := range sortedNames(d.middlewares) {
		m := newMiddleware(d.middlewares[name])
		d.report(m.element, nil)
		for _, f := range m.warnings {
			d.w.warn(d.s, f.label, "%s", f.reason)
		}
		if m.refuse != "" {
			d.w.warn(d.s, m.anyLabel(), "%s; rules that use it answer 503", m.refuse)
			continue
		}
		d.reportUnread(m.element)
	}
}
