package discovery

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"arzur.net/lb/rules"
	"arzur.net/lb/rules/labels"
)

// consulVariant is those instances of a service that bear the same labels. They
// are decoded once for all of them, and once for all Snapshots.
type consulVariant struct {
	text      string
	subject   *labels.Subject
	wants     *labels.Wants // nil: to be decoded
	parted    bool          // the group has no other instances than these
	instances []rules.Instance
}

// group sorts the instances by their labels, and keeps what was decoded.
func (s *consulService) group(name string) {
	known := s.variants
	s.variants = nil
	for n := range s.instances {
		i := &s.instances[n]
		at := slices.IndexFunc(s.variants, func(v consulVariant) bool { return v.text == i.text })
		if at < 0 {
			at = len(s.variants)
			v := consulVariant{text: i.text, subject: i.subject(name)}
			if old := slices.IndexFunc(known, func(v consulVariant) bool { return v.text == i.text && !v.parted }); old >= 0 {
				v.subject, v.wants = known[old].subject, known[old].wants
			}
			s.variants = append(s.variants, v)
		}
		if i.serving {
			s.variants[at].instances = append(s.variants[at].instances, i.instance())
		}
	}
	s.part(name)
}

// part makes groups of their own of the label sets with different tags of fabio,
// because with fabio a tag is about the instance that bears it and about no other.
// Where several bear the same tag, Compile joins what they announce.
func (s *consulService) part(name string) {
	if !slices.ContainsFunc(s.variants, func(v consulVariant) bool { return fabioTags(v.subject) != fabioTags(s.variants[0].subject) }) {
		return
	}
	for i := range s.variants {
		v := &s.variants[i]
		v.parted = true
		if group := fmt.Sprint(name, "#", i+1); v.subject.Group != group {
			own := *v.subject
			own.Group = group
			v.subject, v.wants = &own, nil
		}
	}
}

// fabioTags are the tags of fabio that a subject bears, as one text.
func fabioTags(s *labels.Subject) string {
	var tags []string
	for tag := range s.Labels {
		if strings.HasPrefix(tag, fabioPrefix) {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	return strings.Join(tags, "\n")
}

// subject is the service as package labels sees it. Groups
// without a port of their own are at each instance's.
func (i *consulInstance) subject(service string) *labels.Subject {
	group := cmp.Or(canaryName(service, i.labels), service)
	return &labels.Subject{
		Name: service, Service: labels.Normalize(group), Group: group,
		Origin: "consul service " + service, Labels: i.labels, Ports: []uint16{i.port},
	}
}

// snapshot is all that is known.
func (w *consulWatch) snapshot() Snapshot {
	w.decode()
	a := consulAnnouncement{rules: make(map[ruleMark][]int)}
	for _, name := range w.catalog {
		if s := w.services[consulQuery{name: name}]; s != nil {
			for i := range s.variants {
				a.addVariant(&s.variants[i])
			}
		}
	}
	for _, wish := range w.wishes {
		known := w.services[wish.query]
		if known.outcome == consulPending && known.instances == nil {
			continue
		}
		service := rules.Service{Name: wish.name, Origin: "consul " + wish.query.String()}
		for i := range known.instances {
			if instance := &known.instances[i]; instance.serving {
				service.Instances = append(service.Instances, instance.instance())
			}
		}
		a.addService(&service)
	}
	w.fragments.addTo(&a)
	a.Warnings = append(a.Warnings, w.misnamed...)
	a.Warnings = append(a.Warnings, w.unread...)
	a.Services = a.services.list
	return a.Snapshot
}

// decode reads the labels that are new. What a label set defines may be used by
// another's (a middleware of Traefik), so one that is new has all read again.
func (w *consulWatch) decode() {
	var subjects []*labels.Subject
	var variants []*consulVariant
	stale := false
	for _, name := range w.catalog {
		s := w.services[consulQuery{name: name}]
		if s == nil {
			continue
		}
		for i := range s.variants {
			v := &s.variants[i]
			stale = stale || v.wants == nil
			subjects, variants = append(subjects, v.subject), append(variants, v)
		}
	}
	if len(subjects) != w.decoded {
		stale = true // one is gone, and what it defined
	}
	if !stale {
		return
	}
	w.decoded = len(subjects)
	hidden := w.Config.Labels
	exposed := hidden
	exposed.ExposedByDefault = true // a service that says what it wants is exposed by that
	shared := labels.Share(subjects, &exposed)
	hidden.Shared, exposed.Shared = shared, shared
	for _, v := range variants {
		o := &hidden
		if labelled(v.subject.Labels) {
			o = &exposed
		}
		wants := labels.Decode(v.subject, o)
		v.wants = &wants
	}
}

// consulAnnouncement is a Snapshot in the making.
type consulAnnouncement struct {
	Snapshot
	services serviceSet
	rules    map[ruleMark][]int // where in Rules
}

// ruleMark is what two rules that are the same have in common, and few others.
type ruleMark struct{ name, hostname, path, expr, service string }

// addVariant adds the rules and the instances of one label set.
func (a *consulAnnouncement) addVariant(v *consulVariant) {
	a.Warnings = append(a.Warnings, v.wants.Problems...)
	missing := make(map[string]bool)
	for i := range v.wants.Groups {
		g := &v.wants.Groups[i]
		s := g.Service
		s.Instances = instancesFor(g, v.instances)
		if lost := len(v.instances) - len(s.Instances); lost > 0 {
			missing[s.Name] = len(s.Instances) == 0
			a.Warnings = append(a.Warnings, rules.Problem{
				Origin: v.subject.Origin, Fatal: missing[s.Name],
				Reason: fmt.Sprintf("service %q: %d of %d instances are registered without a port, and no label says one%s", s.Name, lost, len(v.instances), suchAs(g)),
			})
		}
		if !missing[s.Name] {
			a.addService(&s)
		}
	}
	for i := range v.wants.Rules {
		if r := &v.wants.Rules[i]; !missing[r.Service] {
			a.addRule(r)
		}
	}
}

// instancesFor are the instances with what the labels of the group say otherwise.
// Those without a port are left out: that of the rule would be our own.
func instancesFor(g *labels.Group, instances []rules.Instance) []rules.Instance {
	if g.Port == 0 {
		instances = slices.DeleteFunc(slices.Clone(instances), func(i rules.Instance) bool { return i.Port == 0 })
	}
	if g.Port == 0 && g.Host == "" && g.Weight == nil {
		return instances
	}
	instances = slices.Clone(instances)
	for i := range instances {
		in := &instances[i]
		if g.Host != "" {
			*in = (&consulInstance{host: g.Host, port: in.Port}).instance()
			in.Weight = nil
		}
		if g.Port != 0 {
			in.Port = g.Port
		}
		if g.Weight != nil {
			in.Weight = g.Weight
		}
	}
	return instances
}

func (a *consulAnnouncement) addService(s *rules.Service) {
	if p := a.services.add(s); p != nil {
		a.Warnings = append(a.Warnings, *p)
	}
}

// addRule adds a rule, unless another label set asked for the very same.
func (a *consulAnnouncement) addRule(r *rules.Rule) {
	mark := ruleMark{r.Name, r.Hostname, r.Path, r.Expr, r.Service}
	for _, i := range a.rules[mark] {
		known := a.Rules[i]
		known.Origin = r.Origin
		if reflect.DeepEqual(&known, r) {
			return
		}
	}
	a.rules[mark] = append(a.rules[mark], len(a.Rules))
	a.Rules = append(a.Rules, *r)
}
