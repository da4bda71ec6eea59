package labels

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// notTraefik1 are the second words of Traefik's labels that came with Traefik 2.
var notTraefik1 = []string{"http", "tcp", "udp", "tls"}

// isTraefik1 says whether a label is in the dialect of Traefik 1.
func isTraefik1(key string) bool {
	rest, traefik := strings.CutPrefix(key, "traefik.")
	word, _, _ := strings.Cut(rest, ".")
	newer := func(w string) bool { return strings.EqualFold(w, word) }
	return traefik && !isShared(key) && !slices.ContainsFunc(notTraefik1, newer)
}

// properties are Traefik 1 labels without "traefik." and segment, and with the
// whole name of the label as the value.
type properties map[string]string

// segments sorts the labels of Traefik 1 by segment. Each segment has, behind its
// own, the properties of the container; those have a segment of their own, "",
// only while there is no other.
func segments(labels map[string]string) map[string]properties {
	all := make(map[string]properties)
	for key := range labels {
		if !isTraefik1(key) {
			continue
		}
		name, property := cutSegment(strings.TrimPrefix(key, "traefik."))
		if all[name] == nil {
			all[name] = make(properties)
		}
		all[name][property] = key
	}
	container := all[""]
	if len(all) > 1 {
		delete(all, "")
	}
	for name, own := range all {
		if name == "" {
			continue
		}
		for property, key := range container {
			if own[property] == "" {
				own[property] = key
			}
		}
	}
	return all
}

// segmentProperties are what a segment may have of its own, next to frontend.*.
var segmentProperties = []string{"port", "portIndex", "portName", "weight", "protocol", "backend"}

// cutSegment cuts a segment's name off a property. A name may hold dots; the
// shortest that leaves a property of segments is meant.
func cutSegment(key string) (segment, property string) {
	if strings.HasPrefix(key, "frontend.") || strings.HasPrefix(key, "backend.") {
		return "", key
	}
	for i := range len(key) {
		if key[i] != '.' || i == 0 {
			continue
		}
		if p := key[i+1:]; strings.HasPrefix(p, "frontend.") || slices.Contains(segmentProperties, p) {
			return key[:i], p
		}
	}
	return "", key
}

// frontend is one frontend and its backend in the making.
type frontend struct {
	s          *Subject
	o          *Options
	w          *Wants
	segment    string
	properties properties
}

// decodeTraefik1 adds to w what the labels in the dialect of Traefik 1 ask for.
func decodeTraefik1(s *Subject, o *Options, w *Wants) {
	all := segments(s.Labels)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f := &frontend{s, o, w, name, all[name]}
		f.build(len(w.Rules) > 0 && name == "")
	}
}

// label is the label of a property; it has no text when there is none, or an
// empty one, which means the same.
func (f *frontend) label(property string) labelValue {
	return f.s.label(f.w, f.properties[property])
}

func (f *frontend) has(property string) bool { return f.label(property).text != "" }

// below are the properties that start with prefix, in order.
func (f *frontend) below(prefix string) []string {
	var list []string
	for _, p := range slices.Sorted(maps.Keys(f.properties)) {
		if strings.HasPrefix(p, prefix) && f.has(p) {
			list = append(list, p)
		}
	}
	return list
}

// flag reads a property that is true or false.
func (f *frontend) flag(property string, instead bool) bool {
	if v := f.label(property); v.text != "" {
		into(&instead, trueOrFalse, v)
	}
	return instead
}

// build adds the frontend's rules and its group. Served says that labels of
// another dialect already route to the Subject.
func (f *frontend) build(served bool) {
	refuse, known := f.check()
	if !known && refuse == "" {
		return
	}
	if !f.has("frontend.rule") && f.segment == "" && (served || f.s.routedByTraefik3()) {
		f.w.refusal = cmp.Or(f.w.refusal, refuse) // it may be meant for the others
		for _, p := range f.below("") {
			if m, _ := meaning1(p); refuse == "" || m != protection {
				f.label(p).warn("there is no frontend of Traefik 1 for it to be about; other labels route here")
			}
		}
		return
	}
	group, ok := f.group()
	if !ok {
		return
	}
	if _, ours := f.s.Labels["lb.swarm.vip"]; f.flag("backend.loadbalancer.swarm", false) && !ours {
		f.w.VIP = f.s.Swarm
	}
	if !slices.ContainsFunc(f.w.Groups, func(g Group) bool { return sameGroup(&g, &group) }) {
		f.w.Groups = append(f.w.Groups, group)
	}
	f.addRules(group.Service.Name, group.Scheme, refuse)
}

// sameGroup says whether both make the Subject the same instance of one service.
func sameGroup(a, b *Group) bool {
	return a.Service.Name == b.Service.Name && a.Port == b.Port && a.Scheme == b.Scheme
}

// routedByTraefik3 says whether there are labels of routers.
func (s *Subject) routedByTraefik3() bool {
	for key := range s.Labels {
		if strings.HasPrefix(key, "traefik.http.routers.") {
			return true
		}
	}
	return false
}

// service is how Traefik 1 calls the backend, but with the group's name in our words.
func (f *frontend) service() string {
	backend := cmp.Or(f.label("backend").text, f.label("frontend.backend").text)
	if f.segment == "" {
		return cmp.Or(backend, f.s.Group)
	}
	return f.s.Group + "-" + cmp.Or(backend, f.segment)
}

// name is how Traefik 1 calls the frontend, without "frontend-" and the running number.
func (f *frontend) name(rule string) string {
	if f.segment != "" {
		return normalize(f.segment + "-" + f.service())
	}
	return normalize(rule)
}

// group is the backend. It is false when the Subject cannot be an instance of it.
func (f *frontend) group() (Group, bool) {
	g := Group{Service: rules.Service{Name: f.service(), Origin: f.s.Origin}, Scheme: "http", PortLabel: f.portLabel().key}
	if v := f.label("port"); v.text != "" {
		into(&g.Port, portNumber, v)
	}
	if g.Port == 0 && len(f.s.Ports) == 0 {
		f.portLabel().reject(f.name(f.label("frontend.rule").text), "there is no port: %s", f.noPort())
		return g, false
	}
	if v := f.label("protocol"); v.text != "" {
		into(&g.Scheme, oneOf("http", "https", "h2c"), v)
	}
	if g.Scheme == "https" {
		g.Service.TLS = &health.TLS{}
	}
	if v := f.label("weight"); v.text != "" {
		g.Weight = f.weight(v)
	}
	if v := f.label("backend.loadbalancer.method"); v.text != "" && !strings.EqualFold(v.text, "wrr") {
		v.warn("%q is not supported yet; servers take turns, by weight", v.text)
	}
	if v := f.label("backend.loadbalancer.swarm"); v.text != "" && f.flag("backend.loadbalancer.swarm", false) && !f.s.Swarm {
		v.warn("only a Swarm service has a virtual IP")
	}
	g.Service.Check = f.healthCheck()
	return g, true
}

func (f *frontend) portLabel() labelValue {
	if v := f.label("port"); v.key != "" {
		return v
	}
	return f.s.label(f.w, "traefik.port")
}

func (f *frontend) noPort() string {
	if f.s.Swarm {
		return "a Swarm service exposes none, so the label has to say it"
	}
	return "none is exposed, and no label says one"
}

// weight reads a server's weight. Traefik 1 counts 0 as 1.
func (f *frontend) weight(v labelValue) *int {
	n, err := strconv.Atoi(v.text)
	switch {
	case err != nil || n < 0:
		v.warn("want a number from 1 to 256, got %s; 1 counts", v.quoted())
		return nil
	case n == 0:
		v.warn("Traefik 1 counts 0 as 1, and so does lb; lb.weight=0 takes no traffic")
		return nil
	case n > 256:
		v.warn("%d is more than 256, which counts", n)
	}
	n = min(n, 256)
	return &n
}

// rule is frontend.rule, or the default one, as text and read.
func (f *frontend) rule() (text string, r *rule1, err error) {
	if text = cmp.Or(f.label("frontend.rule").text, f.domainRule()); text != "" {
		r, err = parseRule1(text)
		if newer := (rules.Rule{Expr: text}); err != nil && newer.Claim() != "" {
			err = errors.New("it is in the language of Traefik 3; want it under traefik.http.routers.<name>.rule")
		}
		return text, r, err
	}
	text, err = defaultExpr(f.s, f.o)
	return text, &rule1{expr: text}, err
}

// domainRule is Traefik 1's default rule, "" where the Source has another one. It
// needs a domain, or a compose project.
func (f *frontend) domainRule() string {
	domain := f.label("domain").text
	if domain == "" && f.o.DefaultRule != "" && f.o.DefaultRule != DefaultOptions.DefaultRule {
		return ""
	}
	domain = strings.TrimPrefix(cmp.Or(domain, f.o.Domain), ".")
	switch {
	case f.s.Project != "" && !f.s.Swarm:
		return strings.TrimSuffix("Host:"+domainLabel(f.s)+"."+domain, ".")
	case domain == "":
		return ""
	}
	return "Host:" + strings.NewReplacer("/", "-", "_", "-").Replace(f.s.Name) + "." + domain
}

// ruleLabel is the label of the rule, also when it is missing.
func (f *frontend) ruleLabel() labelValue {
	if v := f.label("frontend.rule"); v.text != "" {
		return v
	}
	if f.segment != "" {
		return f.s.label(f.w, "traefik."+f.segment+".frontend.rule")
	}
	return f.s.label(f.w, "traefik.frontend.rule")
}
