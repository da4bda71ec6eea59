package configs

import (
	"fmt"
	"path/filepath"
	"strings"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// stack is what the compose files of one folder say together.
type stack struct {
	name     string
	folder   string
	files    []string
	services map[string]*composeService // by lower-case name
	order    []*composeService
}

// composeService is one service of a stack, gathered from all its files.
type composeService struct {
	stack    *stack
	name     string // as spelt where it was first seen
	at       value
	image    string
	config   value // lb_config
	rules    []*named
	check    *health.Check
	external []rules.Instance // where an external service lives
	certs    stackCerts       // as lb_config has them
	labelled stackCerts       // as labels have them

	service *rules.Service // once a rule has named it
}

// kind says what a service of a stack is.
type kind uint8

const (
	normal   kind = iota
	external      // addresses outside the stack
	legacy        // a load balancer of the first kind, made of links and labels
	balancer      // what this program is
	alias         // its links are its members
)

// kind decides as Rancher does; the first that applies.
func (c *composeService) kind() kind {
	switch {
	case len(c.external) != 0:
		return external
	case is(c.image, "rancher/load-balancer-service"):
		return legacy
	case c.listens():
		return balancer
	case is(c.image, "rancher/dns-service"):
		return alias
	}
	return normal
}

// isTarget says whether a rule may lead there.
func (c *composeService) isTarget() bool {
	k := c.kind()
	return k == normal || k == external
}

// listens says whether a rule has a port of its own to listen on.
func (c *composeService) listens() bool {
	for _, r := range c.rules {
		if r.Port != 0 {
			return true
		}
	}
	return false
}

// is says whether image is name, at any version and from any registry.
func is(image, name string) bool {
	at := strings.LastIndexByte(image, '/')
	if colon := strings.IndexByte(image[at+1:], ':'); colon >= 0 {
		image = image[:at+1+colon]
	}
	return image == name || strings.HasSuffix(image, "/"+name)
}

// assemble takes over the rules of a stack whose files have all been read.
func (l *loader) assemble(s *stack) {
	found := false
	for _, c := range s.order {
		switch {
		case c.kind() == legacy:
			found = true
			c.at.warn(true, "load balancers of the first kind (links and labels) are not supported yet; its rules are left out")
		case c.kind() == balancer:
			found = true
			l.balancer(c)
			l.certificates(c)
		case c.config.node != nil:
			c.config.warn(false, "no port_rules with a source_port; only selector rules would use it, which are not supported yet")
		}
		if c.kind() != balancer && c.labelled.at.node != nil {
			c.labelled.at.warn(false, "label without effect: the service is no load balancer, it has no lb_config with a source_port")
		}
	}
	if !found && len(s.order) != 0 {
		s.order[0].at.warn(false, "no service of stack %q has an lb_config with a source_port; there is nothing to route", s.name)
	}
}

// balancer takes over the rules of a load balancer service.
func (l *loader) balancer(c *composeService) {
	for _, r := range c.rules {
		left := false
		r.unsupportedTargets(func(v value, fatal bool) {
			left = left || fatal
			if fatal {
				v.warn(true, "not supported yet; the rule is left out")
			} else {
				v.warn(false, "not supported yet, without effect beside service")
			}
		})
		switch {
		case left:
		case r.port.node == nil:
			r.at.warn(true, "source_port is missing; the rule is left out")
		default:
			if r.Port == 42 {
				r.port.warn(false, "Rancher reserves port 42 for its health check of load balancers")
			}
			l.rules = append(l.rules, r.each()...)
		}
	}
}

// stackTarget makes a rule of a stack name its service. It is false when there
// is none.
func (l *loader) stackTarget(r *named) bool {
	s, parts := r.stack, strings.Split(r.Service, "/")
	if len(parts) > 2 {
		r.service.warn(true, "%q is in another environment, which is not supported yet; the rule is left out", r.Service)
		return false
	}
	if len(parts) == 2 && !strings.EqualFold(parts[0], s.name) {
		l.elsewhere(r)
		return true
	}
	name := parts[len(parts)-1]
	c := s.services[strings.ToLower(name)]
	if c == nil && strings.EqualFold(r.Service, s.name) {
		c = s.guess(r)
	}
	if c == nil {
		hint := didYouMean(name, s.targets())
		switch {
		case hint != "":
		case len(s.files) == 1 && strings.HasPrefix(filepath.Base(s.files[0]), "rancher-compose."):
			hint = "; the stack's docker-compose.yml may know it, add it with -config"
		case len(parts) == 1 && len(s.targets()) == 1 && l.stackName == "":
			hint = fmt.Sprintf("; if that is the stack's own name, say so with -stack %s", name)
		}
		r.service.warn(true, "unknown service %q in stack %q, the rule is left out%s", r.Service, s.name, hint)
		return false
	}
	switch c.kind() {
	case legacy, balancer:
		r.service.warn(true, "%q is a load balancer itself; the rule is left out", c.name)
		return false
	case alias:
		r.service.warn(true, "%q is an alias, which is not supported yet; the rule is left out", c.name)
		return false
	}
	r.Service = l.member(c).Name
	return true
}

// guess takes the stack's own name for its service when there is only one. It
// is what people write who named the stack after it.
func (s *stack) guess(r *named) *composeService {
	targets := s.targets()
	if len(targets) != 1 {
		return nil
	}
	for _, c := range targets {
		r.service.warn(false, "%q is no service but the name of the stack; taken as %q, the only service in it that is not a load balancer",
			r.Service, c.name)
		return c
	}
	return nil
}

// targets are the services of a stack that are not load balancers.
func (s *stack) targets() map[string]*composeService {
	found := map[string]*composeService{}
	for _, c := range s.order {
		if k := c.kind(); k != balancer && k != legacy {
			found[c.name] = c
		}
	}
	return found
}

// member is the Service of a compose service. Inside its stack's network its
// name is a DNS name.
func (l *loader) member(c *composeService) *rules.Service {
	if c.service != nil {
		return c.service
	}
	name := c.stack.name + "/" + c.name
	if c.service = l.byName[name]; c.service != nil {
		c.at.warn(false, "service %q is declared at %s, which is used instead", name, c.service.Origin)
		return c.service
	}
	c.service = &rules.Service{Name: name, Origin: c.at.origin(), Check: c.check, Instances: c.external}
	if len(c.external) == 0 {
		c.service.Instances = c.at.dnsName(c.name)
	}
	l.addService(c.service)
	return c.service
}
