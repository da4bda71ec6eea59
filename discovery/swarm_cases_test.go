package discovery

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSwarm_TraefikCases(t *testing.T) {
	f := func(c *dockerCase, services []caseService) (got []string) {
		t.Helper()
		s := firstSnapshot(t, func(e *fakeEngine) Source {
			c.fill(t, e, services)
			config := c.Input.Provider.config(e)
			config.own = func() []string { return []string{idOf("lb")} } // addresses are those of tasks
			return &Swarm{DockerConfig: config}
		})
		for _, service := range s.Services {
			got = append(got, bare(servers(&service))...)
		}
		slices.Sort(got)
		return got
	}
	for _, c := range dockerCases(t, "v1-swarm-ip", "v3-swarm-service-ip") {
		var want struct{ IP string }
		require.NoError(t, json.Unmarshal(c.Expect, &want))
		service := *c.Input.Service
		service.Labels = maps.Clone(service.Labels)
		service.Labels["lb.swarm.vip"], service.Labels["lb.hostname"], service.Labels["lb.target_port"] = "true", "x", "80"
		c.Input.Tasks = []caseTask{{ID: "one", State: "running"}}
		if want.IP != "" {
			want.IP += ":80"
		}
		require.Equal(t, want.IP, strings.Join(f(&c, []caseService{service}), " "), c.Name)
	}
	for _, c := range dockerCases(t, "v1-swarm-list-tasks", "v3-swarm-list-tasks") {
		var want struct{ Kept []string }
		require.NoError(t, json.Unmarshal(c.Expect, &want))
		service := *c.Input.Service
		service.Labels = map[string]string{"lb.hostname": "x", "lb.target_port": "80"}
		for i, name := range want.Kept {
			want.Kept[i] = "127.0.0." + strings.TrimPrefix(name, "container.") + ":80"
		}
		require.Equal(t, want.Kept, f(&c, []caseService{service}), c.Name)
	}
	for _, c := range dockerCases(t, "v1-swarm-list-services", "v3-swarm-list-services") {
		var want struct{ Names []string } // of tasks
		require.NoError(t, json.Unmarshal(c.Expect, &want))
		for i := range c.Input.Services {
			maps.Copy(c.Input.Services[i].Labels, map[string]string{"lb.hostname": c.Input.Services[i].Name, "lb.target_port": "80"})
		}
		require.Len(t, f(&c, c.Input.Services), len(slices.Compact(want.Names)), c.Name) // all tasks have one address
	}
	for _, c := range dockerCases(t, "v1-swarm-port") {
		var want struct{ Port string }
		require.NoError(t, json.Unmarshal(c.Expect, &want))
		service := *c.Input.Service
		service.VirtualIPs = append(service.VirtualIPs, struct{ NetworkID, Addr string }{"1", "10.0.0.1/24"})
		service.Labels = maps.Clone(service.Labels)
		service.Labels["lb.swarm.vip"] = "true"
		c.Input.Tasks, c.Input.Networks = []caseTask{{ID: "one", State: "running"}}, json.RawMessage(`{"1": "foo"}`)
		require.Equal(t, []string{"10.0.0.1:" + want.Port}, f(&c, []caseService{service}), c.Name)
	}
	for _, c := range dockerCases(t, "v1-swarm-build") {
		var want struct {
			Backends map[string]struct {
				Servers map[string]struct{ URL string }
			}
		}
		require.NoError(t, json.Unmarshal(c.Expect, &want))
		var list []string
		for _, b := range want.Backends {
			for _, s := range b.Servers {
				_, host, _ := strings.Cut(s.URL, "://")
				list = append(list, host)
			}
		}
		for i := range c.Input.Services { // Traefik's test takes the virtual IP for that of a task
			c.Input.Services[i].Labels["lb.swarm.vip"] = "true"
		}
		c.Input.Tasks = []caseTask{{ID: "one", State: "running"}}
		slices.Sort(list)
		require.Equal(t, list, f(&c, c.Input.Services), c.Name)
	}
	for _, c := range dockerCases(t, "v1-swarm-filter") {
		var want struct{ Kept bool }
		require.NoError(t, json.Unmarshal(c.Expect, &want))
		c.Input.Tasks = []caseTask{{ID: "one", State: "running"}}
		service := *c.Input.Service
		service.VirtualIPs = append(service.VirtualIPs, struct{ NetworkID, Addr string }{"1", "10.0.0.1/24"})
		service.Labels = maps.Clone(service.Labels)
		service.Labels["lb.swarm.vip"] = "true"
		c.Input.Networks = json.RawMessage(`{"1": "foo"}`)
		require.Equal(t, want.Kept, len(f(&c, []caseService{service})) > 0, c.Name)
	}
}

// fill gives e what the manager of a case knows.
func (c *dockerCase) fill(t *testing.T, e *fakeEngine, services []caseService) {
	t.Helper()
	e.services, e.tasks, e.nodes, e.networks = []object{}, []object{}, []object{}, []object{}
	e.set("lb", fakeContainer{mode: "elsewhere"})
	names := map[string]string{}
	if len(c.Input.Networks) > 0 && c.Input.Networks[0] == '{' {
		require.NoError(t, json.Unmarshal(c.Input.Networks, &names))
	}
	for id, name := range names {
		e.networks = append(e.networks, object{"Id": id, "Name": name})
	}
	for _, s := range services {
		var virtual []object
		for _, v := range s.VirtualIPs {
			if _, err := netip.ParsePrefix(v.Addr); err == nil {
				virtual = append(virtual, object{"NetworkID": v.NetworkID, "Addr": v.Addr})
			}
		}
		e.services = append(e.services, fakeService(s.Name, s.Labels, object{"Endpoint": object{"VirtualIPs": virtual}}))
		for _, k := range c.Input.Tasks {
			task := fakeTask{id: k.ID, service: s.Name, node: k.NodeID, slot: k.Slot, state: cmp.Or(k.State, "new"), networks: map[string]string{}}
			for _, n := range k.Networks {
				for _, a := range n.Addresses {
					if !strings.Contains(a, "/") {
						a += "/24"
					}
					task.networks[n.Name] = a
				}
			}
			e.tasks = append(e.tasks, task.object())
		}
	}
}
