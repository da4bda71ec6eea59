package rules

import (
	"cmp"
	"fmt"
	"strings"
)

// Claim is which requests r asks for, and on which listener, as a text that means
// nothing else: it is equal for two rules that Compile would join because they
// match the same. It is "" for a rule whose match cannot be compiled.
func (r *Rule) Claim() string {
	n := *r
	n.normalize()
	m, err := newMatch(&n)
	if err != nil {
		return ""
	}
	return fmt.Sprint(n.Listen(), "\x00", m.key)
}

// Title is how problems call r: its name, else what it matches.
func (r *Rule) Title() string {
	return cmp.Or(r.Name, strings.TrimSpace(fmt.Sprint(r.Port, " ", r.Hostname+r.Path+r.Expr)))
}
