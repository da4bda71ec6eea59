package discovery

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"

	"arzur.net/lb/rules"
	"arzur.net/lb/rules/labels"
)

// member is one carrier of labels: a container, a Swarm service, ...
type member struct {
	labels.Subject
	created time.Time
	idle    bool // it does not run: it counts only if its labels want that, and has no server
	returns bool // idle, but about to run again by itself: its rules count, and answer 503
	away    bool // it is to get no requests now; its rules answer 503
	leaving bool // it goes, or has just gone, and another may take its place
	gone    bool // it has gone: its labels count only while nobody else is in its services
	// place finds the servers of one of the groups that its labels name.
	place func(w *labels.Wants, g *labels.Group) placement
}

// placement is where requests for a group go.
type placement struct {
	instances []rules.Instance
	hints     []string // what was chosen among several
	missing   string   // not "": why there can be no server, whatever happens
}

// announce is what all members of a Source ask for together. Members with the
// same service share its pool. Of two that claim the same requests for different
// services the one that serves counts, else the older.
func announce(members []member, o *labels.Options) Snapshot {
	slices.SortFunc(members, func(a, b member) int {
		if a.gone && b.gone { // the newest was what its service wanted in the end
			return cmp.Or(b.created.Compare(a.created), cmp.Compare(a.Name, b.Name))
		}
		return cmp.Or(compareBools(a.gone, b.gone), compareBools(a.idle || a.away, b.idle || b.away), a.created.Compare(b.created), cmp.Compare(a.Name, b.Name))
	})
	subjects := make([]*labels.Subject, len(members))
	for i := range members {
		subjects[i] = &members[i].Subject
	}
	options := *o
	options.Shared = labels.Share(subjects, o)
	a := announcement{claims: make(map[string]*claim), leaving: make(map[string]bool), lives: make(map[string]bool)}
	for i := range members {
		a.add(&members[i], labels.Decode(subjects[i], &options))
	}
	a.Services = a.services.list
	for i := range a.Services {
		s := &a.Services[i]
		switch {
		case s.Hold != nil: // a label says
		case a.leaving[s.Name]:
			s.Hold = new(holdForNext)
		default:
			s.Hold = new(holdForNews)
		}
	}
	return a.Snapshot
}

// announcement is a Snapshot in the making.
type announcement struct {
	Snapshot
	services serviceSet
	claims   map[string]*claim
	leaving  map[string]bool // services of which a member leaves
	lives    map[string]bool // services with a member that has not gone
}

const (
	// holdForNews is how long requests that nobody can take wait: a server that is
	// told to stop may be quicker than the news of it.
	holdForNews = 250 * time.Millisecond
	// holdForNext is how long they wait at most while a member leaves: some ways of
	// updating stop all of them, with 10 s of grace, before they start the next.
	holdForNext = 20 * time.Second
	// leavingFor is how long one that has gone may have a successor.
	leavingFor = 5 * time.Second
)

// claim is the rules of the first member that asked for certain requests.
type claim struct {
	services []string
	rules    []rules.Rule
}

func (a *announcement) add(m *member, w labels.Wants) {
	if m.idle && !m.returns && !w.AllowNonRunning {
		return
	}
	if m.gone {
		if a.replaced(&w) {
			return
		}
		said := len(a.Warnings)
		defer func() { a.Warnings = a.Warnings[:said] }() // nobody can do anything about it any more
	}
	a.Warnings = append(a.Warnings, w.Problems...)
	missing := make(map[string]bool)
	for i := range w.Groups {
		if !a.join(m, &w, &w.Groups[i]) {
			missing[w.Groups[i].Service.Name] = true
		}
	}
	byClaim := make(map[string][]rules.Rule)
	for _, r := range w.Rules {
		if !missing[r.Service] {
			c := r.Claim()
			byClaim[c] = append(byClaim[c], r)
		}
	}
	for _, c := range slices.Sorted(maps.Keys(byClaim)) {
		if m.gone && (c == "" || a.claims[c] != nil) {
			continue
		}
		if c != "" { // else it is not known what they ask for, which Compile will say
			byClaim[c] = a.agree(m, byClaim[c])
		}
		a.claim(c, byClaim[c])
	}
}

// agree leaves out those of one member's rules for the same requests that go to
// another service than the first, unless it is said which share each of them gets.
func (a *announcement) agree(m *member, asking []rules.Rule) []rules.Rule {
	slices.SortStableFunc(asking, func(x, y rules.Rule) int { return cmp.Compare(rank(&x), rank(&y)) })
	first := &asking[0]
	shares := func(r *rules.Rule) bool { return r.Weight != nil || r.Share > 0 }
	// Dialects have different names for what labels name no service for.
	unnamed := func(r *rules.Rule) bool { return r.Service == m.Group || r.Service == m.Service }
	agreed := asking[:1:1]
	for _, r := range asking[1:] {
		if r.Service == first.Service || shares(&r) || shares(first) || unnamed(&r) && unnamed(first) {
			agreed = append(agreed, r)
		} else {
			a.Warnings = append(a.Warnings, conflict(&r, first))
		}
	}
	return agreed
}

// rank is lower for rules that come first.
func rank(r *rules.Rule) int {
	if r.Priority == 0 {
		return math.MaxInt
	}
	return r.Priority
}

// replaced says whether all services of one that has gone have somebody else.
// They have to know of it all the same: those may go next.
func (a *announcement) replaced(w *labels.Wants) bool {
	all := true
	for i := range w.Groups {
		name := w.Groups[i].Service.Name
		a.leaving[name] = true
		all = all && a.lives[name]
	}
	return all
}

// join makes m a server of g. It is false when it can be none.
func (a *announcement) join(m *member, w *labels.Wants, g *labels.Group) bool {
	s := g.Service
	if !m.idle {
		p := m.place(w, g)
		if p.missing != "" {
			a.miss(m, g, p.missing)
			return false
		}
		for _, hint := range p.hints {
			a.Warnings = append(a.Warnings, rules.Problem{Origin: m.Origin, Reason: hint})
		}
		if s.Instances = p.instances; m.away {
			s.Instances = nil
		}
		for i := range s.Instances {
			s.Instances[i].Weight = g.Weight
		}
	}
	a.leaving[s.Name] = a.leaving[s.Name] || m.leaving
	a.lives[s.Name] = a.lives[s.Name] || !m.gone
	if p := a.services.add(&s); p != nil {
		a.Warnings = append(a.Warnings, *p)
	}
	return true
}

// miss reports a member without a server, if somebody meant it to have one: by
// default every container of a machine is exposed.
func (a *announcement) miss(m *member, g *labels.Group, why string) {
	if !labelled(m.Labels) {
		return
	}
	a.Warnings = append(a.Warnings, rules.Problem{
		Origin: m.Origin, Fatal: true, Reason: fmt.Sprintf("service %q: %s", g.Service.Name, why),
	})
}

// claim adds the rules of one member that ask for the same requests; "" are those
// of which Compile will say why it is not known which.
func (a *announcement) claim(requests string, asking []rules.Rule) {
	first := a.claims[requests]
	services := make([]string, len(asking))
	for i := range asking {
		services[i] = asking[i].Service
	}
	switch {
	case requests == "":
		a.Rules = append(a.Rules, asking...)
	case first == nil:
		a.claims[requests] = &claim{services, asking}
		a.Rules = append(a.Rules, asking...)
	case slices.Equal(first.services, services):
		for i := range asking {
			a.repeat(&asking[i], first.rules)
		}
	default:
		for _, r := range asking {
			a.Warnings = append(a.Warnings, conflict(&r, &first.rules[0]))
		}
	}
}

// repeat adds a rule of one more member that asks for the same requests for the
// same service as one of the first.
func (a *announcement) repeat(r *rules.Rule, first []rules.Rule) {
	for i := range first {
		f := &first[i]
		if sameRule(*f, *r) {
			return
		}
		same := *r
		if same.Weight = f.Weight; sameRule(*f, same) {
			a.Warnings = append(a.Warnings, rules.Problem{
				Origin: r.Origin, Other: f.Origin, Rule: r.Title(),
				Reason: fmt.Sprintf("its weight for service %q is %s, that of the other %s, which counts", r.Service, weight(r), weight(f)),
			})
			return
		}
	}
	a.Rules = append(a.Rules, *r) // Compile says what about it is different
}

func weight(r *rules.Rule) string {
	if r.Weight == nil {
		return "not given"
	}
	return strconv.Itoa(*r.Weight)
}

func sameRule(a, b rules.Rule) bool {
	a.Origin = b.Origin
	return reflect.DeepEqual(a, b)
}

func conflict(r, first *rules.Rule) rules.Problem {
	gets := fmt.Sprintf("service %q gets these requests", first.Service)
	if first.Service == "" {
		gets = "a redirect answers these requests"
	}
	return rules.Problem{
		Origin: r.Origin, Other: first.Origin, Rule: r.Title(), Fatal: true,
		Reason: gets + " already; name the same service in both, or another match in one",
	}
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
