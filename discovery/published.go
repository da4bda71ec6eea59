package discovery

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// published is the address on the host that stands for port number of c, if that
// is to be used: because the configuration wants it, or because the networks of c
// do not lead here.
func (s *surroundings) published(c *container, number uint16, label string) (at netip.AddrPort, hint string) {
	i := slices.IndexFunc(c.ports, func(p port) bool { return p.number == number })
	if i < 0 || len(c.ports[i].at) == 0 {
		return netip.AddrPort{}, ""
	}
	for _, at := range c.ports[i].at {
		if a := at.Addr(); s.UseBindPortIP && a.IsValid() && !a.IsUnspecified() {
			return at, ""
		}
	}
	at = c.ports[i].at[0]
	if host, err := netip.ParseAddr(s.remote); err == nil {
		return netip.AddrPortFrom(host, at.Port()), ""
	}
	if !s.cutOff(c, label) {
		return netip.AddrPort{}, ""
	}
	if a := at.Addr(); !a.IsValid() || a.IsUnspecified() {
		at = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), at.Port())
	}
	return at, fmt.Sprintf("this machine is in none of its networks (%s), so that its published port counts, %s; a label or the configuration that names a network says otherwise",
		cmp.Or(strings.Join(networkNames(c.networks), ", "), "none"), at)
}

// beside says whether lb is outside of all containers, on the Engine's machine.
func (s *surroundings) beside() bool { return s.own == nil && s.remote == "" }

// cutOff says whether lb is beside the Engine and has no way into a network of c: with overlay networks, with an Engine without
// root or in a virtual machine. A network that somebody has named is believed in.
func (s *surroundings) cutOff(c *container, label string) bool {
	if !s.beside() || c.networkOf() != "" || c.onHost() || find(c.networks, label) != nil || find(c.networks, s.Network) != nil {
		return false
	}
	return !slices.ContainsFunc(c.networks, s.linked)
}

// linked says whether this machine is in the network.
func (s *surroundings) linked(a attachment) bool {
	if s.links == nil {
		links := ownLinks
		if s.DockerConfig.links != nil {
			links = s.DockerConfig.links
		}
		s.links = links()
	}
	return slices.ContainsFunc(s.links, func(p netip.Prefix) bool { return p.Contains(a.addr) })
}
