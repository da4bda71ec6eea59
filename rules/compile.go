package rules

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"arzur.net/lb/health"
)

// Input is everything Compile needs: what all Sources announced.
type Input struct {
	Rules    []Rule
	Services []Service
}

// Backends hands out live records; *health.Registry implements it.
type Backends interface {
	Backend(addr netip.AddrPort, check *health.Check, transport string) *health.Backend
}

// NoBackends is for validation only: every Backend is a new one that nobody else knows.
type NoBackends struct{}

// Backend implements Backends.
func (NoBackends) Backend(addr netip.AddrPort, check *health.Check, transport string) *health.Backend {
	return &health.Backend{Key: health.Key{Addr: addr, Check: check.Key(), Transport: transport}}
}

// Compile builds the Table and lists what it could not use (Problem.Fatal) or
// warns of. It is pure but for reg, which it asks once for each address,
// check and transport. It does not change the Input, and nobody else may afterwards: the Table refers to it.
func Compile(in Input, reg Backends) (*Table, []Problem) {
	c := &compiler{
		table:    &Table{ports: make(map[Listen]*PortTable)},
		services: make(map[string]*announced, len(in.Services)),
		drafts:   make(map[draftKey]*draft, len(in.Rules)),
		ports:    make(map[Listen][]*draft),
		sockets:  make(map[Listen]*Rule),
		unknown:  make(map[string]error),
		pools:    pools{reg: reg, byKey: make(map[string]*Pool), backends: make(map[health.Key]int)},
	}
	for i := range in.Services {
		c.addService(in.Services[i])
	}
	for i := range in.Rules {
		c.addRule(in.Rules[i], i)
	}
	c.build()
	return c.table, c.problems
}

type compiler struct {
	table    *Table
	problems []Problem
	services map[string]*announced
	names    []string         // of the services, sorted, once somebody asks
	unknown  map[string]error // by name, so that near misses are looked for once
	drafts   map[draftKey]*draft
	ports    map[Listen][]*draft // in declaration order
	sockets  map[Listen]*Rule    // by Listen.Socket, the first rule
	pools    pools
}

// announced is a Service; problem says why no rule can use it.
type announced struct {
	Service
	problem   error
	transport func(host string) string // Key of the Transport to a server written as host
}

func newAnnounced(s Service) *announced {
	return &announced{s, s.check(), health.KeyFor(s.TLS, uint8(s.ProxyProtocol))}
}

// draft is an Entry in the making: one match and the rules that have it.
type draft struct {
	ranked
	rule     Rule
	rewrites []rewrite
	redirect *regexp.Regexp
	shares   []share
}

type draftKey struct {
	Listen
	match string
}

func (c *compiler) addService(s Service) {
	if first := c.services[s.Name]; first != nil {
		c.problems = append(c.problems, Problem{
			Origin: s.Origin, Other: first.Origin, Fatal: true,
			Reason: fmt.Sprintf("service %q is announced twice; the first one counts", s.Name),
		})
		return
	}
	c.services[s.Name] = newAnnounced(s)
	if err := c.services[s.Name].problem; err != nil {
		c.problems = append(c.problems, Problem{
			Origin: s.Origin, Fatal: true,
			Reason: fmt.Sprintf("service %q: %s", s.Name, err),
		})
	}
	if s.TLS != nil && s.TLS.Insecure {
		c.problems = append(c.problems, Problem{
			Origin: s.Origin, Risk: true,
			Reason: fmt.Sprintf("service %q: tls: insecure_skip_verify: whoever is on the way to its servers can pose as them, and read and change everything; want ca", s.Name),
		})
	}
}

// addRule checks a rule and joins it with those of the same match.
func (c *compiler) addRule(r Rule, declared int) {
	m, err := c.check(&r)
	var rewrites []rewrite
	var redirect *regexp.Regexp
	if err == nil {
		rewrites, redirect, err = r.compileEdits()
	}
	if err != nil {
		c.problems = append(c.problems, Problem{Origin: r.Origin, Rule: r.Title(), Reason: err.Error(), Fatal: true})
		return
	}
	l := r.Listen()
	if r.Name == "" {
		r.Name = derivedName(l, m)
	}
	if p := c.claim(l, &r); p != nil {
		c.problems = append(c.problems, *p)
		return
	}
	key := draftKey{l, m.key}
	d := c.drafts[key]
	if d == nil {
		d = &draft{ranked: ranked{m, r.Priority, declared}, rule: r, rewrites: rewrites, redirect: redirect}
		c.drafts[key] = d
		c.ports[l] = append(c.ports[l], d)
	} else if option := c.differs(d, &r); option != "" {
		c.problems = append(c.problems, Problem{
			Origin: r.Origin, Other: d.rule.Origin, Rule: r.Name, Fatal: true,
			Reason: fmt.Sprintf("rule %q has the same match but another %s; want the same, or another match", d.rule.Name, option),
		})
		return
	}
	d.rule.ACME = d.rule.ACME || r.ACME
	if r.forwards() {
		d.shares = append(d.shares, share{c.services[r.Service], r.TargetPort, weightOf(r.Weight), r.Share, r.Divides})
	}
}

// derivedName is how a rule without a name is called: "80 arzur.net/blog".
func derivedName(l Listen, m *match) string {
	at := fmt.Sprint(l.Port)
	if l.Address.IsValid() {
		at = Listen{Address: l.Address, Port: l.Port}.String()
	}
	if l.Protocol == UDP {
		at += "/udp" // the same port may have a rule for tcp
	}
	return at + " " + m.String()
}

// differs is differs of the rules, and of how their servers are spoken to: a
// Pool does that in one way.
func (c *compiler) differs(d *draft, r *Rule) string {
	if option := differs(&d.rule, r); option != "" {
		return option
	}
	if len(d.shares) > 0 && r.forwards() && d.shares[0].service.transport("") != c.services[r.Service].transport("") {
		return "tls or proxy_protocol of its service"
	}
	return ""
}

// differs names the first option in which two rules of one match differ, "" for none.
func differs(a, b *Rule) string {
	same := func(x, y any) bool { return reflect.DeepEqual(x, y) }
	switch {
	case !same(a.Redirect, b.Redirect):
		return "redirect"
	case a.StripPrefix != b.StripPrefix:
		return "strip_prefix"
	case a.AddPrefix != b.AddPrefix:
		return "add_prefix"
	case a.ReplacePath != b.ReplacePath:
		return "replace_path"
	case !same(a.Rewrites, b.Rewrites):
		return "rewrite"
	case a.ServerHost != b.ServerHost:
		return "host header"
	case a.Refuse != b.Refuse:
		return "protection"
	case !a.RequestHeaders.equal(&b.RequestHeaders):
		return "request_headers"
	case !a.ResponseHeaders.equal(&b.ResponseHeaders):
		return "response_headers"
	}
	return ""
}

func (e *HeaderEdit) equal(o *HeaderEdit) bool {
	return slices.Equal(e.Set, o.Set) && slices.Equal(e.Add, o.Add) && slices.Equal(e.Remove, o.Remove)
}

// check validates a rule, fills in its defaults and compiles its match.
func (c *compiler) check(r *Rule) (*match, error) {
	if r.Port == 0 {
		return nil, errors.New("source_port: 0 is not a port; want 1 to 65535")
	}
	r.normalize()
	if err := r.checkProtocol(); err != nil {
		return nil, err
	}
	if w := weightOf(r.Weight); w < 0 || w > mostWeight {
		return nil, fmt.Errorf("weight: %d is out of range; want 0 to %d", w, mostWeight)
	}
	if !(r.Share >= 0 && r.Share <= MostShare) {
		return nil, fmt.Errorf("share: %v is out of range; want 0 to %d", r.Share, MostShare)
	}
	r.TargetPort = cmp.Or(r.TargetPort, r.Port)
	if err := r.checkEdits(); err != nil {
		return nil, err
	}
	if err := c.checkTarget(r); err != nil {
		return nil, err
	}
	return newMatch(r)
}

func (c *compiler) checkTarget(r *Rule) error {
	switch {
	case r.Refuse != "":
		return nil
	case r.Redirect != nil && r.Service != "" && r.Redirect.Pattern == "":
		return errors.New("redirect and service exclude each other; take one of them out")
	case r.Redirect != nil:
		redirect := *r.Redirect
		if !redirect.ByMethod {
			redirect.Code = cmp.Or(redirect.Code, 302)
		}
		r.Redirect = &redirect
		if err := redirect.check(); err != nil || r.Service == "" {
			return err
		}
	case r.Service == "":
		return errors.New("service: missing; want the name of a service, or a redirect")
	}
	s := c.services[r.Service]
	if s == nil {
		return c.unknownService(r.Service)
	}
	if s.problem != nil {
		return fmt.Errorf("service %q (%s): %w", s.Name, s.Origin, s.problem)
	}
	if err := s.checkProtocol(r.Protocol); err != nil {
		return fmt.Errorf("service %q (%s): %w", s.Name, s.Origin, err)
	}
	return nil
}

// mostNames is how many services an error lists.
const mostNames = 10

func (c *compiler) unknownService(name string) error {
	if err := c.unknown[name]; err != nil {
		return err
	}
	if c.names == nil {
		c.names = slices.Sorted(maps.Keys(c.services))
	}
	known, text := c.names, fmt.Sprintf("service: unknown service %q", name)
	// Looking for near misses of a thousand names among a thousand takes a second.
	if len(c.unknown) < 100 {
		if near := NearMisses(name, known); len(near) > 0 {
			text += fmt.Sprintf("; did you mean %q?", near[0])
		}
	}
	switch n := len(known); {
	case n == 0:
		text += "; there are no services"
	case n > mostNames:
		text += fmt.Sprintf("; known are %s and %d more", strings.Join(known[:mostNames], ", "), n-mostNames)
	default:
		text += "; known are " + strings.Join(known, ", ")
	}
	c.unknown[name] = errors.New(text)
	return c.unknown[name]
}

// build turns the drafts into the Table, port by port.
func (c *compiler) build() {
	listens := make([]Listen, 0, len(c.ports))
	for l := range c.ports {
		listens = append(listens, l)
	}
	slices.SortFunc(listens, compareListen)
	for _, l := range listens {
		c.buildPort(l, c.ports[l])
	}
	c.table.pools = c.pools.all
	c.table.backends = c.pools.uses
}

func (c *compiler) buildPort(l Listen, drafts []*draft) {
	slices.SortFunc(drafts, orderOf(drafts))
	x := newIndex()
	port := &PortTable{index: x, proxyIn: c.sockets[l.Socket()].ProxyIn}
	open := x // the rules that can cover others
	if slices.ContainsFunc(drafts, func(d *draft) bool { return !d.open() }) {
		open = newIndex()
	}
	for rank, d := range drafts {
		e := &Entry{ID: len(c.table.entries), Rule: &d.rule, Listen: l, match: d.match}
		e.rewrites, e.redirect = d.rewrites, d.redirect
		if d.rule.forwards() {
			e.Pool = c.pools.of(d)
		}
		if by := open.coveredBy(d.match); by != nil {
			c.problems = append(c.problems, Problem{
				Origin: d.rule.Origin, Other: by.Rule.Origin, Rule: d.rule.Name,
				Reason: fmt.Sprintf("can never be reached: rule %q comes first and takes all of its requests", by.Rule.Name),
			})
		}
		if d.rule.ACME && len(e.Hosts()) == 0 {
			c.problems = append(c.problems, Problem{
				Origin: d.rule.Origin, Rule: d.rule.Name,
				Reason: "asks for a certificate by ACME, but names no host in full; want a hostname without a star, or a certificate under certs",
			})
		}
		x.add(rank, e)
		port.add(e)
		if open != x && d.open() {
			open.add(rank, e)
		}
		c.table.entries = append(c.table.entries, e)
	}
	c.table.ports[l] = port
}

// orderOf is Rancher's order when all rules of the port want it.
func orderOf(drafts []*draft) func(a, b *draft) int {
	compare := compareRancher
	if slices.ContainsFunc(drafts, func(d *draft) bool { return d.rule.Order != OrderRancher }) {
		compare = compareDefault
	}
	return func(a, b *draft) int { return compare(&a.ranked, &b.ranked) }
}
