package configs

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"arzur.net/lb/rules"
)

// sockets is where a rule listens, and what is spoken there.
type sockets struct {
	ports     []uint16
	protocols []string // one for each port once settled; "" is the default
	tls       string   // "", "true", "false", or "acme"
	redirect  bool     // http ports lead to the first https port, or to 443
}

// listOf reads one value or a list of them.
func listOf[T any](v value, read func(value) T) (list []T) {
	if v.node.Kind != yaml.SequenceNode {
		return []T{read(v)}
	}
	for _, item := range v.items() {
		list = append(list, read(item))
	}
	return list
}

// settle gives each port its protocol. Of v, the rule, it reports what does not
// go together.
func (s *sockets) settle(v value) {
	secure := s.tls == "acme" || s.tls == "true"
	if len(s.protocols) == 0 && secure {
		s.protocols = []string{rules.HTTPS}
	}
	if len(s.protocols) == 0 {
		s.protocols = []string{""}
	}
	if len(s.protocols) == 1 {
		s.protocols = slices.Repeat(s.protocols, max(1, len(s.ports)))
	}
	switch {
	case len(s.ports) > 0 && len(s.protocols) != len(s.ports):
		v.fail("protocol: %d words for %d source ports, and a port speaks one; want one for all, or one for each", len(s.protocols), len(s.ports))
	case secure && !slices.ContainsFunc(s.protocols, terminates):
		v.fail("tls: protocol %s needs no certificate; want https or tls, or leave protocol out", s.protocols[0])
	case s.redirect && !slices.ContainsFunc(s.protocols, isHTTP):
		v.fail("https_redirect: there is no http port that could lead to https; want source_port: [80, 443] and protocol: [http, https]")
	}
}

// terminates says whether it takes a certificate to speak the protocol.
func terminates(protocol string) bool { return protocol == rules.HTTPS || protocol == rules.TLS }

func isHTTP(protocol string) bool { return protocol == "" || protocol == rules.HTTP }

// first is the port that servers listen on which say nothing else; 0 without a port.
func (s *sockets) first() uint16 {
	if len(s.ports) == 0 {
		return 0
	}
	return s.ports[0]
}

// each is the rule once for each of its sockets.
func (r *named) each() (all []*named) {
	s := &r.sockets
	if len(s.ports) == 0 || len(s.protocols) != len(s.ports) {
		return []*named{r} // incomplete, and reported
	}
	for i, port := range s.ports {
		one := *r
		one.Port, one.Protocol = port, s.protocols[i]
		one.ACME = s.tls == "acme" && terminates(one.Protocol)
		if len(s.ports) > 1 {
			if r.Name != "" {
				one.Name = fmt.Sprintf("%s %d", r.Name, port)
			}
			if one.TargetPort == 0 && r.Service != "" {
				one.TargetPort = s.first()
			}
		}
		if s.redirect && isHTTP(one.Protocol) {
			one.toHTTPS()
		}
		all = append(all, &one)
	}
	return all
}

// toHTTPS turns the rule into one that leads its requests to https, on the port
// that has it.
func (r *named) toHTTPS() {
	to := &rules.Redirect{Scheme: "https", ByMethod: true}
	if i := slices.Index(r.sockets.protocols, rules.HTTPS); i >= 0 && r.sockets.ports[i] != 443 {
		to.Port = r.sockets.ports[i]
	}
	r.Rule = rules.Rule{
		Name: r.Name, Origin: r.Origin, Port: r.Port, Address: r.Address, Protocol: r.Protocol, ProxyIn: r.ProxyIn,
		Hostname: r.Hostname, Path: r.Path, PathMatch: r.PathMatch, Expr: r.Expr, Priority: r.Priority, Order: r.Order,
		Redirect: to,
	}
}
