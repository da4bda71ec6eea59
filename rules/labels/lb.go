package labels

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"arzur.net/lb/rules"
)

// ownPrefix begins the labels of our own dialect. They have the words of a
// rules file:
//
//	lb.<rule>.<key of port_rules>   a rule; "<rule>." may be left out when there is one
//	lb.<key of a service>           about all instances: balance, health_check.interval, ...
//	lb.service                      the group that the Subject is an instance of
//	lb.weight                       of this instance
//
// A rule listens on the default entry point, with https on the one that has TLS,
// unless it has a source_port, and goes to the
// port of the Subject unless it has a target_port. Without hostname, path and
// rule it has the Source's default rule; with a source_port it then takes all
// requests there, as in a rules file. lb.<rule>.service is the group for that
// rule alone, lb.<rule>.weight the rule's share where pools merge.
const ownPrefix = "lb."

// own reads the labels of one Subject in our own dialect.
type own struct {
	s *Subject
	o *Options
	w *Wants

	rules   map[string]*ownRule // by name; "" is the one without
	service ownService
	loose   []labelValue // about the service; without a rule they mean nothing
	guards  []guard
}

// decodeOwn adds to w what the labels in our own dialect ask for.
func decodeOwn(s *Subject, o *Options, w *Wants) {
	d := &own{s: s, o: o, w: w, rules: make(map[string]*ownRule)}
	d.service.Name = s.Group
	for _, key := range s.sortedKeys() {
		rest, ours := strings.CutPrefix(key, ownPrefix)
		switch v := s.label(w, key); {
		case !ours || isShared(key):
		case !ownWords[rest] && !strings.Contains(rest, ".") && o.mentions(key): // no word of ours, but somebody's
		case v.text == "" && !guards(rest):
			v.warn("it has no value, and counts as if it were not there")
		default:
			d.read(rest, v)
		}
	}
	d.service.finishTLS(s.label(w, "lb.scheme"))
	d.service.finish(s.label(w, "lb.health_check"))
	d.build()
}

// read takes the label ownPrefix + key.
func (d *own) read(key string, v labelValue) {
	first, rest, dotted := strings.Cut(key, ".")
	switch {
	case ownServiceKeys[key] != nil && (key != "proxy_protocol" || v.text != proxyIn):
		ownServiceKeys[key](&d.service, v)
		d.loose = append(d.loose, v)
	case !ownWords[first] && dotted && first != "":
		if !d.rule(first).read(rest, v) {
			d.unknown(first, rest, v)
		}
	default:
		if !d.rule("").read(key, v) {
			d.unknown("", key, v)
		}
	}
}

// guards says whether a key is unknown and may be meant to protect. It then counts
// without a value too, which is often a variable that is not set.
func guards(key string) bool {
	known := func(key string) bool {
		return ownRuleKeys[key].read != nil || ownServiceKeys[key] != nil || slices.Contains(ownShared, key) ||
			slices.ContainsFunc(ownRuleMaps, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
	}
	_, ofRule, _ := strings.Cut(key, ".")
	return protects(key) && !known(key) && !known(ofRule)
}

func (d *own) rule(name string) *ownRule {
	r := d.rules[name]
	if r == nil {
		r = &ownRule{word: name}
		r.Name = name
		d.rules[name] = r
	}
	return r
}

// ownShared are the keys that Decode itself reads.
var ownShared = []string{"enable", "network", "swarm.vip"}

// ownWords begin a key, so no rule can have one of them as its name.
var ownWords = func() map[string]bool {
	words := make(map[string]bool)
	for _, k := range slices.Concat(ownShared, ownServiceNames, ownRuleNames, ownRuleMaps) {
		first, _, _ := strings.Cut(k, ".")
		words[first] = true
	}
	return words
}()

// unknown notes a key that is not known, with the one that may have been meant.
func (d *own) unknown(rule, key string, v labelValue) {
	d.rules[rule].misspelt = true
	if slices.Contains(ownServiceNames, key) || slices.Contains(ownShared, key) {
		v.warn("it is not about a single rule; want %q", ownPrefix+key)
		return
	}
	// The name of a header field, if it is one.
	field := key[strings.LastIndexByte(key, '.')+1:]
	labels := make(map[string]string) // by key
	for _, k := range ownRuleNames {
		labels[k] = strings.TrimSuffix(v.key, key) + k
	}
	for _, k := range ownRuleMaps {
		labels[k+field] = strings.TrimSuffix(v.key, key) + k + field
	}
	for _, k := range slices.Concat(ownServiceNames, ownShared) {
		labels[k] = ownPrefix + k
	}
	known := slices.Sorted(maps.Keys(labels))
	near := rules.NearMisses(key, known)
	if len(near) == 0 {
		near = abbreviated(key, known)
	}
	if len(near) > 0 {
		decides := ownRuleKeys[near[0]].decides
		near[0] = labels[near[0]]
		r := d.rules[rule]
		r.broken = r.broken || decides && d.s.Labels[near[0]] == ""
	} else if near = rules.NearMisses(rule+"."+key, known); len(near) > 0 {
		near[0] = ownPrefix + near[0]
		d.rules[rule].noRule = true
	}
	if protects(rule + "." + key) {
		d.guards = append(d.guards, guard{rule, key, v, "unknown label" + asked(near)})
		return
	}
	v.warn("unknown label%s", asked(near))
}

// abbreviated are the keys that key is the first or the last word of, unless they
// are many: host is hostname, port target_port.
func abbreviated(key string, known []string) []string {
	var list []string
	for _, k := range known {
		if strings.HasPrefix(k, key) || strings.HasSuffix(k, "_"+key) {
			list = append(list, k)
		}
	}
	if len(list) > 2 {
		return nil
	}
	slices.Reverse(list) // target_port is meant more often than source_port
	return list
}

// guard is a label that nobody understands and that may be meant to protect.
type guard struct {
	rule, key string
	labelValue
	reason string
}

// protect refuses the rule that a guard is about: all of the Subject if it may be any.
func (d *own) protect(g guard) {
	r := d.rules[g.rule]
	switch {
	case g.rule == "" || !r.understood:
		r.noRule = true
		d.w.refuseAll(d.s, g.labelValue.key, g.reason)
	case protects(g.key):
		r.Refuse = cmp.Or(r.Refuse, "unknown label "+g.labelValue.key+", which may be meant to protect")
		g.reject(g.rule, "%s; the rule answers 503, because this may be meant to protect", g.reason)
	default: // the rule is called so
		g.warn("%s", g.reason)
	}
}

// build turns what was read into rules and groups.
func (d *own) build() {
	if len(d.rules) == 0 && len(d.loose) > 0 && !d.s.routedByOthers() {
		d.rule("") // the default rule, to the service they describe
	}
	if len(d.rules) == 0 {
		for _, v := range d.loose {
			v.warn("there is no rule of an lb label that goes to this service")
		}
		return
	}
	ports := make(map[string]map[uint16]bool) // of the instances, by group
	for _, g := range d.guards {
		d.protect(g)
	}
	var built []*ownRule
	for _, name := range slices.Sorted(maps.Keys(d.rules)) {
		r := d.rules[name]
		if r.noRule && !r.understood || !r.finish(d) {
			continue
		}
		built = append(built, r)
		if ports[r.Service] == nil {
			ports[r.Service] = make(map[uint16]bool)
		}
		ports[r.Service][r.TargetPort] = true
	}
	for _, r := range built {
		if r.Redirect == nil {
			d.join(r, len(ports[r.Service]) > 1)
		}
		d.w.Rules = append(d.w.Rules, r.Rule)
		if to := r.redirect(d.o); to != nil {
			d.w.Rules = append(d.w.Rules, *to)
		}
	}
}

// join makes the Subject an instance of the group that the rule names. A group
// whose rules want several ports is a group for each of them.
func (d *own) join(r *ownRule, several bool) {
	if several && r.TargetPort != 0 {
		r.Service = fmt.Sprintf("%s:%d", r.Service, r.TargetPort)
	}
	if slices.ContainsFunc(d.w.Groups, func(g Group) bool { return g.Service.Name == r.Service }) {
		return
	}
	service := d.service.Service
	service.Name, service.Origin = r.Service, d.s.Origin
	scheme := "http"
	if service.TLS != nil {
		scheme = "https"
	}
	d.w.Groups = append(d.w.Groups, Group{
		Service: service, Port: r.TargetPort, Scheme: scheme, Weight: d.service.weight, PortLabel: r.label("target_port"),
	})
}

// routedByOthers says whether there are labels by which Traefik or fabio would route.
func (s *Subject) routedByOthers() bool {
	for key := range s.Labels {
		if isTraefik1(key) || strings.HasPrefix(key, "traefik.http.") || isFabio(key) {
			return true
		}
	}
	return false
}
