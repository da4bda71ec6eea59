package labels

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"arzur.net/lb/rules"
)

// fabioPrefix begins fabio's tags, of which a service may have any number:
//
//	urlprefix-host/path option=value ...
//
// A tag is the name of a label without a value. One that came as "name=value" is
// put together again.
const fabioPrefix = "urlprefix-"

func isFabio(label string) bool { return strings.HasPrefix(label, fabioPrefix) }

// fabioTag is one tag on its way to becoming a rule.
type fabioTag struct {
	s     *Subject
	w     *Wants
	label string // of s.Labels
	rule  rules.Rule
	share string // weight=, as written
	left  bool   // the rule is left out
}

// decodeFabio adds to w what fabio's tags ask for.
func decodeFabio(s *Subject, o *Options, w *Wants) {
	for _, label := range s.sortedKeys() {
		if !isFabio(label) {
			continue
		}
		tag := strings.TrimPrefix(label, fabioPrefix)
		if value := s.Labels[label]; value != "" {
			tag += "=" + value
		}
		source, options, _ := strings.Cut(strings.TrimSpace(tag), " ")
		t := fabioTag{s: s, w: w, label: label}
		t.rule = rules.Rule{Origin: s.origin(label), Port: o.EntryPoints[o.DefaultEntryPoint]}
		t.readSource(source)
		t.readOptions(strings.Fields(options))
		t.finish()
	}
}

func (t *fabioTag) warn(format string, args ...any) { t.w.warn(t.s, t.label, format, args...) }

// leave says why there is no rule.
func (t *fabioTag) leave(format string, args ...any) {
	if !t.left {
		t.w.reject(t.s, t.label, "", format, args...)
	}
	t.left = true
}

// refuse says which protection the rule asks for that there is not: it answers 503.
func (t *fabioTag) refuse(format string, args ...any) {
	if t.rule.Refuse == "" {
		t.w.reject(t.s, t.label, "", format+"; the rule answers 503 rather than without it", args...)
		t.rule.Refuse = t.w.Problems[len(t.w.Problems)-1].Reason
	}
}

// readSource reads host/path. A host may have a port, which is then the one to listen
// on, since that is what clients put into their URLs.
func (t *fabioTag) readSource(source string) {
	host, path, slash := strings.Cut(source, "/")
	switch {
	case strings.HasPrefix(source, ":") || !slash && strings.Contains(source, ":"):
		t.leave("%q is a port, and tcp is not supported yet; want host/path", source)
	case !slash:
		t.leave("%q has no slash, so it is neither host nor path; want %q", source, source+"/")
	}
	if at := strings.LastIndexByte(host, ':'); at > strings.LastIndexByte(host, ']') {
		n, err := strconv.ParseUint(host[at+1:], 10, 16)
		if err != nil || n == 0 {
			t.leave("want a port from 1 to 65535, got %q", host[at+1:])
		} else if n != 80 && n != 443 { // fabio takes those off
			t.rule.Port = uint16(n)
		}
		host = host[:at]
	}
	host = strings.ToLower(host)
	if path != "" {
		t.rule.Path, t.rule.PathMatch = "/"+path, rules.PathStarts
	}
	if isGlob(host) {
		t.globHost(host)
	} else {
		t.rule.Hostname = host
	}
}

// isGlob says whether a host needs more than a star at one of its ends.
func isGlob(host string) bool {
	inner := strings.TrimPrefix(host, "*")
	if inner == host {
		inner = strings.TrimSuffix(host, "*")
	}
	return inner != "" && strings.ContainsAny(inner, "*?")
}

// globHost matches by expression: a star is any text, a question mark any character.
func (t *fabioTag) globHost(glob string) {
	pattern := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(glob))
	t.rule.Expr = call("HostRegexp", "^"+pattern+"$")
	if t.rule.Path != "" {
		t.rule.Expr += " && " + call("PathPrefix", t.rule.Path)
		t.rule.Path, t.rule.PathMatch = "", 0
	}
}

// fabioOptions are the options of a tag.
var fabioOptions = map[string]func(t *fabioTag, value string){
	"strip":    func(t *fabioTag, value string) { t.edit("strip", value, rules.StripPrefixes) },
	"prepend":  func(t *fabioTag, value string) { t.edit("prepend", value, rules.AddPrefix) },
	"proto":    (*fabioTag).proto,
	"host":     (*fabioTag).host,
	"weight":   func(t *fabioTag, value string) { t.share = value },
	"redirect": (*fabioTag).redirect,
	"allow":    func(t *fabioTag, _ string) { t.refuse("allow: access by address is not supported yet") },
	"deny":     func(t *fabioTag, _ string) { t.refuse("deny: access by address is not supported yet") },
	"auth":     func(t *fabioTag, _ string) { t.refuse("auth: authorization is not supported yet") },
	"register": func(t *fabioTag, _ string) { t.warn("register: not supported, without effect") },
	// Both are about protocols that have their own word of it.
	"tlsskipverify": func(*fabioTag, string) {},
	"pxyproto":      func(*fabioTag, string) {},
}

// fabioWords are the names of the options; the protections come last.
var fabioWords = []string{
	"strip", "prepend", "proto", "host", "weight", "redirect", "register", "tlsskipverify", "pxyproto", "allow", "deny", "auth",
}

func (t *fabioTag) readOptions(options []string) {
	// A redirect needs to know what is stripped.
	slices.SortStableFunc(options, func(a, b string) int { return compareRedirect(a) - compareRedirect(b) })
	for _, option := range options {
		name, value, _ := strings.Cut(option, "=")
		if read := fabioOptions[name]; read != nil {
			read(t, value)
			continue
		}
		near := rules.NearMisses(strings.ToLower(name), fabioWords)
		if slices.ContainsFunc(near, func(n string) bool { return slices.Contains(fabioWords[len(fabioWords)-3:], n) }) {
			t.refuse("unknown option %q%s", name, asked(near))
			continue
		}
		t.warn("unknown option %q%s", name, asked(near))
	}
}

func compareRedirect(option string) int {
	if strings.HasPrefix(option, "redirect=") {
		return 1
	}
	return 0
}

// edit changes the path that is sent on: what is stripped goes first.
func (t *fabioTag) edit(option, path string, kind rules.RewriteKind) {
	if !strings.HasPrefix(path, "/") {
		t.leave("%s: %q has no leading slash; want %q", option, path, "/"+path)
		return
	}
	if kind == rules.AddPrefix {
		t.rule.Rewrites = append(t.rule.Rewrites, rules.Rewrite{Kind: kind, Replacement: wirePath(path)})
		return
	}
	t.rule.Rewrites = slices.Insert(t.rule.Rewrites, 0, rules.Rewrite{Kind: kind, Prefixes: []string{wirePath(path)}})
}

func (t *fabioTag) proto(value string) {
	switch value {
	case "http", "ws", "":
	case "https", "grpc", "grpcs", "tcp", "tcp+sni", "tcp-dynamic", "https+tcp+sni":
		t.leave("proto=%s is not supported yet; want http", value)
	default:
		t.leave("proto=%s is no protocol; want http", value)
	}
}

// host sets what the server gets as Host: dst is the server's own address.
func (t *fabioTag) host(value string) {
	t.rule.ServerHost, t.rule.RequestHeaders = value == "dst", rules.HeaderEdit{}
	if value != "dst" && value != "" {
		t.rule.RequestHeaders.Set = []rules.HeaderField{{Name: "Host", Value: value}}
	}
}

// finish adds the rule, and the Subject to the group that it goes to.
func (t *fabioTag) finish() {
	if t.left {
		return
	}
	if t.rule.Redirect == nil {
		t.rule.Service = t.s.Group
		t.weigh()
		t.join()
	}
	t.w.Rules = append(t.w.Rules, t.rule)
}

// weigh reads the part of the traffic that the Subject gets. A group of its own
// makes it one's own: others of the service may have another part, or none.
func (t *fabioTag) weigh() {
	if t.share == "" {
		return
	}
	part, err := strconv.ParseFloat(t.share, 64)
	switch {
	case err != nil || part != part || part > 1:
		t.warn("weight: want a part from 0 to 1, got %q; its share is an even one", t.share)
	case part > 0: // else an even share
		t.rule.Share = part
		t.rule.Service += " weight=" + strconv.FormatFloat(part, 'g', -1, 64)
	}
}

func (t *fabioTag) join() {
	name := t.rule.Service
	if !slices.ContainsFunc(t.w.Groups, func(g Group) bool { return g.Service.Name == name }) {
		service := rules.Service{Name: name, Origin: t.s.Origin}
		t.w.Groups = append(t.w.Groups, Group{Service: service, Scheme: "http"})
	}
}
