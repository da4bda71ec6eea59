package labels

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"arzur.net/lb/rules"
)

// ownRule is a rule in the making.
type ownRule struct {
	rules.Rule
	word       string     // <rule> in its labels
	first      labelValue // of the match, else of the rule
	matched    bool       // first is of the match
	everybody  bool       // source_port was given: without a match it takes all
	kind       labelValue // path_match, if written
	tls        string     // "true", "false" or "acme"
	toHTTPS    bool       // what comes by http is sent to https
	understood bool       // it has a label that is known
	noRule     bool       // what looked like its name is a misspelt word
	misspelt   bool       // it has a label that nobody understands
	broken     bool       // what decides about its requests could not be read
}

// ownKey reads one key of a rule. It is false when the value is of no use.
type ownKey struct {
	read func(*ownRule, labelValue) bool
	// decides: it decides who is answered, or by whom; the rule cannot do without.
	decides bool
}

var ownRuleKeys = map[string]ownKey{
	"name":           {read: func(r *ownRule, v labelValue) bool { return into(&r.Name, plainText, v) }},
	"source_port":    {func(r *ownRule, v labelValue) bool { r.everybody = true; return into(&r.Port, portNumber, v) }, true},
	"address":        {func(r *ownRule, v labelValue) bool { return into(&r.Address, bindAddress, v) }, true},
	"protocol":       {func(r *ownRule, v labelValue) bool { return into(&r.Protocol, ownProtocol, v) }, true},
	"tls":            {func(r *ownRule, v labelValue) bool { return into(&r.tls, oneOf("acme", "true", "false"), v) }, true},
	"https_redirect": {func(r *ownRule, v labelValue) bool { return into(&r.toHTTPS, trueOrFalse, v) }, true},
	"proxy_protocol": {func(r *ownRule, v labelValue) bool { return into(&r.ProxyIn, readProxyIn, v) }, true},
	"hostname":       {func(r *ownRule, v labelValue) bool { return oneHost(v) && r.match(&r.Hostname, v) }, true},
	"path":           {func(r *ownRule, v labelValue) bool { return r.match(&r.Path, v) }, true},
	"rule":           {func(r *ownRule, v labelValue) bool { return r.match(&r.Expr, v) }, true},
	"path_match":     {func(r *ownRule, v labelValue) bool { r.kind = v; return into(&r.PathMatch, ownPathMatch, v) }, true},
	"priority":       {read: func(r *ownRule, v labelValue) bool { return into(&r.Priority, within(0, 1<<30), v) }},
	"service":        {read: func(r *ownRule, v labelValue) bool { return into(&r.Service, plainText, v) }},
	"target_port":    {read: func(r *ownRule, v labelValue) bool { return into(&r.TargetPort, portNumber, v) }},
	"weight":         {read: func(r *ownRule, v labelValue) bool { return into(&r.Weight, pointer(within(0, 256)), v) }},
	"backend_name":   {read: func(r *ownRule, v labelValue) bool { return into(&r.BackendName, plainText, v) }},
	"strip_prefix":   {read: func(r *ownRule, v labelValue) bool { return into(&r.StripPrefix, slashed, v) }},
	"add_prefix":     {read: func(r *ownRule, v labelValue) bool { return into(&r.AddPrefix, slashed, v) }},
	"replace_path":   {read: func(r *ownRule, v labelValue) bool { return into(&r.ReplacePath, slashed, v) }},

	"redirect.scheme": {func(r *ownRule, v labelValue) bool { return into(&r.to().Scheme, oneOf("http", "https"), v) }, true},
	"redirect.host":   {func(r *ownRule, v labelValue) bool { return into(&r.to().Host, hostAlone, v) }, true},
	"redirect.port":   {func(r *ownRule, v labelValue) bool { return into(&r.to().Port, portNumber, v) }, true},
	"redirect.path":   {func(r *ownRule, v labelValue) bool { return into(&r.to().Path, slashed, v) }, true},
	"redirect.code":   {func(r *ownRule, v labelValue) bool { return into(&r.to().Code, redirectCode, v) }, true},

	"request_headers.remove":  {read: func(r *ownRule, v labelValue) bool { return removeFields(&r.RequestHeaders, v) }},
	"response_headers.remove": {read: func(r *ownRule, v labelValue) bool { return removeFields(&r.ResponseHeaders, v) }},
}

// ownRuleMaps begin keys that end with the name of a header field.
var ownRuleMaps = []string{"request_headers.set.", "request_headers.add.", "response_headers.set.", "response_headers.add."}

var ownRuleNames = slices.Sorted(maps.Keys(ownRuleKeys))

var (
	ownProtocol  = oneOf(rules.Protocols...)
	ownPathMatch = keyword(map[string]rules.PathMatch{
		"prefix": rules.PathPrefix, "exact": rules.PathExact, "regexp": rules.PathRegexp, "raw": rules.PathRaw,
	})
	redirectCode = keyword(map[string]int{"301": 301, "302": 302, "303": 303, "307": 307, "308": 308})
)

// proxyIn is the one value that proxy_protocol has in a rule. The others are
// about the container.
const proxyIn = "in"

func readProxyIn(v labelValue) (bool, bool) {
	if v.text != proxyIn {
		v.warn("want %s, got %s; what connections to the container begin with says %sproxy_protocol", proxyIn, v.quoted(), ownPrefix)
	}
	return true, v.text == proxyIn
}

// read takes one key. It is false when there is no such key.
func (r *ownRule) read(key string, v labelValue) bool {
	if r.first.key == "" {
		r.first = v
	}
	if k, known := ownRuleKeys[key]; known {
		r.understood = true
		r.broken = !k.read(r, v) && k.decides || r.broken
		return true
	}
	i := slices.IndexFunc(ownRuleMaps, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
	if i < 0 {
		return false
	}
	r.understood = true
	edit, request := &r.ResponseHeaders, strings.HasPrefix(key, "request")
	if request {
		edit = &r.RequestHeaders
	}
	list, set := &edit.Add, strings.Contains(ownRuleMaps[i], ".set.")
	if set {
		list = &edit.Set
	}
	if name := key[len(ownRuleMaps[i]):]; v.fieldName(name, request && set) && v.fieldValue(v.text) {
		*list = append(*list, rules.HeaderField{Name: name, Value: v.text})
	}
	return true
}

// label is the label of a key of the rule.
func (r *ownRule) label(key string) string {
	if r.word != "" {
		key = r.word + "." + key
	}
	return ownPrefix + key
}

// match reads what the rule matches into *p.
func (r *ownRule) match(p *string, v labelValue) bool {
	if !r.matched {
		r.first, r.matched = v, true
	}
	*p = v.text
	return true
}

// oneHost: people write lists here, as other programs have them.
func oneHost(v labelValue) bool {
	hosts := strings.FieldsFunc(v.text, func(r rune) bool { return r == ',' || r == ';' || r == ' ' })
	if len(hosts) < 2 {
		return true
	}
	var calls []string
	for _, h := range hosts {
		calls = append(calls, call("Host", h))
	}
	v.warn("it names one host; for several want %s instead: %s", strings.TrimSuffix(v.key, "hostname")+"rule", strings.Join(calls, " || "))
	return false
}

// to is where the rule redirects to.
func (r *ownRule) to() *rules.Redirect {
	if r.Redirect == nil {
		r.Redirect = &rules.Redirect{}
	}
	return r.Redirect
}

func hostAlone(v labelValue) (string, bool) {
	if strings.ContainsAny(v.text, "/:?#@\\") || strings.ContainsFunc(v.text, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		v.warn("want a host name alone, got %s; scheme, port and path have labels of their own", v.quoted())
		return "", false
	}
	return v.text, true
}

func removeFields(e *rules.HeaderEdit, v labelValue) bool {
	for _, name := range splitList(v.text) {
		if v.fieldName(name, false) {
			e.Remove = append(e.Remove, name)
		}
	}
	return true
}

// finish fills in the defaults. It is false when the rule is left out, and has noted why.
func (r *ownRule) finish(d *own) bool {
	v := r.first
	if v.key == "" {
		v = labelValue{s: d.s, w: d.w}
	}
	r.Origin = d.s.origin(v.key)
	switch to := r.Redirect; {
	case r.broken:
		v.reject(r.Name, "the rule is left out: one of its labels cannot be read, and without it the rule would answer other requests than was meant")
		return false
	case r.misspelt && !r.matched:
		v.reject(r.Name, "the rule is left out: one of its labels is unknown, and without it the rule would take all requests")
		return false
	case r.Expr != "" && r.Hostname+r.Path != "":
		v.reject(r.Name, "the rule is left out: rule stands instead of hostname and path; move them into the rule")
		return false
	case to != nil && to.Scheme == "" && to.Host == "" && to.Port == 0 && to.Path == "":
		v.reject(r.Name, "the rule is left out: redirect leads to where the request came from; want at least one of scheme, host, port, path")
		return false
	case to != nil && (r.Service != "" || r.TargetPort != 0):
		v.warn("a rule with a redirect goes to no service; its service and target_port do not count")
	}
	if r.kind.key != "" && r.Path == "" {
		r.kind.warn("there is no path to match; add path or leave path_match out")
	}
	if !r.listen(d, v) || !r.matchDefault(d, v) {
		return false
	}
	if r.toHTTPS && (r.Protocol == "" || r.Protocol == rules.HTTP) && r.Redirect == nil {
		r.leadToHTTPS()
	}
	r.Service = cmp.Or(r.Service, d.service.Name)
	if r.Redirect != nil {
		r.Service, r.TargetPort = "", 0
	}
	return true
}

// listen finds the protocol and the port of a rule that does not name them.
func (r *ownRule) listen(d *own, v labelValue) bool {
	secure := r.tls == "true" || r.tls == "acme"
	if secure && r.Protocol == "" {
		r.Protocol = rules.HTTPS
	}
	r.ACME = r.tls == "acme"
	point := d.o.DefaultEntryPoint
	switch r.Protocol {
	case "", rules.HTTP:
	case rules.HTTPS:
		point = secureEntryPoint
	default:
		point = ""
	}
	switch {
	case secure && r.Protocol != rules.HTTPS && r.Protocol != rules.TLS:
		v.reject(r.Name, "the rule is left out: with protocol %s there is no use for lb.tls; want https or tls, or no protocol", cmp.Or(r.Protocol, rules.HTTP))
		return false
	case r.Port != 0:
	case point == "":
		v.reject(r.Name, "the rule is left out: with protocol %s it needs a source_port", r.Protocol)
	default:
		if r.Port = d.o.EntryPoints[point]; r.Port == 0 {
			v.reject(r.Name, "the rule has no source_port, and the default entry point %q is not among entry_points", point)
		}
	}
	return r.Port != 0
}

// leadToHTTPS makes the rule a redirect.
func (r *ownRule) leadToHTTPS() {
	r.Redirect = &rules.Redirect{Scheme: "https", ByMethod: true}
	r.StripPrefix, r.AddPrefix, r.ReplacePath = "", "", ""
	r.RequestHeaders, r.ResponseHeaders = rules.HeaderEdit{}, rules.HeaderEdit{}
}

// redirect is the rule that leads from the default entry point to r, which
// speaks https; nil if none was asked for.
func (r *ownRule) redirect(o *Options) *rules.Rule {
	port := o.EntryPoints[o.DefaultEntryPoint]
	if !r.toHTTPS || r.Protocol != rules.HTTPS || port == 0 || port == r.Port {
		return nil
	}
	to := &rules.Redirect{Scheme: "https", ByMethod: true}
	if r.Port != 443 {
		to.Port = r.Port
	}
	return &rules.Rule{
		Name: r.Name, Origin: r.Origin, Port: port, Address: r.Address, Hostname: r.Hostname, Path: r.Path, PathMatch: r.PathMatch,
		Expr: r.Expr, Priority: r.Priority, ProxyIn: r.ProxyIn, Redirect: to,
	}
}

// matchDefault finds the match of a rule that has none.
func (r *ownRule) matchDefault(d *own, v labelValue) bool {
	if r.matched || r.everybody {
		return true
	}
	expr, err := defaultExpr(d.s, d.o)
	switch {
	case err != nil:
		v.reject(r.Name, "default_rule: %s", err)
	case expr == "":
		v.reject(r.Name, "the rule has neither hostname, path nor rule, and there is no default rule")
	default:
		r.Expr = expr
		if r.Priority == 0 {
			r.Priority = TraefikPriority(len(expr))
		}
		return true
	}
	return false
}
