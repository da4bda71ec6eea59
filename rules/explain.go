package rules

import (
	"fmt"
	"strings"
)

// Step is one Entry that Lookup considers for a Request.
type Step struct {
	Entry *Entry
	Why   string // not to take it: what the Request has, and what is wanted; "": the Entry takes it
	Near  bool   // the host fits
}

// Explain is Lookup in slow motion: every Entry of a listener, in the order in
// which they are tried, and why it does not take r. Lookup finds the first that does.
func (t *Table) Explain(l Listen, r *Request) []Step {
	var steps []Step
	r.route()
	for _, e := range t.entries {
		if e.Listen == l {
			steps = append(steps, Step{e, e.match.whyNot(r), e.match.near(r)})
		}
	}
	return steps
}

// near says whether the host of r fits, whatever else does not.
func (m *match) near(r *Request) bool {
	for i := range m.alternatives {
		if m.alternatives[i].host.takes(r.Host) {
			return true
		}
	}
	return false
}

// whyNot is what of r does not fit, "" if r fits.
func (m *match) whyNot(r *Request) string {
	if m.expr != "" {
		tree, err := parseExpr(m.expr, matcherNames)
		if err != nil {
			panic("BUG: an expression in use: " + err.Error())
		}
		c, err := newCondition(tree)
		if err != nil {
			panic("BUG: an expression in use: " + err.Error())
		}
		return whyNot(tree, c, r)
	}
	switch a := &m.alternatives[0]; {
	case !a.host.takes(r.Host):
		return foundHost(r) + ", want " + a.host.String()
	case !a.path.takes(r.routing):
		return foundPath(r) + ", want " + a.path.wanted()
	}
	return ""
}

// wanted is the pattern in words.
func (p *path) wanted() string {
	switch p.kind {
	case pathExact:
		return "exactly " + p.text
	case pathSegments:
		return p.text + " or below"
	case pathMatches:
		return "a match of " + p.text
	case pathFolded:
		return p.text + "... in any case"
	}
	return p.text + "..."
}

// whyNot is which part of c, the condition of n, does not hold; "" if all does.
func whyNot(n *node, c condition, r *Request) string {
	switch c := c.(type) {
	case both:
		if why := whyNot(n.left, c.a, r); why != "" {
			return why
		}
		return whyNot(n.right, c.b, r)
	case either:
		left, right := whyNot(n.left, c.a, r), whyNot(n.right, c.b, r)
		if left == "" || right == "" {
			return ""
		}
		return left + "; " + right
	}
	if c.holds(r) {
		return ""
	}
	if has := found(c, r); has != "" {
		return has + ", want " + n.String()
	}
	return "want " + n.String()
}

// found is what r has of what c looks at, "" if that is several things.
func found(c condition, r *Request) string {
	switch c := c.(type) {
	case not:
		return found(c.c, r)
	case hostIs, oneLabel, hostMatches:
		return foundHost(r)
	case *pathIs:
		return foundPath(r)
	case methodIs:
		return "method " + string(r.Method)
	case fieldIs:
		return foundField(r, c.name)
	case fieldMatches:
		return foundField(r, c.name)
	case queryIs, queryMatches:
		return fmt.Sprintf("query %q", r.Query)
	case clientIn:
		return "client " + r.Client.String()
	}
	return ""
}

func foundHost(r *Request) string {
	if len(r.Host) == 0 {
		return "no host"
	}
	return "host " + string(r.Host)
}

func foundPath(r *Request) string { return "path " + string(r.routing) }

func foundField(r *Request, name string) string {
	var values []string
	anyField(r, name, func(v []byte) bool {
		values = append(values, string(v))
		return false
	})
	if values == nil {
		return "no field " + name
	}
	return name + ": " + strings.Join(values, ", ")
}
