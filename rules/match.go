package rules

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// match is what a Rule matches, compiled.
type match struct {
	// alternatives: a request must fit one of them. A rule with hostname and
	// path has exactly one.
	alternatives []alternative
	// cond must hold as well; nil when the alternatives say all there is to say.
	cond condition
	// weakest is the least specific alternative. It decides where the match
	// stands in the order.
	weakest *alternative
	// expr is the expression as it was written, "" without one.
	expr string
	// template is the first argument that is a pattern of Traefik 2's, "" without one.
	template string
	// key is equal for two matches if and only if they were written as the same match.
	key string
}

// alternative is one way to match: a host and a path.
type alternative struct {
	host host
	path path
}

func (a *alternative) String() string {
	if a.host.kind == hostAny && a.path.kind == pathAny {
		return "*"
	}
	if a.host.kind == hostAny {
		return "*" + a.path.String()
	}
	return a.host.String() + a.path.String()
}

// key tells kinds apart that String does not.
func (a *alternative) key() string {
	return string('0'+rune(a.host.kind)) + string('0'+rune(a.path.kind)) + a.host.text + "\x00" + a.path.text
}

// String is the expression, or host and path.
func (m *match) String() string {
	if m.expr != "" {
		return m.expr
	}
	return m.alternatives[0].String()
}

// newMatch compiles the match of a Rule. An error names the key it is about.
func newMatch(r *Rule) (*match, error) {
	if r.Expr != "" {
		return newExprMatch(r)
	}
	h, err := parseHost(r.Hostname)
	if err != nil {
		return nil, fmt.Errorf("hostname: %w", err)
	}
	p, err := parsePath(r.Path, r.PathMatch)
	if err != nil {
		return nil, fmt.Errorf("path: %w", err)
	}
	a := alternative{h, p}
	m := &match{alternatives: []alternative{a}, key: a.key()}
	m.weakest = &m.alternatives[0]
	return m, nil
}

func newExprMatch(r *Rule) (*match, error) {
	if r.Hostname != "" || r.Path != "" {
		return nil, errors.New("rule: it stands instead of hostname and path; move them into the rule")
	}
	tree, err := parseExpr(r.Expr, matcherNames)
	if err != nil {
		return nil, inRule(r.Expr, err)
	}
	if err := r.checkExpr(tree); err != nil {
		return nil, inRule(r.Expr, err)
	}
	c, err := newCondition(tree)
	if err != nil {
		return nil, inRule(r.Expr, err)
	}
	all, exact := alternatives(c)
	m := &match{alternatives: all, weakest: weakest(all), expr: r.Expr, template: tree.template()}
	if exact {
		m.key = alternativesKey(all)
	} else {
		m.cond, m.key = c, tree.String()
	}
	return m, nil
}

func weakest(all []alternative) *alternative {
	w := &all[0]
	for i := range all {
		if compareSpecific(&all[i], w) > 0 {
			w = &all[i]
		}
	}
	return w
}

func alternativesKey(all []alternative) string {
	keys := make([]string, 0, len(all))
	for i := range all {
		keys = append(keys, all[i].key())
	}
	slices.Sort(keys)
	return strings.Join(slices.Compact(keys), "\x01")
}

// ranked is a match with what else decides when it is tried.
type ranked struct {
	*match
	priority int // 0: none
	declared int // position in the Input
}

// compareDefault is the order in which the rules of a port are tried. The
// first difference decides:
//
//  1. rules with a priority before rules without; lower first
//  2. exact host, then wildcard host (the longer text first), then any host
//  3. exact path, then the longer path; a path pattern is as long as its text
//  4. the longer expression; a rule without one comes last
//  5. declaration
//
// An expression stands where its host and path put it: those of a conjunction
// are those of its parts, and a disjunction has those of its least specific
// alternative, since it takes all that one takes.
func compareDefault(a, b *ranked) int {
	return cmp.Or(
		comparePriority(a.priority, b.priority),
		compareSpecific(a.weakest, b.weakest),
		cmp.Compare(len(b.expr), len(a.expr)),
		cmp.Compare(a.declared, b.declared),
	)
}

// compareRancher is Rancher's order, made strict where the original was not.
// The first difference decides:
//
//  1. the rule with neither host nor path comes last, whatever its priority
//  2. rules with a priority before rules without; lower first
//  3. exact host and path, exact host, wildcard host and path, wildcard host, path, nothing
//  4. the longer path
//  5. the longer expression; a rule without one comes last
//  6. declaration
func compareRancher(a, b *ranked) int {
	x, y := a.weakest, b.weakest
	return cmp.Or(
		compareBool(a.takesAll(), b.takesAll()),
		comparePriority(a.priority, b.priority),
		cmp.Compare(x.rancherClass(), y.rancherClass()),
		cmp.Compare(len(y.path.text), len(x.path.text)),
		cmp.Compare(len(b.expr), len(a.expr)),
		cmp.Compare(a.declared, b.declared),
	)
}

func comparePriority(a, b int) int {
	return cmp.Or(compareBool(a == 0, b == 0), cmp.Compare(a, b))
}

// compareBool puts false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func compareSpecific(a, b *alternative) int {
	return cmp.Or(
		cmp.Compare(a.host.class(), b.host.class()),
		cmp.Compare(b.host.wildcardLen(), a.host.wildcardLen()),
		compareBool(a.path.kind != pathExact, b.path.kind != pathExact),
		cmp.Compare(len(b.path.text), len(a.path.text)),
	)
}

// class puts wildcards at either end together.
func (h host) class() hostKind {
	if h.kind == hostPrefix {
		return hostSuffix
	}
	return h.kind
}

// wildcardLen is the length of a wildcard's text; other hosts do not differ by length.
func (h host) wildcardLen() int {
	if h.class() != hostSuffix {
		return 0
	}
	return len(h.text)
}

func (a *alternative) rancherClass() int {
	class := int(a.host.class()) * 2
	if a.host.kind == hostAny {
		class = 4
	}
	if a.path.kind == pathAny {
		class++
	}
	return class
}

func (m *match) takesAll() bool {
	return m.cond == nil && m.weakest.host.kind == hostAny && m.weakest.path.kind == pathAny
}
