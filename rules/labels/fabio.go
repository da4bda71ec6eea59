package labels

import (
	"net"
	"slices"
	"strconv"
	"strings"

	"arzur.net/lb/health"
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
	o     *Options
	label string // of s.Labels
	rule  rules.Rule
	share string // weight=, as written
	left  bool   // the rule is left out

	secure     bool   // proto=https: to the server, over TLS
	unverified bool   // tlsskipverify: with any certificate
	serverName string // host=, unless it is dst: whose certificate that has to be
	proxied    bool   // pxyproto: the server gets a PROXY protocol header
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
		t := fabioTag{s: s, w: w, o: o, label: label}
		t.rule.Origin = s.origin(label)
		source, options := "", strings.Fields(tag)
		if len(options) > 0 {
			source, options = options[0], options[1:]
		}
		if i := slices.IndexFunc(options, func(o string) bool { return strings.HasPrefix(o, "proto=") }); i >= 0 {
			t.proto(strings.TrimPrefix(options[i], "proto="))
		} else if strings.HasPrefix(source, ":") {
			t.rule.Protocol = rules.TCP // nothing else can be meant
		}
		t.read(source)
		t.readOptions(options)
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

// fabioOptions are the options of a tag.
var fabioOptions = map[string]func(t *fabioTag, value string){
	"strip":         func(t *fabioTag, value string) { t.edit("strip", value, rules.StripPrefixes) },
	"prepend":       func(t *fabioTag, value string) { t.edit("prepend", value, rules.AddPrefix) },
	"proto":         func(*fabioTag, string) {}, // read before, since it decides what the source is
	"host":          (*fabioTag).host,
	"weight":        func(t *fabioTag, value string) { t.share = value },
	"redirect":      (*fabioTag).redirect,
	"allow":         func(t *fabioTag, _ string) { t.refuse("allow: access by address is not supported yet") },
	"deny":          func(t *fabioTag, _ string) { t.refuse("deny: access by address is not supported yet") },
	"auth":          func(t *fabioTag, _ string) { t.refuse("auth: authorization is not supported yet") },
	"register":      func(t *fabioTag, _ string) { t.warn("register: not supported, without effect") },
	"tlsskipverify": func(t *fabioTag, value string) { t.unverified = value == "true" },
	"pxyproto":      func(t *fabioTag, value string) { t.proxied = value == "true" },
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
	if path == "" {
		return // as in fabio, whose generated tags may leave it empty
	}
	if kind == rules.AddPrefix {
		path = "/" + strings.TrimPrefix(path, "/")
		t.rule.Rewrites = append(t.rule.Rewrites, rules.Rewrite{Kind: kind, Replacement: wirePath(path)})
		return
	}
	if !strings.HasPrefix(path, "/") {
		t.warn("%s: no path begins with %q, so that nothing is taken off; want %q", option, path, "/"+path)
		return
	}
	t.rule.Rewrites = slices.Insert(t.rule.Rewrites, 0, rules.Rewrite{Kind: kind, Prefixes: []string{wirePath(path)}})
}

func (t *fabioTag) proto(value string) {
	switch value {
	case "http", "ws", "":
	case "https", "wss":
		t.secure = true
	case "tcp", "tcp-dynamic":
		t.rule.Protocol = rules.TCP
	case "tcp+sni":
		t.rule.Protocol = rules.SNI
	case "grpc", "grpcs", "https+tcp+sni":
		t.leave("proto=%s is not supported yet; want http, https, tcp or tcp+sni", value)
	default:
		t.leave("proto=%s is no protocol; want http, https, tcp or tcp+sni", value)
	}
}

// host sets what the server gets as Host: dst is the server's own address.
func (t *fabioTag) host(value string) {
	t.rule.ServerHost, t.rule.RequestHeaders, t.serverName = value == "dst", rules.HeaderEdit{}, ""
	switch {
	case value == "dst" || value == "":
	case !isHostField(value):
		t.leave("host: %q is no host; want a name such as blog.local, or dst", value)
	default:
		t.rule.RequestHeaders.Set = []rules.HeaderField{{Name: "Host", Value: value}}
		t.serverName = strings.Trim(value, "[]")
		if name, _, err := net.SplitHostPort(value); err == nil {
			t.serverName = name
		}
	}
}

// isHostField says whether text may stand in the field Host.
func isHostField(text string) bool { return isVisible(text) && !strings.ContainsAny(text, `/?#@\"<>,`) }

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
	case err != nil || part != part || part > rules.MostShare:
		t.warn("weight: want a part from 0 to 1, got %q; its share is an even one", t.share)
	case part > 0: // else an even share
		t.rule.Share = part
		t.rule.Service += " weight=" + strconv.FormatFloat(part, 'g', -1, 64)
	}
}

func (t *fabioTag) join() {
	service := rules.Service{Origin: t.s.Origin}
	scheme := "http"
	// A group of its own for servers that are spoken to in their own way.
	if t.secure {
		scheme, service.TLS = "https", &health.TLS{ServerName: t.serverName, Insecure: t.unverified}
		t.rule.Service += " proto=https"
		if t.serverName != "" {
			t.rule.Service += " host=" + t.serverName
		}
		if t.unverified {
			t.rule.Service += " tlsskipverify"
		}
	}
	if t.proxied && t.rule.Protocol == rules.TCP {
		service.ProxyProtocol = rules.ProxyV1
		t.rule.Service += " pxyproto"
	}
	name := t.rule.Service
	if !slices.ContainsFunc(t.w.Groups, func(g Group) bool { return g.Service.Name == name }) {
		service.Name = name
		g := Group{Service: service, Scheme: scheme}
		if t.rule.Share > 0 {
			g.Weight = new(1) // the share is each server's, whatever it weighs elsewhere
		}
		t.w.Groups = append(t.w.Groups, g)
	}
}
