package discovery

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/moby/moby/api/types/swarm"

	"arzur.net/lb/rules"
	"arzur.net/lb/rules/labels"
)

// serving are the tasks that can take requests, by service. Of two in one slot it
// is the newer, which has the newer spec: during an update that starts the new
// task first, the older is the one about to stop.
func serving(list []swarm.Task, nodes map[string]swarm.Node) map[string][]*swarm.Task {
	type slot struct {
		service, node string
		number        int
	}
	newest := make(map[slot]*swarm.Task)
	byService := make(map[string][]*swarm.Task)
	for i := range list {
		t := &list[i]
		if t.Status.State != swarm.TaskStateRunning || t.DesiredState != swarm.TaskStateRunning || !isUp(t.NodeID, nodes) {
			continue
		}
		at := slot{t.ServiceID, "", t.Slot}
		if t.Slot == 0 {
			at.node = cmp.Or(t.NodeID, t.ID) // of a global service
		}
		if other := newest[at]; other == nil || t.CreatedAt.After(other.CreatedAt) {
			newest[at] = t
		}
	}
	for at, t := range newest {
		byService[at.service] = append(byService[at.service], t)
	}
	for _, tasks := range byService {
		slices.SortFunc(tasks, func(a, b *swarm.Task) int { return cmp.Or(cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.ID, b.ID)) })
	}
	return byService
}

// isUp says whether the tasks of a node count. One that was paused keeps its tasks.
func isUp(id string, nodes map[string]swarm.Node) bool {
	n, known := nodes[id]
	return !known || n.Status.State == swarm.NodeStateReady && n.Spec.Availability != swarm.NodeAvailabilityDrain
}

// place finds where requests for a group of a service go.
func (w *swarmWatch) place(s *swarm.Service, wants *labels.Wants, g *labels.Group) (p placement) {
	if g.Host != "" {
		p.instances = []rules.Instance{instanceAt(g.Host, g.Port)}
		return p
	}
	if g.Port == 0 {
		p.missing = "there is no port: a Swarm service exposes none, so a label has to say it" + suchAs(g)
		return p
	}
	var tasks []*swarm.Task
	for _, t := range w.tasks[s.ID] {
		if w.stops[t.ID] == nil {
			tasks = append(tasks, t)
		}
	}
	if wants.VIP {
		if a, hint := w.virtual(s, wants.Network); a.IsValid() {
			p.hint(hint)
			if len(tasks) > 0 { // else it would answer nothing
				p.instances = []rules.Instance{instanceOf(a, g.Port)}
			}
			return p
		}
		p.hint("the service has no virtual IP; its tasks are used, one by one")
	}
	if at := w.mesh(s, g.Port); at != nil && len(tasks) > 0 {
		p.instances = []rules.Instance{*at}
		return p
	}
	for _, t := range tasks {
		instance, hint, reached := w.reach(t, wants.Network, g.Port)
		if !slices.Contains(p.hints, hint) {
			p.hint(hint)
		}
		if reached {
			p.instances = append(p.instances, instance)
		}
	}
	return p
}

// reach is where a task takes requests for its port.
func (w *swarmWatch) reach(t *swarm.Task, label string, port uint16) (instance rules.Instance, hint string, reached bool) {
	if !w.inside {
		if at := w.hostPort(t, port); at != 0 {
			return instanceAt(w.nodeOf(t), at), "", true
		}
	}
	var found []attachment
	host := false
	for _, a := range t.NetworksAttachments {
		host = host || a.Network.Spec.Name == "host"
		if a.Network.Spec.Ingress || w.networks[a.Network.ID].Ingress || len(a.Addresses) == 0 {
			continue
		}
		found = append(found, attachment{network: a.Network.Spec.Name, networkID: a.Network.ID, addr: a.Addresses[0].Addr()})
	}
	if i, hint := w.chooseNetwork(found, label); i >= 0 {
		return instanceOf(found[i].addr, port), hint, true
	}
	if host {
		return instanceAt(w.nodeOf(t), port), "", true
	}
	if at := w.hostPort(t, port); at != 0 {
		return instanceAt(w.nodeOf(t), at), "", true
	}
	return instance, "its tasks have no address: they are in no network of their own; put them into one that lb is in too", false
}

// chooseNetwork is the label's network, else the configured one, else one that lb
// is in too, else the first by name; -1 when there is none.
func (w *swarmWatch) chooseNetwork(list []attachment, label string) (index int, hint string) {
	named := func(name string) int {
		return slices.IndexFunc(list, func(a attachment) bool { return a.network == name })
	}
	slices.SortFunc(list, func(a, b attachment) int { return cmp.Compare(a.network, b.network) })
	if i := named(label); i >= 0 {
		return i, ""
	}
	if label != "" && len(list) > 0 {
		hint = fmt.Sprintf("it is not in network %q, which a label names, %s", label, listNetworks(list))
	}
	if i := named(w.Network); i >= 0 {
		return i, hint
	}
	if i := slices.IndexFunc(list, func(a attachment) bool { return w.own[a.networkID] }); i >= 0 {
		return i, hint
	}
	if len(list) > 1 && hint == "" {
		hint = fmt.Sprintf("it is in several networks and no label says which; %q counts, %s", list[0].network, listNetworks(list))
	}
	return min(len(list), 1) - 1, hint
}

// virtual is the service's virtual IP in the network that its tasks would be
// reached in; invalid without one.
func (w *swarmWatch) virtual(s *swarm.Service, label string) (addr netip.Addr, hint string) {
	var found []attachment
	for _, v := range s.Endpoint.VirtualIPs {
		n, known := w.networks[v.NetworkID]
		if known && !n.Ingress && v.Addr.IsValid() {
			found = append(found, attachment{network: n.Name, networkID: n.ID, addr: v.Addr.Addr()})
		}
	}
	i, hint := w.chooseNetwork(found, label)
	if i < 0 {
		return netip.Addr{}, ""
	}
	return found[i].addr, hint
}

// mesh is the service's port on every node, which is what leads to it from outside
// of all containers; nil when there is none, or a better way.
func (w *swarmWatch) mesh(s *swarm.Service, port uint16) *rules.Instance {
	if w.inside {
		return nil
	}
	for _, p := range s.Endpoint.Ports {
		if p.TargetPort == uint32(port) && p.PublishMode == swarm.PortConfigPublishModeIngress {
			at := instanceAt(cmp.Or(w.remote, "127.0.0.1"), uint16(p.PublishedPort))
			return &at
		}
	}
	return nil
}

// hostPort is the port of the node that leads to a port of the task, 0 for none.
func (w *swarmWatch) hostPort(t *swarm.Task, port uint16) uint16 {
	for _, p := range t.Status.PortStatus.Ports {
		if p.TargetPort == uint32(port) && p.PublishMode == swarm.PortConfigPublishModeHost {
			return uint16(p.PublishedPort)
		}
	}
	return 0
}

// nodeOf is the address of a task's node.
func (w *swarmWatch) nodeOf(t *swarm.Task) string {
	host := w.nodes[t.NodeID].Status.Addr
	if a, err := netip.ParseAddr(host); err != nil || a.IsUnspecified() {
		return cmp.Or(w.remote, "127.0.0.1")
	}
	return host
}
