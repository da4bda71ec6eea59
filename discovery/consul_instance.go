package discovery

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"arzur.net/lb/rules"
)

// consulInstance is one instance, those that get no requests included: their
// labels still make rules.
type consulInstance struct {
	id      string // node and ID
	serving bool
	host    string
	port    uint16
	weight  int
	text    string // the labels; equal texts are equal labels
	labels  map[string]string
}

func (i *consulInstance) same(o *consulInstance) bool {
	a, b := *i, *o
	return a.id == b.id && a.serving == b.serving && a.host == b.host && a.port == b.port && a.weight == b.weight && a.text == b.text
}

// loses says whether an address gets no requests any more.
func loses(before, now []consulInstance) bool {
	return slices.ContainsFunc(before, func(b consulInstance) bool {
		return b.serving && !slices.ContainsFunc(now, func(n consulInstance) bool {
			return n.serving && n.host == b.host && n.port == b.port
		})
	})
}

// instances reads an answer.
func (c *ConsulConfig) instances(entries []*api.ServiceEntry) []consulInstance {
	list := make([]consulInstance, 0, len(entries))
	heaviest := 0
	for _, e := range entries {
		if e.Node == nil || e.Service == nil || e.Service.Kind != api.ServiceKindTypical {
			continue // a sidecar or gateway speaks TLS with certificates of its own
		}
		i := consulInstance{id: e.Node.Node + "/" + e.Service.ID, labels: c.labelsOf(e)}
		i.text = c.labelText(i.labels)
		i.host, i.port = c.address(e)
		i.serving, i.weight = c.judge(e)
		heaviest = max(heaviest, i.weight)
		list = append(list, i)
	}
	for i := range list {
		list[i].weight = scaled(list[i].weight, heaviest)
	}
	slices.SortFunc(list, func(a, b consulInstance) int { return strings.Compare(a.id, b.id) })
	return list
}

// judge says whether an instance gets requests, and with which weight.
func (c *ConsulConfig) judge(e *api.ServiceEntry) (serving bool, weight int) {
	weights := e.Service.Weights
	if weights == (api.AgentWeights{}) {
		weights = api.AgentWeights{Passing: 1, Warning: 1} // registered without: the agent's default
	}
	switch e.Checks.AggregatedStatus() {
	case api.HealthPassing:
		return true, weights.Passing
	case api.HealthWarning:
		return c.Require == api.HealthWarning, weights.Warning
	}
	return false, 0
}

// maxWeight is the heaviest that a target can be.
const maxWeight = 256

// scaled fits a weight of Consul, up to 65535, into ours.
func scaled(weight, heaviest int) int {
	if heaviest <= maxWeight || weight == 0 {
		return weight
	}
	return max(1, weight*maxWeight/heaviest)
}

// address is the service's, else its node's; a tagged one where it exists.
func (c *ConsulConfig) address(e *api.ServiceEntry) (host string, port uint16) {
	host, number := cmp.Or(e.Service.Address, e.Node.Address), e.Service.DefaultPort()
	if tagged, there := e.Service.TaggedAddresses[c.TaggedAddress]; there && tagged.Address != "" {
		host, number = tagged.Address, cmp.Or(tagged.Port, number)
	} else if node := e.Node.TaggedAddresses[c.TaggedAddress]; node != "" && e.Service.Address == "" {
		host = node
	}
	if number < 0 || number > 65535 {
		number = 0
	}
	return host, uint16(number)
}

// instance is i as a Service lists it.
func (i *consulInstance) instance() rules.Instance {
	r := rules.Instance{Host: i.host, Port: i.port, Weight: &i.weight}
	if addr, err := netip.ParseAddr(i.host); err == nil && addr.Zone() == "" {
		r.Addr = addr.Unmap()
	}
	return r
}
