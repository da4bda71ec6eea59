package rules

import "fmt"

// Claim is which requests r asks for, and on which listener, as a text that means
// nothing else: it is equal for two rules that Compile would join because they
// match the same. It is "" for a rule whose match cannot be compiled.
func (r *Rule) Claim() string {
	m, err := newMatch(r)
	if err != nil {
		return ""
	}
	return fmt.Sprint(Listen{r.Address.Unmap(), r.Port, "http"}, "\x00", m.key)
}
