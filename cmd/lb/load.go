package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"arzur.net/lb/configs"
	"arzur.net/lb/rules"
)

// loaded is a configuration that can be served.
type loaded struct {
	*configs.Config
	table    *rules.Table    // of Backends that nobody else knows, for a look at it
	problems []rules.Problem // what is not in force
}

// load reads the configuration that f names and judges it as a whole. The error
// has one line per mistake.
func (f *flags) load() (*loaded, error) {
	if len(f.configs) == 0 {
		c := configs.Default()
		return f.judge(&c)
	}
	c, err := configs.Load(f.configs, f.stack)
	if err != nil {
		return nil, err
	}
	return f.judge(c)
}

// judge finds what only all rules together show. A mistake in a rules file
// condemns the configuration; in a stack's own files, which were written for
// another program, it costs the rule alone, unless no rule is left.
func (f *flags) judge(c *configs.Config) (*loaded, error) {
	if f.admin != "" {
		c.Admin.Address = f.admin
	}
	if c.Admin.Address == "off" {
		c.Admin.Address = ""
	}
	if f.loops != 0 {
		c.Defaults.Loops = f.loops
	}
	if c.Sources.Docker == nil && (f.docker || f.swarm) {
		c.Sources.Docker = configs.NewDocker()
	}
	if f.swarm {
		c.Sources.Docker.Swarm = true
	}
	if c.Sources.Consul == nil && f.consul {
		c.Sources.Consul = configs.NewConsul()
	}
	table, problems := rules.Compile(rules.Input{Rules: c.Rules, Services: c.Services}, rules.NoBackends{})
	l := &loaded{c, table, slices.Concat(c.Problems, problems)}
	var errs []error
	for i := range problems {
		if p := &problems[i]; !p.Risk && !l.inStack(p.Origin) {
			errs = append(errs, problemError(p))
		}
	}
	if len(errs) == 0 && len(table.Entries()) == 0 && !c.Sources.Announce() {
		for i := range l.problems {
			errs = append(errs, problemError(&l.problems[i]))
		}
		errs = append(errs, fmt.Errorf("%s: no rule to serve; want port_rules", strings.Join(c.Files, ", ")))
	}
	errs = append(errs, adminInTheWay(c.Admin.Address, table))
	if k := c.Sources.Consul; k != nil && k.Register != nil {
		if k.Register.Admin = c.Admin.Address; k.Register.Admin == "" {
			errs = append(errs, errors.New("sources.consul.register: Consul checks the admin listener, and that is off; give it an address (admin: {address: ...}, -admin)"))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return l, nil
}

// inStack says whether "file:line" is in a compose file.
func (l *loaded) inStack(origin string) bool {
	file, _, _ := cutLast(origin, ":")
	return slices.Contains(l.StackFiles, file)
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// problemError is a Problem as a line of text.
func problemError(p *rules.Problem) error {
	text := p.Origin + ": "
	if p.Rule != "" {
		text += fmt.Sprintf("rule %q: ", p.Rule)
	}
	text += p.Reason
	if p.Other != "" {
		text += " (" + p.Other + ")"
	}
	return errors.New(text)
}

// adminInTheWay finds the rule that wants the admin listener's port, because
// "in use by another program" would not be true.
func adminInTheWay(address string, t *rules.Table) error {
	for _, e := range t.Entries() {
		if takes(address, e.Listen) {
			return fmt.Errorf("%s: source_port %d is the admin listener's, %s; choose another of the two (admin: {address: ...}, -admin)",
				e.Rule.Origin, e.Listen.Port, address)
		}
	}
	return nil
}

// takes says whether the admin listener at address is in the way of l.
func takes(address string, l rules.Listen) bool {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port != 0 && l.Port == uint16(port) && l.Protocol != rules.UDP &&
		(!l.Address.IsValid() || l.Address.String() == host || l.Address.IsUnspecified())
}
