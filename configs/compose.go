package configs

import (
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"arzur.net/lb/discovery"
	"arzur.net/lb/rules"
)

// isCompose tells a compose file from a rules file.
func isCompose(name string, top *yaml.Node) bool {
	switch filepath.Base(name) {
	case "docker-compose.yml", "docker-compose.yaml", "rancher-compose.yml", "rancher-compose.yaml":
		return true
	}
	for i := 0; i < len(top.Content); i += 2 {
		if top.Content[i].Value == "version" {
			return true
		}
	}
	return false
}

// ordinary are the top-level keys of compose files that say nothing about routing.
var ordinary = map[string]bool{
	"version": true, "services": true, "networks": true, "volumes": true,
	"secrets": true, "configs": true, "name": true, "catalog": true, ".catalog": true,
}

// composeFile reads one of a stack's files. They say different things about the
// same services, so nothing is decided before all have been read.
func (l *loader) composeFile(top value) {
	s := l.stackOf(top)
	s.files = append(s.files, top.doc.name)
	version := false
	for _, m := range top.members() {
		switch {
		case m.key == "version":
			version = true
			if text := m.text(); text != "2" && !strings.HasPrefix(text, "2.") {
				m.fail("want version '2', got %s", m.describe())
			}
		case m.key == "services":
			for _, service := range m.members() {
				s.merge(l, service)
			}
		case !ordinary[m.key] && !strings.HasPrefix(m.key, "x-"):
			m.warn(false, "has no effect in a compose file%s", didYouMean(m.key, ordinary))
		}
	}
	if !version {
		top.doc.failAt(top.node.Line, "version is missing; want version: '2', and services under services (files of version 1 are not read)")
	}
}

// stackOf is the stack that a compose file belongs to.
func (l *loader) stackOf(top value) *stack {
	folder := filepath.Dir(top.doc.name)
	if abs, err := filepath.Abs(folder); err == nil {
		folder = abs
	}
	name := l.stackName
	if name == "" {
		name = filepath.Base(folder)
	} else {
		folder = "" // all compose files are this one stack's
	}
	for _, s := range l.stacks {
		if s.folder == folder {
			return s
		}
		if strings.EqualFold(s.name, name) {
			top.doc.failAt(0, "stack %q is also in %s; rename a folder, or make both one stack with -stack", name, s.folder)
		}
	}
	s := &stack{name: name, folder: folder, services: map[string]*composeService{}}
	l.stacks = append(l.stacks, s)
	return s
}

// merge adds what one file says about a service.
func (s *stack) merge(l *loader, m member) {
	c := s.services[strings.ToLower(m.key)]
	if c == nil {
		c = &composeService{stack: s, name: m.key, at: m.value}
		s.services[strings.ToLower(m.key)] = c
		s.order = append(s.order, c)
	}
	read := c.keys(l)
	var hostname value
	image := false
	for _, m := range m.members() {
		if m.isNull() {
			continue
		}
		switch {
		case read[m.key] != nil:
			if l.first(s.folder+" "+c.name+" "+m.key, m.value) {
				read[m.key](m.value)
			}
		case m.key == "hostname":
			hostname = m.value
		case m.key == "labels":
			c.labels(m.value)
		case m.key == "build":
			image = true
		default:
			m.misspelt()
		}
		image = image || m.key == "image" && !is(m.node.Value, "rancher/external-service")
	}
	// Beside an image hostname is what the container calls itself; without one,
	// as in rancher-compose.yml, it is where an external service lives.
	if hostname.node != nil && !image {
		c.external = append(c.external, hostname.externalHost()...)
	}
}

// misspelt reports a key that is nearly one of ours. All others are the
// orchestrator's.
func (m member) misspelt() {
	if m.key == "healthcheck" || m.key == "external_links" {
		return // Docker's own
	}
	ours := []string{"lb_config", "health_check", "external_ips", "hostname", "image", "labels"}
	if near := rules.NearMisses(m.key, ours); len(near) > 0 {
		m.warn(false, "has no effect; did you mean %q?", near[0])
	}
}

// keys are the keys of a compose service that mean something to us.
func (c *composeService) keys(l *loader) fields {
	known := fields{
		"image":     func(v value) { c.image = v.text() },
		"lb_config": func(v value) { c.lbConfig(l, v) },
		"external_ips": func(v value) {
			for _, item := range v.items() {
				if a := item.address(); a.IsValid() {
					c.external = append(c.external, rules.Instance{Host: a.String(), Addr: a})
				}
			}
		},
		"health_check": into(&c.check, value.healthCheck),
	}
	for key, what := range map[string]string{
		"load_balancer_config": "the configuration of load balancers of the first kind",
		"certs":                "certificates", "default_cert": "certificates",
		"drain_timeout_ms": "draining on Rancher's word",
	} {
		known[key] = notYet(what)
	}
	return known
}

// notYet reports a key that means something and has no effect yet.
func notYet(what string) func(value) {
	return func(v value) { v.warn(false, "%s: not supported yet, without effect", what) }
}

func (v value) externalHost() []rules.Instance {
	host := v.text()
	if !discovery.IsDNSName(host) {
		v.fail("want a DNS name, got %s", v.describe())
		return nil
	}
	return []rules.Instance{{Host: host}}
}

// lbConfig reads a service's lb_config: Rancher's port_rules, and our own
// sections, so that a stack can be configured in its own files alone.
func (c *composeService) lbConfig(l *loader, v value) {
	c.config = v
	compat := rules.OrderRancher
	var list value
	known := l.sections()
	known["port_rules"] = func(v value) { list = v }
	known["compat"] = into(&compat, readCompat)
	known["certs"] = c.certs.readList
	known["default_cert"] = c.certs.readStandard
	for key, what := range later {
		known[key] = notYet(what)
	}
	v.object(known)
	if list.node == nil {
		return
	}
	for _, item := range list.items() {
		r := item.portRule(compat == rules.OrderRancher)
		r.Order, r.stack = compat, c.stack
		c.rules = append(c.rules, r)
	}
}

// labels takes what labels say of certificates, and reports those that steer a
// load balancer and have no effect yet.
func (c *composeService) labels(v value) {
	read := func(v value, key, text string) {
		switch {
		case key == certDir || key == defaultCertDir:
			c.labelled.readLabel(v, key, text)
		case strings.HasPrefix(key, "io.rancher.loadbalancer."), key == "io.rancher.service.selector.link",
			strings.HasPrefix(key, "io.rancher.lb_service.") && (key != "io.rancher.lb_service.target" || text != "any"):
			v.warn(false, "label %s: not supported yet, without effect", key)
		}
	}
	if v.node.Kind == yaml.SequenceNode {
		for _, item := range v.items() {
			key, text, _ := strings.Cut(item.text(), "=")
			read(item, key, text)
		}
		return
	}
	for _, m := range v.members() {
		read(value{v.doc, m.node, v.path, m.keyLine}, m.key, m.node.Value)
	}
}
