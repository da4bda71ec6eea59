package rules

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/health"
)

// rancherDifferences are the cases of testdata/rancher_rules.json that we
// answer otherwise, and why. Each of them must really differ.
var rancherDifferences = map[string]string{
	"observed-routing-009": "inside a class the reference's sort comes out reversed, so that / shadows /api; longer paths come first here",
	"observed-routing-012": "inside a class the reference's sort comes out reversed, so that /a shadows /a/b; longer paths come first here",
	"observed-routing-017": "the reference names two pools alike and drops one; foo.com and *.foo.com stay apart here",
	"observed-routing-018": "the reference names two pools alike and drops one; foo-bar.com and foo.bar.com stay apart here",
	"observed-routing-020": "the reference merges a wildcard into an exact host; foo.com and foo.com* stay apart here",
	"rancher-rules-006":    "which servers are near is for the Source to say",
	"rancher-rules-007":    "which containers run is for the Source to say",
	"rancher-rules-008":    "which containers run is for the Source to say",
	"rancher-rules-011":    "a name becomes a server once its address is known",
}

type rancherCase struct {
	ID, Name string
	Input    struct {
		PortRules []struct {
			SourcePort  uint16 `json:"source_port"`
			TargetPort  uint16 `json:"target_port"`
			Protocol    string
			Hostname    string
			Path        string
			Service     string
			Priority    int
			Weight      *int
			BackendName string `json:"backend_name"`
		} `json:"port_rules"`
		Services map[string]struct {
			Containers []struct {
				PrimaryIP string `json:"primary_ip"`
			}
		}
	}
	Expectation struct {
		OrderedRules []struct{ Host, Path string } `json:"ordered_rules"`
		Probes       []struct {
			Host, Path string
			To         *string
		}
		Distribution map[string]int
		Frontends    map[string]struct {
			BackendCount *int     `json:"backend_count"`
			OrderedHosts []string `json:"ordered_hosts"`
			Backends     []struct {
				Name, Host, Path string
				EndpointCount    *int `json:"endpoint_count"`
				Endpoints        []struct {
					IP   string
					Port uint16
				}
			}
		}
	}
}

func TestRancherCases(t *testing.T) {
	var cases []rancherCase
	data, err := os.ReadFile("testdata/rancher_rules.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &cases))
	require.Len(t, cases, 31)
	for _, c := range cases {
		t.Run(c.ID+" "+c.Name, func(t *testing.T) {
			off := c.compare()
			if reason := rancherDifferences[c.ID]; reason != "" {
				require.NotEmpty(t, off, "no longer differs: %s", reason)
				return
			}
			require.Empty(t, off)
		})
	}
}

func (c *rancherCase) compile() *Table {
	in := Input{}
	known := map[string]bool{}
	for _, r := range c.Input.PortRules {
		in.Rules = append(in.Rules, Rule{
			Port: r.SourcePort, TargetPort: r.TargetPort, Protocol: r.Protocol, Hostname: r.Hostname, Path: r.Path,
			PathMatch: PathRaw, Order: OrderRancher, Service: r.Service, Priority: r.Priority, Weight: r.Weight, BackendName: r.BackendName,
		})
		if !known[r.Service] {
			known[r.Service] = true
			in.Services = append(in.Services, c.service(r.Service))
		}
	}
	table, _ := Compile(in, NoBackends{})
	return table
}

// service is the one that the case describes, or of the observed cases: s/a
// has one server, a; s/none has none; s/stop has c and a.
func (c *rancherCase) service(name string) Service {
	s := Service{Name: name}
	servers := map[string]string{"s/none": "", "s/stop": "ca"}
	letters, ok := servers[name]
	if !ok {
		letters = strings.TrimPrefix(name, "s/")
	}
	if described, ok := c.Input.Services[name]; ok {
		letters = ""
		for _, container := range described.Containers {
			s.Instances = append(s.Instances, Instance{Host: container.PrimaryIP, Addr: netip.MustParseAddr(container.PrimaryIP)})
		}
	}
	for _, letter := range letters {
		s.Instances = append(s.Instances, Instance{Host: string(letter), Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(letter)})})
	}
	return s
}

// compare lists where the Table departs from what the case expects.
func (c *rancherCase) compare() (off []string) {
	table := c.compile()
	differ := func(what string, got, want any) {
		if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
			off = append(off, fmt.Sprintf("%s: got %s, want %s", what, g, w))
		}
	}
	if len(c.Expectation.OrderedRules) > 0 {
		// The reference lists the default by its priority, and yet tries it last.
		var got, want []string
		for _, e := range table.Entries() {
			if a := &e.match.alternatives[0]; !e.match.takesAll() {
				got = append(got, a.host.text+" "+a.path.text)
			}
		}
		for _, r := range c.Expectation.OrderedRules {
			if r.Host != "" || r.Path != "" {
				want = append(want, r.Host+" "+r.Path)
			}
		}
		differ("order", got, want)
	}
	to := map[string]int{}
	for _, p := range c.Expectation.Probes {
		want := "None"
		if p.To != nil {
			want = *p.To
		}
		got := probe(table.On(Listen{Port: 18000, Protocol: table.Ports()[0].Protocol}), p.Host+p.Path)
		to[got]++
		if c.Expectation.Distribution == nil {
			differ("probe "+p.Host+p.Path, got, want)
		}
	}
	if c.Expectation.Distribution != nil {
		differ("distribution", to, c.Expectation.Distribution)
	}
	if len(c.Expectation.Probes) == 0 && len(c.Expectation.OrderedRules) == 1 {
		differ("rules", len(table.Entries()), 1)
	}
	c.compareFrontends(table, differ)
	return off
}

func (c *rancherCase) compareFrontends(table *Table, differ func(what string, got, want any)) {
	for port, f := range c.Expectation.Frontends {
		var entries []*Entry
		var hosts []string
		for _, e := range table.Entries() {
			if fmt.Sprint(e.Listen.Port) == port {
				entries = append(entries, e)
				hosts = append(hosts, e.match.alternatives[0].host.text)
			}
		}
		if f.BackendCount != nil {
			differ("backends", len(entries), *f.BackendCount)
		}
		if f.OrderedHosts != nil {
			differ("order", hosts, f.OrderedHosts)
		}
		for i, want := range f.Backends {
			if i >= len(entries) {
				differ("backends", len(entries), i+1)
				continue
			}
			pool := entries[i].Pool
			if want.EndpointCount != nil {
				differ("endpoints", len(pool.Targets), *want.EndpointCount)
			}
			if want.Name != "" {
				differ("name", pool.Name, want.Name)
			}
			differ("host", entries[i].Rule.Hostname, want.Host)
			differ("path", entries[i].Rule.Path, want.Path)
			has := map[string]bool{}
			for _, target := range pool.Targets {
				has[target.Backend.Addr.String()] = true
			}
			for _, e := range want.Endpoints {
				addr := fmt.Sprintf("%s:%d", e.IP, e.Port)
				differ("endpoint "+addr, has[addr], true)
			}
		}
	}
}

// probe sends one request and names the server that gets it.
func probe(p *PortTable, url string) string {
	e := p.Lookup(request(url))
	if e == nil {
		return "None"
	}
	target, result := e.Pool.Pick(health.Now(), nil)
	if result != Picked {
		return "None"
	}
	target.Backend.Done(health.Served, health.Now())
	return cmp.Or(target.Host, "?")
}
