package discovery

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// dockerCase is one record of testdata/docker_cases.json: what Traefik makes of
// containers and services.
type dockerCase struct {
	Suite, Name string
	Input       struct {
		Provider        caseProvider
		Container       *caseContainer
		Containers      []caseContainer
		NetworkLabel    string
		ServerPortLabel string
		NodeIP          string

		Service  *caseService
		Services []caseService
		Tasks    []caseTask
		Networks json.RawMessage // {id: name}, or a list
		Global   bool
		Nodes    []struct {
			ID     string
			Status struct{ Addr string }
		}
	}
	Expect json.RawMessage
}

type caseProvider struct {
	Network, DefaultRule, Domain, Constraints string
	ExposedByDefault                          *bool
	UseBindPortIP                             bool
}

type caseContainer struct {
	ID, Name, ServiceName string
	Labels                map[string]string
	Ports                 map[string][]struct{ HostIP, HostPort string }
	Networks              map[string]struct{ Addr, IPv4, IPv6 string }
	NetworkMode           string
	Health, Status        string
	ExtraConf             struct{ AllowNonRunning bool }
}

func dockerCases(t *testing.T, suites ...string) (list []dockerCase) {
	t.Helper()
	text, err := os.ReadFile("testdata/docker_cases.json")
	require.NoError(t, err)
	var all []dockerCase
	require.NoError(t, json.Unmarshal(text, &all))
	for _, s := range suites {
		require.Empty(t, dockerSuites[s], s)
	}
	for _, c := range all {
		if slices.Contains(suites, c.Suite) {
			list = append(list, c)
		}
	}
	require.NotEmpty(t, list, suites)
	return list
}

// dockerSuites are the suites that the tests here run, and "" or why one is not run.
var dockerSuites = map[string]string{
	"v1-docker-bind-port-ip": "", "v1-docker-build": "", "v1-docker-filter": "", "v1-docker-ip": "", "v1-docker-port": "", "v1-docker-segments": "",
	"v1-swarm-build": "", "v1-swarm-filter": "", "v1-swarm-ip": "", "v1-swarm-list-services": "", "v1-swarm-list-tasks": "", "v1-swarm-port": "",
	"v3-docker-bind-port-ip": "", "v3-docker-build": "", "v3-docker-default-rule": "", "v3-docker-ip": "", "v3-docker-non-running": "", "v3-docker-port": "",
	"v3-swarm-list-services": "", "v3-swarm-list-tasks": "", "v3-swarm-service-ip": "",

	"v1-docker-servers":   "it is about how Traefik names the servers of no container",
	"v3-swarm-task-names": "tasks have no names here; TestSwarm_Addresses has the address of their node",
}

func TestDocker_NoCaseIsPassedOver(t *testing.T) {
	text, err := os.ReadFile("testdata/docker_cases.json")
	require.NoError(t, err)
	var all []dockerCase
	require.NoError(t, json.Unmarshal(text, &all))
	for _, c := range all {
		require.Contains(t, dockerSuites, c.Suite, c.Name)
	}
}

func (p *caseProvider) config(e *fakeEngine) DockerConfig {
	c := e.config()
	c.Network, c.UseBindPortIP = p.Network, p.UseBindPortIP
	c.Labels.EntryPoints = caseEntryPoints
	c.Labels.Constraints, c.Labels.Domain = p.Constraints, p.Domain
	if p.ExposedByDefault != nil {
		c.Labels.ExposedByDefault = *p.ExposedByDefault
	}
	if p.DefaultRule != "" || p.Domain != "" {
		c.Labels.DefaultRule = p.DefaultRule
	}
	return c
}

// fake is a container as the Engine would show it.
func (c *caseContainer) fake(at int) fakeContainer {
	f := fakeContainer{
		id: idOf(fmt.Sprint(c.Name, at)), name: cmp.Or(c.ServiceName, c.Name), created: at, labels: c.Labels, state: c.Status, health: c.Health,
		mode: cmp.Or(c.NetworkMode, "bridge"), networks: map[string]string{}, ports: map[string][][2]string{},
	}
	if c.ExtraConf.AllowNonRunning {
		f.labels = map[string]string{"traefik.docker.allownonrunning": "true"}
		for k, v := range c.Labels {
			f.labels[k] = v
		}
	}
	for name, n := range c.Networks {
		f.networks[name] = cmp.Or(n.Addr, n.IPv4, n.IPv6)
	}
	for port, bindings := range c.Ports {
		f.ports[port] = [][2]string{}
		for _, b := range bindings {
			f.ports[port] = append(f.ports[port], [2]string{b.HostIP, b.HostPort})
		}
	}
	return f
}

// firstSnapshot is what a Source publishes first.
func firstSnapshot(t *testing.T, open func(e *fakeEngine) Source) (s Snapshot) {
	t.Helper()
	watchedSnapshots(t, open, func(_ *fakeEngine, latest func() Snapshot) {
		pass(100 * time.Millisecond)
		s = latest()
	})
	return s
}

// snapshotOf is what the Docker of a case announces.
func (c *dockerCase) snapshotOf(t *testing.T) Snapshot {
	t.Helper()
	return firstSnapshot(t, func(e *fakeEngine) Source {
		for i := range c.Input.Containers {
			e.set(fmt.Sprint(i), c.Input.Containers[i].fake(i))
		}
		return &Docker{DockerConfig: c.Input.Provider.config(e)}
	})
}

// dockerDeviations are cases with another outcome, on purpose.
var dockerDeviations = map[string]string{
	"v3-docker-default-rule/005": "an empty default rule is the default one; exposed_by_default: false is for none",
	"v3-docker-build/037":        "a port speaks one protocol, so a TCP router without TLS has to name its entry point",
	"v3-docker-build/039":        "a UDP router has to name its entry point, since no port is the default one for datagrams",
	"v3-docker-non-running/006":  "a port speaks one protocol, so a TCP router without TLS has to name its entry point",
	"v3-docker-non-running/007":  "which port is for datagrams a label has to say: the rule serves nothing",
	"v3-docker-build/043":        "a port speaks one protocol, so a TCP router without TLS has to name its entry point",
	"v3-docker-build/047":        "options of TLS that may demand client certificates: the rule serves nothing",
	"v3-docker-build/035":        "a container without a port or a network could never serve, healthy or not, and has no rule",
	"v3-docker-build/025":        "h2c to servers is not spoken yet: the rule answers 503",
	"v3-docker-build/013":        "two containers that disagree about a service: Traefik drops it, here both serve",
	"v3-docker-build/020":        "routers of one name and different rules: Traefik drops both, here both serve",
	"v3-docker-build/021":        "routers of one name and different rules: Traefik drops all, here all serve",
	"v3-docker-build/023":        "one rule for two services: Traefik drops both routers, here the older counts",
}

func TestDocker_Traefik3Cases(t *testing.T) {
	for _, c := range dockerCases(t, "v3-docker-build", "v3-docker-non-running", "v3-docker-default-rule") {
		number, _, _ := strings.Cut(c.Name, " ")
		var want caseRouting
		require.NoError(t, json.Unmarshal(c.Expect, &want))
		got := c.snapshotOf(t)
		var rules, services, wantServices []string
		for _, r := range got.Rules {
			if r.Refuse == "" {
				rules = append(rules, r.Name+": "+r.Expr+" -> "+r.Service)
			}
		}
		wantRules, lines := want.lines()
		all := map[string][]string{} // servers, by service
		for _, line := range lines {
			name, server, _ := strings.Cut(line, ": ")
			_, host, _ := strings.Cut(server, "://")
			all[name] = append(all[name], host)
		}
		for name, list := range all {
			wantServices = append(wantServices, name+": "+strings.Join(list, " "))
		}
		for _, s := range got.Services {
			services = append(services, s.Name+": "+strings.Join(servers(&s), " "))
		}
		for _, list := range []*[]string{&rules, &wantRules, &services, &wantServices} {
			slices.Sort(*list)
			*list = slices.Compact(*list)
		}
		same := slices.Equal(rules, wantRules) && slices.Equal(services, wantServices)
		if dockerDeviations[number] != "" {
			require.False(t, same, "%s is like Traefik, and not to be listed", c.Name)
			continue
		}
		require.True(t, same, "%s\n got %q\nwant %q\n got %q\nwant %q\n%s", c.Name, rules, wantRules, services, wantServices, tell(got))
	}
}

func TestDocker_AddressCases(t *testing.T) {
	suites := []string{
		"v3-docker-ip", "v3-docker-port", "v3-docker-bind-port-ip",
		"v1-docker-ip", "v1-docker-port", "v1-docker-bind-port-ip",
	}
	for _, c := range dockerCases(t, suites...) {
		var want struct{ IP, Port string }
		require.NoError(t, json.Unmarshal(c.Expect, &want))
		in := &c.Input
		if in.NodeIP != "" {
			continue // of a Swarm's task
		}
		f := in.Container.fake(1)
		own := map[string]string{"lb.hostname": "x"}
		for key, label := range map[string]string{
			"lb.network": cmp.Or(in.NetworkLabel, f.labels["traefik.docker.network"]), "lb.target_port": cmp.Or(in.ServerPortLabel, f.labels["traefik.port"]),
		} {
			if label != "" {
				own[key] = label
			}
		}
		f.labels = own
		if len(f.networks) == 0 && want.IP == "" {
			f.networks["testnet"] = "10.11.12.13" // it is about the port
		}
		if len(f.ports) == 0 && want.Port == "" && want.IP != "" {
			f.labels["lb.target_port"] = "80" // it is about the address
		}
		got := firstSnapshot(t, func(e *fakeEngine) Source {
			e.set("fake", f)
			return &Docker{DockerConfig: in.Provider.config(e)}
		})
		if want.IP+want.Port == "" {
			require.Empty(t, got.Services, c.Name)
			continue
		}
		require.Len(t, got.Services, 1, "%s\n%s", c.Name, tell(got))
		require.Len(t, got.Services[0].Instances, 1, c.Name)
		instance := got.Services[0].Instances[0]
		if want.IP != "" {
			require.Equal(t, netip.MustParseAddr(want.IP), instance.Addr, c.Name)
		}
		if want.Port != "" {
			require.Equal(t, want.Port, fmt.Sprint(instance.Port), c.Name)
		}
	}
}

// The frontends of Traefik 1 are held against its cases in package labels; here
// it is about which servers they lead to.
func TestDocker_Traefik1Cases(t *testing.T) {
	for _, c := range dockerCases(t, "v1-docker-build", "v1-docker-segments") {
		var want struct {
			Backends map[string]struct {
				Servers map[string]struct{ URL string }
			}
		}
		require.NoError(t, json.Unmarshal(c.Expect, &want))
		got := c.snapshotOf(t)
		var backends, wantBackends []string
		for _, s := range got.Services {
			backends = append(backends, strings.Join(bare(servers(&s)), " "))
		}
		for _, b := range want.Backends {
			var list []string
			for _, s := range b.Servers {
				_, host, _ := strings.Cut(s.URL, "://")
				list = append(list, host)
			}
			wantBackends = append(wantBackends, strings.Join(bare(list), " "))
		}
		slices.Sort(backends)
		slices.Sort(wantBackends)
		require.Equal(t, wantBackends, backends, "%s\n%s", c.Name, tell(got))
	}
}

func TestDocker_Traefik1Filter(t *testing.T) {
	for _, c := range dockerCases(t, "v1-docker-filter") {
		var want struct{ Kept bool }
		require.NoError(t, json.Unmarshal(c.Expect, &want))
		f := c.Input.Container.fake(1)
		f.networks["bridge"] = "10.0.0.1"
		got := firstSnapshot(t, func(e *fakeEngine) Source {
			e.set("fake", f)
			return &Docker{DockerConfig: c.Input.Provider.config(e)}
		})
		if c.Input.Provider.Domain == "" {
			continue // Traefik 1 has no default rule without a domain; here there is Traefik 3's
		}
		require.Equal(t, want.Kept, len(got.Services) == 1 && len(got.Rules) == 1, c.Name)
	}
}

// bare are servers without what else is said of them, sorted.
func bare(list []string) []string {
	for i := range list {
		list[i], _, _ = strings.Cut(list[i], " ")
	}
	slices.Sort(list)
	return list
}

// caseService is a service of a Swarm.
type caseService struct {
	ID, Name, EndpointMode string
	Labels                 map[string]string
	VirtualIPs             []struct{ NetworkID, Addr string }
}

type caseTask struct {
	ID, State, NodeID string
	Slot              int
	Networks          []struct {
		ID, Name, Driver string
		Addresses        []string
	}
}
