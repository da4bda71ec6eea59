package discovery

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"arzur.net/lb/rules"
	"arzur.net/lb/rules/labels"
)

// surroundings are what the place of lb itself decides about addresses.
type surroundings struct {
	*DockerConfig
	own        *container // the one that lb runs in; nil outside of all, and on the host's network
	remote     string     // host of the Engine if it is on another machine than lb
	containers map[string]*container
	links      []netip.Prefix // of DockerConfig.links, once one was needed
}

// place finds the address and the port of c for a group.
func (s *surroundings) place(c *container, w *labels.Wants, g *labels.Group) placement {
	if g.Host != "" {
		return placement{instances: []rules.Instance{instanceAt(g.Host, g.Port)}}
	}
	number, hint := choosePort(c, g)
	if number == 0 {
		return placement{missing: "there is no port: none is exposed, and no label says one" + suchAs(g)}
	}
	var p placement
	p.hint(hint)
	at, hint := s.published(c, number, w.Network)
	p.hint(hint)
	if at.IsValid() {
		p.instances = []rules.Instance{instanceOf(at.Addr(), at.Port())}
		return p
	}
	host, hint, missing := s.address(c, w.Network)
	p.hint(hint)
	if p.missing = missing; missing == "" {
		p.instances = []rules.Instance{instanceAt(host, number)}
	}
	return p
}

// suchAs is the end of a sentence about a port that is missing.
func suchAs(g *labels.Group) string {
	if g.PortLabel == "" {
		return ""
	}
	return ", such as " + g.PortLabel + "=80"
}

func (p *placement) hint(text string) {
	if text != "" {
		p.hints = append(p.hints, text)
	}
}

func instanceAt(host string, port uint16) rules.Instance {
	addr, _ := netip.ParseAddr(host) // else it is a name
	return rules.Instance{Host: host, Addr: addr, Port: port}
}

func instanceOf(addr netip.Addr, port uint16) rules.Instance {
	return rules.Instance{Host: addr.String(), Addr: addr, Port: port}
}

// choosePort is the label's port, else the only exposed one, else the lowest.
func choosePort(c *container, g *labels.Group) (number uint16, hint string) {
	switch {
	case g.Port != 0:
		return g.Port, ""
	case len(c.ports) == 0:
		return 0, ""
	case len(c.ports) > 1:
		return c.ports[0].number, fmt.Sprintf("service %q: %d ports are exposed and no label says which; the lowest, %d, counts",
			g.Service.Name, len(c.ports), c.ports[0].number)
	}
	return c.ports[0].number, ""
}

// address is where c can be reached; if it cannot, missing says why.
func (s *surroundings) address(c *container, label string) (host, hint, missing string) {
	if a := find(c.networks, label); a != nil {
		return a.addr.String(), "", ""
	}
	if label != "" {
		hint = fmt.Sprintf("it is not in network %q, which a label names, %s", label, listNetworks(c.networks))
	}
	if a := find(c.networks, s.Network); a != nil {
		return a.addr.String(), hint, ""
	}
	if other := c.networkOf(); other != "" {
		return s.addressOf(other, c, label)
	}
	if c.onHost() {
		return s.host(), hint, ""
	}
	reached := slices.DeleteFunc(slices.Clone(c.networks), func(a attachment) bool { return !a.addr.IsValid() })
	if len(reached) == 0 {
		return "", hint, "it has no address: it is in no network"
	}
	if shared := slices.IndexFunc(reached, s.shares); shared >= 0 {
		return reached[shared].addr.String(), hint, ""
	}
	if len(reached) > 1 && s.beside() && slices.ContainsFunc(reached, s.linked) {
		reached = slices.DeleteFunc(reached, func(a attachment) bool { return !s.linked(a) })
	}
	if len(reached) > 1 && hint == "" {
		hint = fmt.Sprintf("it is in several networks and no label says which; %q counts, %s", reached[0].network, listNetworks(reached))
	}
	return reached[0].addr.String(), hint, ""
}

// find is the attachment with an address in the network of that name.
func find(list []attachment, name string) *attachment {
	for i := range list {
		if list[i].network == name && list[i].addr.IsValid() {
			return &list[i]
		}
	}
	return nil
}

func listNetworks(list []attachment) string {
	if len(list) == 0 {
		return "but in none"
	}
	return "of " + strings.Join(networkNames(list), ", ")
}

func networkNames(list []attachment) (names []string) {
	for _, a := range list {
		names = append(names, a.network)
	}
	return names
}

// shares says whether lb is in the same network.
func (s *surroundings) shares(a attachment) bool {
	return s.own != nil && slices.ContainsFunc(s.own.networks, func(o attachment) bool {
		return o.network == a.network && (o.networkID == "" || a.networkID == "" || o.networkID == a.networkID)
	})
}

// addressOf is the address of another container, whose network c uses.
func (s *surroundings) addressOf(id string, c *container, label string) (host, hint, missing string) {
	other := s.containers[id]
	for _, o := range s.containers {
		if o.name == id {
			other = o
		}
	}
	if other == nil || other.networkOf() != "" {
		return "", "", fmt.Sprintf("it has no address: it uses the network of container %q, which is not there", id)
	}
	if own := other.labels["traefik.docker.network"]; own != "" && label == "" {
		label = own
	}
	return s.address(other, label)
}

// host is the address of the machine that the containers are on, seen from lb.
func (s *surroundings) host() string {
	if s.remote != "" {
		return s.remote
	}
	if s.own != nil {
		for _, a := range s.own.networks {
			if a.gateway.IsValid() {
				return a.gateway.String()
			}
		}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1}).String()
}
