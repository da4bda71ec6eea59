package discovery

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"arzur.net/lb/rules/labels"
)

// container is what is known of one. It is replaced, not changed.
type container struct {
	id, name   string
	created    time.Time
	labels     map[string]string
	state      api.ContainerState
	health     api.HealthStatus
	mode       string        // "bridge", a network's name, "host", "container:<id>", ...
	networks   []attachment  // by name
	ports      []port        // exposed TCP ports, in ascending order
	stopSignal string        // "" is SIGTERM; known after an inspection
	stopTime   time.Duration // what it gets to stop; likewise
}

// attachment is a container's place in a network.
type attachment struct {
	network, networkID string
	addr, gateway      netip.Addr
}

// port is an exposed port and, if it is published, where.
type port struct {
	number uint16
	at     []netip.AddrPort // on the host; no address means all
}

// ofSummary is a container as the list has it. The list tells nothing of the
// ports that one exposes without a network of its own.
func ofSummary(s *api.Summary) *container {
	c := &container{
		id: s.ID, name: nameOf(s.Names), created: time.Unix(s.Created, 0), labels: s.Labels,
		state: s.State, health: healthOf(s), mode: s.HostConfig.NetworkMode,
	}
	if s.NetworkSettings != nil {
		c.networks = attachments(s.NetworkSettings.Networks)
	}
	for _, p := range s.Ports {
		if p.Type == "tcp" {
			c.expose(p.PrivatePort, netip.AddrPortFrom(p.IP, p.PublicPort))
		}
	}
	return c
}

// ofInspection is a container as an inspection shows it.
func ofInspection(i *api.InspectResponse) *container {
	created, _ := time.Parse(time.RFC3339Nano, i.Created) // else the oldest of all
	c := &container{
		id: i.ID, name: strings.TrimPrefix(i.Name, "/"),
		created: time.Unix(created.Unix(), 0), // all that the list knows
	}
	if i.Config != nil {
		c.labels, c.stopSignal = i.Config.Labels, i.Config.StopSignal
		if i.Config.StopTimeout != nil {
			c.stopTime = time.Duration(*i.Config.StopTimeout) * time.Second
		}
		for p := range i.Config.ExposedPorts {
			if p.Proto() == network.TCP {
				c.expose(p.Num(), netip.AddrPort{})
			}
		}
	}
	if i.State != nil {
		c.state = i.State.Status
		if i.State.Health != nil {
			c.health = i.State.Health.Status
		}
	}
	if i.HostConfig != nil {
		c.mode = string(i.HostConfig.NetworkMode)
	}
	if i.NetworkSettings == nil {
		return c
	}
	c.networks = attachments(i.NetworkSettings.Networks)
	for p, bindings := range i.NetworkSettings.Ports {
		if p.Proto() != network.TCP {
			continue
		}
		c.expose(p.Num(), netip.AddrPort{})
		for _, b := range bindings {
			number, _ := strconv.ParseUint(b.HostPort, 10, 16) // 0: not published
			c.expose(p.Num(), netip.AddrPortFrom(b.HostIP, uint16(number)))
		}
	}
	return c
}

// nameOf is the name that is not a link of another container.
func nameOf(names []string) string {
	for _, n := range names {
		if n = strings.TrimPrefix(n, "/"); !strings.Contains(n, "/") {
			return n
		}
	}
	return ""
}

// healthOf reads the health that older Engines have in a text alone, such as
// "Up 2 minutes (health: starting)".
func healthOf(s *api.Summary) api.HealthStatus {
	switch {
	case s.Health != nil:
		return s.Health.Status
	case strings.HasSuffix(s.Status, "(healthy)"):
		return api.Healthy
	case strings.HasSuffix(s.Status, "(unhealthy)"):
		return api.Unhealthy
	case strings.HasSuffix(s.Status, "(health: starting)"):
		return api.Starting
	}
	return api.NoHealthcheck
}

// attachments are the networks by name, so that the first is always the same.
func attachments(networks map[string]*network.EndpointSettings) []attachment {
	list := make([]attachment, 0, len(networks))
	for name, e := range networks {
		if e == nil {
			continue
		}
		a := attachment{network: name, networkID: e.NetworkID, addr: e.IPAddress, gateway: e.Gateway}
		if !a.addr.IsValid() {
			a.addr, a.gateway = e.GlobalIPv6Address, e.IPv6Gateway
		}
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b attachment) int { return cmp.Compare(a.network, b.network) })
	return list
}

// expose enters a port, and where it is published if at has a port.
func (c *container) expose(number uint16, at netip.AddrPort) {
	i, found := slices.BinarySearchFunc(c.ports, number, func(p port, n uint16) int { return cmp.Compare(p.number, n) })
	if !found {
		c.ports = slices.Insert(c.ports, i, port{number: number})
	}
	if at.Port() != 0 && !slices.Contains(c.ports[i].at, at) {
		c.ports[i].at = append(c.ports[i].at, at)
		slices.SortFunc(c.ports[i].at, netip.AddrPort.Compare)
	}
}

// networkOf is the ID of the container whose network it uses, "" if it has its own.
func (c *container) networkOf() string {
	id, shared := strings.CutPrefix(c.mode, "container:")
	if !shared {
		return ""
	}
	return id
}

func (c *container) onHost() bool { return c.mode == "host" }

// listHides says whether an inspection would show more than the list.
func (c *container) listHides() bool { return c.onHost() || c.networkOf() != "" }

// subject is the container as a carrier of labels.
func (c *container) subject() labels.Subject {
	s := labels.Subject{
		Name: c.name, Service: c.name, Group: c.name, Origin: "container " + c.name, Labels: c.labels,
		Project: c.labels["com.docker.compose.project"], Member: c.labels["com.docker.compose.service"],
	}
	if s.Project != "" && s.Member != "" {
		s.Service = labels.Normalize(s.Member + "_" + s.Project)
		s.Group = s.Project + "/" + s.Member
	}
	for _, p := range c.ports {
		s.Ports = append(s.Ports, p.number)
	}
	return s
}
