package configs

import (
	"strings"

	"arzur.net/lb/rules"
)

// named is a rule whose service is still a name to be looked up, for one or more
// sockets.
type named struct {
	rules.Rule
	at      value
	port    value // its source_port key, empty when there is none
	service value // its service key, empty when there is none
	sockets sockets
	stack   *stack
	foreign map[string]value // selector, container, ...: Rancher's ways to choose a target
}

// Words with a meaning.
var (
	pathMatch = keyword(map[string]rules.PathMatch{
		"prefix": rules.PathPrefix, "exact": rules.PathExact, "regexp": rules.PathRegexp, "raw": rules.PathRaw,
	})
	redirectCode = keyword(map[string]int{"301": 301, "302": 302, "303": 303, "307": 307, "308": 308})
	protocol     = oneOf("http", "https", "tls", "sni", "tcp", "udp")
)

// foreignKeys choose a rule's target inside Rancher itself.
var foreignKeys = []string{"selector", "container", "region", "environment"}

// portRule reads one of port_rules. Raw says which path_match is meant where
// none is written.
func (v value) portRule(raw bool) *named {
	r := &named{at: v, Rule: rules.Rule{Origin: v.origin()}, foreign: map[string]value{}}
	var path, kind value
	if raw {
		r.PathMatch = rules.PathRaw
	}
	known := fields{
		"name":             into(&r.Name, value.text),
		"source_port":      func(v value) { r.sockets.ports, r.port = listOf(v, value.port), v },
		"address":          into(&r.Address, value.address),
		"protocol":         func(v value) { r.sockets.protocols = listOf(v, protocol) },
		"tls":              into(&r.sockets.tls, oneOf("acme", "true", "false")),
		"https_redirect":   into(&r.sockets.redirect, value.boolean),
		"proxy_protocol":   into(&r.ProxyIn, keyword(map[string]bool{"in": true})),
		"hostname":         into(&r.Hostname, value.text),
		"path":             func(v value) { path = v },
		"path_match":       func(v value) { kind, r.PathMatch = v, pathMatch(v) },
		"rule":             into(&r.Expr, value.text),
		"priority":         into(&r.Priority, within(0, 1<<30)),
		"service":          func(v value) { r.Service, r.service = v.text(), v },
		"target_port":      into(&r.TargetPort, value.port),
		"weight":           into(&r.Weight, pointer(within(0, 256))),
		"backend_name":     into(&r.BackendName, value.text),
		"strip_prefix":     into(&r.StripPrefix, value.slashed),
		"add_prefix":       into(&r.AddPrefix, value.slashed),
		"replace_path":     into(&r.ReplacePath, value.slashed),
		"redirect":         into(&r.Redirect, value.redirect),
		"request_headers":  into(&r.RequestHeaders, value.requestEdit),
		"response_headers": into(&r.ResponseHeaders, value.responseEdit),
	}
	for _, k := range foreignKeys {
		known[k] = func(v value) { r.foreign[k] = v }
	}
	before := len(v.doc.mistakes)
	v.object(known)
	if len(v.doc.mistakes) == before {
		r.sockets.settle(v)
	}
	r.Port = r.sockets.first()
	switch {
	case path.node != nil:
		r.Path = path.rulePath(r.PathMatch)
	case kind.node != nil && !v.means("path"):
		kind.fail("there is no path to match; add path or leave path_match out")
	}
	return r
}

// rulePath reads what a rule matches; an empty path matches all. What is no
// path of ours is left to rules: it costs the rule, not the file.
func (v value) rulePath(kind rules.PathMatch) string {
	if kind == rules.PathRegexp || kind == rules.PathRaw || v.node.Value == "" {
		return v.text()
	}
	return v.slashed()
}

func (v value) redirect() *rules.Redirect {
	var r rules.Redirect
	before := len(v.doc.mistakes)
	v.object(fields{
		"scheme": into(&r.Scheme, oneOf("http", "https")),
		"host":   into(&r.Host, value.redirectHost),
		"port":   into(&r.Port, value.port),
		"path":   into(&r.Path, value.slashed),
		"code":   into(&r.Code, redirectCode),
	})
	if r.Scheme == "" && r.Host == "" && r.Port == 0 && r.Path == "" && len(v.doc.mistakes) == before {
		v.fail("leads to where the request came from; want at least one of scheme, host, port, path")
	}
	return &r
}

func (v value) redirectHost() string {
	s := v.text()
	if strings.ContainsAny(s, "/:?#@\\") || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		v.fail("want a host name alone, got %s; scheme, port and path have keys of their own", v.describe())
		return ""
	}
	return s
}

// unsupportedTargets reports the keys by which Rancher would choose the target.
func (r *named) unsupportedTargets(report func(v value, fatal bool)) {
	for _, k := range foreignKeys {
		if v, there := r.foreign[k]; there {
			report(v, k != "selector" || r.Service == "")
		}
	}
}
