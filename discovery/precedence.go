package discovery

import (
	"slices"

	"arzur.net/lb/rules"
)

// precedence decides between the rules of several Sources. Those of one may share
// requests by having the same match. Of several the first counts, which are the
// rules files: who may set a label must not get a part of the requests that they
// send elsewhere. A rule that names the same service, or a first one that says
// its weight, shares with all.
type precedence struct {
	owners map[string]*owner // by claim
}

// owner is the Source that has a claim.
type owner struct {
	source   int
	first    *rules.Rule
	services []string
	open     bool // a rule says its share
}

// admit returns those of the next Source's rules that count, and what is wrong
// with the others.
func (p *precedence) admit(source int, list []rules.Rule) (admitted []rules.Rule, problems []rules.Problem) {
	for i := range list {
		r := &list[i]
		c := r.Claim()
		o := p.owners[c]
		switch {
		case c == "": // Compile will say why it is not known what it asks for
		case o == nil:
			p.owners[c] = &owner{source, r, []string{r.Service}, r.Weight != nil || r.Share > 0}
		case o.source == source:
			o.services = append(o.services, r.Service)
			o.open = o.open || r.Weight != nil || r.Share > 0
		case !o.open && !slices.Contains(o.services, r.Service):
			problems = append(problems, conflict(r, o.first))
			continue
		}
		admitted = append(admitted, *r)
	}
	return admitted, problems
}

// several says whether more than one Source has rules.
func several(snapshots []*Snapshot) bool {
	n := 0
	for _, s := range snapshots {
		if s != nil && len(s.Rules) > 0 {
			n++
		}
	}
	return n > 1
}
