package admin

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// String is the answer for people.
func (m *Match) String() string {
	var b strings.Builder
	fmt.Fprintln(&b, strings.Join(strings.Fields(m.Listen+" "+m.Method+" "+m.Host+m.Path), "  "))
	for _, line := range []string{m.Note, m.Certificate} {
		if line != "" {
			fmt.Fprintln(&b, line)
		}
	}
	b.WriteString(m.tried())
	fmt.Fprintln(&b, "-> "+m.outcome())
	b.WriteString(m.servers())
	return b.String()
}

// tried lists the rules.
func (m *Match) tried() string {
	return table(func(add func(...string)) {
		for _, t := range m.Tried {
			answer := "  no"
			if t.Takes {
				answer = "  yes"
			}
			add(answer, t.Match, t.Origin, t.Why)
		}
		if m.More > 0 {
			add("  no", fmt.Sprintf("%d more, for other hosts", m.More))
		}
	})
}

// servers lists those behind the rule.
func (m *Match) servers() string {
	return table(func(add func(...string)) {
		if m.Rule == nil {
			return
		}
		for _, t := range m.Rule.Targets {
			add("   "+t.Address, t.about())
		}
		for _, name := range m.NoAddress {
			add("   "+name, "no address")
		}
	})
}

// about is what there is to know of a server, in words.
func (t *targetView) about() string {
	var facts []string
	switch {
	case strings.HasPrefix(t.Reason, t.State) && t.Reason != "": // "ejected for 1s: ..."
		facts = append(facts, t.Reason)
	case t.Reason != "":
		facts = append(facts, t.State+": "+t.Reason)
	case t.State != "":
		facts = append(facts, t.State)
	}
	if t.Backup {
		facts = append(facts, "backup")
	}
	if t.Weight != 1 {
		facts = append(facts, fmt.Sprintf("weight %d", t.Weight))
	}
	return strings.Join(facts, ", ")
}

// outcome is the end of it, in words.
func (m *Match) outcome() string {
	switch {
	case m.Reason != "" && m.Method == "": // of a stream nobody sees a status
		return m.Reason + ": " + m.Text
	case m.Reason != "":
		return fmt.Sprintf("%d %s: %s", m.Status, m.Reason, m.Text)
	case m.Location != "":
		return fmt.Sprintf("redirect %d %s", m.Status, m.Location)
	case m.Status != 0:
		return m.Rule.Redirect
	case m.SentPath != "":
		return m.Rule.Service + ", as " + m.SentPath
	case len(m.Rule.Targets)+len(m.NoAddress) == 0:
		return m.Rule.Service + ", which has no server"
	}
	return m.Rule.Service
}

// table is what fill adds, in columns.
func table(fill func(add func(cells ...string))) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fill(func(cells ...string) {
		fmt.Fprintln(w, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
	})
	w.Flush()
	return b.String()
}
