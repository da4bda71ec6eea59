package rules

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"arzur.net/lb/health"
)

// Table is what Compile makes of an Input: immutable, safe for any number of
// readers. Only the live records behind it (health.Backend, the turn of a Pool) move.
type Table struct {
	entries  []*Entry
	pools    []*Pool
	backends []BackendUse
	ports    map[Listen]*PortTable
}

// Listen is a socket that the Table needs.
type Listen struct {
	Address  netip.Addr // the zero Addr means all, IPv4 and IPv6
	Port     uint16
	Protocol string // one of Protocols
}

// String is the socket as people write it, with what is spoken on it unless that
// is http: "*:80", "127.0.0.1:80", "[::1]:443/https".
func (l Listen) String() string {
	at := fmt.Sprintf("*:%d", l.Port)
	if l.Address.IsValid() {
		at = netip.AddrPortFrom(l.Address, l.Port).String()
	}
	if l.Protocol == HTTP || l.Protocol == "" {
		return at
	}
	return at + "/" + l.Protocol
}

// Entry is one compiled rule.
type Entry struct {
	ID     int   // dense index within the Table
	Rule   *Rule // effective: defaults applied, Name never empty; of merged rules the first
	Pool   *Pool // nil for a redirect and for a refusal
	Listen Listen

	match    *match
	rewrites []rewrite
	redirect *regexp.Regexp // of a Redirect with a Pattern
}

// Match is what the Entry matches, for people: "arzur.net/blog", "*", or the expression.
func (e *Entry) Match() string { return e.match.String() }

// BackendUse is one Backend that the Table sends requests to.
type BackendUse struct {
	Backend  *health.Backend
	Check    *health.Check // nil without an active check
	Host     string        // as the operator wrote it
	Services []string      // names of the Services it serves, in order of first use

	Transport health.Transport
}

// PortTable is the part of a Table that one listener needs.
type PortTable struct {
	index   *index
	proxyIn bool
	successors
}

// ProxyIn says whether connections from trusted peers begin with a PROXY
// protocol header.
func (t *PortTable) ProxyIn() bool { return t != nil && t.proxyIn }

// Ports lists the sockets to listen on, sorted by port, then address.
func (t *Table) Ports() []Listen {
	ports := make([]Listen, 0, len(t.ports))
	for l := range t.ports {
		ports = append(ports, l)
	}
	slices.SortFunc(ports, compareListen)
	return ports
}

func compareListen(a, b Listen) int {
	return cmp.Or(cmp.Compare(a.Port, b.Port), a.Address.Compare(b.Address), cmp.Compare(a.Protocol, b.Protocol))
}

// On is the part of the Table for one listener: the rules bound to exactly that
// address, of that protocol. It is nil when there are none; a nil *PortTable
// matches nothing.
func (t *Table) On(l Listen) *PortTable {
	l.Address = l.Address.Unmap()
	return t.ports[l]
}

// Entries lists the rules in the order in which they are tried, port by port.
func (t *Table) Entries() []*Entry { return t.entries }

// Pools lists every Pool once. Rules with the same services share one.
func (t *Table) Pools() []*Pool { return t.pools }

// Backends lists every Backend once.
func (t *Table) Backends() []BackendUse { return t.backends }

// Doubts lists rules that mean what they say, which is hardly what was meant.
func (t *Table) Doubts() (all []Problem) {
	for _, e := range t.entries {
		if e.match.template != "" {
			all = append(all, Problem{
				Origin: e.Rule.Origin, Rule: e.Rule.Name,
				Reason: fmt.Sprintf(`rule: %q has a {name:pattern} of Traefik 2's, which stands for itself here, so that no host fits; want a regular expression, such as ^[a-z]+\.arzur\.net$`, e.match.template),
			})
		}
	}
	return all
}

// String lists the rules in the order in which they are tried, one per line.
func (t *Table) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, e := range t.entries {
		fmt.Fprintf(w, "%s\t%s\t-> %s\n", e.Listen, e.Match(), e.target())
	}
	w.Flush()
	return b.String()
}

func (e *Entry) target() string {
	switch {
	case e.Rule.Refuse != "" && isStream(e.Listen.Protocol):
		return "closed, " + e.Rule.Refuse
	case e.Rule.Refuse != "":
		return "503, " + e.Rule.Refuse
	case e.Pool == nil:
		return e.Rule.Redirect.String()
	}
	var b strings.Builder
	b.WriteString(e.Pool.Name + ":")
	if len(e.Pool.Targets) == 0 {
		b.WriteString(" no server" + e.Pool.unresolved())
	}
	for _, t := range e.Pool.Targets {
		b.WriteString(" " + t.Backend.Addr.String())
		if e.Pool.uneven(t) {
			fmt.Fprintf(&b, " weight %d", t.Weight)
		}
		if t.Backup {
			b.WriteString(" backup")
		}
	}
	return b.String()
}

// unresolved says which servers have no address yet.
func (p *Pool) unresolved() string {
	if names := p.Unresolved(); names != nil {
		return " yet; " + strings.Join(names, ", ") + " is looked up at run time"
	}
	return ""
}

// Unresolved lists the names of servers that have no address.
func (p *Pool) Unresolved() []string {
	var names []string
	for _, inst := range p.Service.Instances {
		if !inst.Addr.IsValid() && !slices.Contains(names, inst.Host) {
			names = append(names, inst.Host)
		}
	}
	return names
}

// uneven says whether t's weight is worth a word.
func (p *Pool) uneven(t *Target) bool {
	return t.Weight == 0 || slices.ContainsFunc(p.Targets, func(o *Target) bool { return o.Backup == t.Backup && o.Weight != t.Weight })
}

// Status is the one of the answer. safe says that the method is GET or HEAD.
func (r *Redirect) Status(safe bool) int {
	switch {
	case !r.ByMethod:
		return r.Code
	case safe && r.Permanent:
		return 301
	case safe:
		return 302
	case r.Permanent:
		return 308
	}
	return 307
}

// code is the status in words: of a redirect by method both.
func (r *Redirect) code() string {
	switch {
	case !r.ByMethod:
		return strconv.Itoa(r.Code)
	case r.Permanent:
		return "301/308"
	}
	return "302/307"
}

// String is the redirect in words: "redirect 301 https://{host}{path}".
func (r *Redirect) String() string {
	part := func(s, kept string) string {
		if s == "" {
			return kept
		}
		return s
	}
	if r.Pattern != "" {
		return fmt.Sprintf("redirect %s to %s", r.Pattern, r.Replacement)
	}
	port := ""
	if r.Port != 0 {
		port = fmt.Sprintf(":%d", r.Port)
	}
	return fmt.Sprintf("redirect %s %s://%s%s%s", r.code(), part(r.Scheme, "{scheme}"), part(r.Host, "{host}"), port, part(r.Path, "{path}"))
}
