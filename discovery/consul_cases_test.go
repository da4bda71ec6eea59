package discovery

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"
)

// catalogCase is a case of testdata/consulcatalog_cases.json: what Traefik 3 makes
// of a catalog.
type catalogCase struct {
	Suite, Name string
	Input       struct {
		Provider struct {
			DefaultRule, Constraints string
			StrictChecks             []string
		}
		Items []struct {
			ID, Name, Node, Address, Port, Status string
			Labels                                map[string]string
		}
		Tags []string
	}
	Expect struct {
		caseRouting
		Labels map[string]string
	}
}

// catalogDifferences are the cases in which we do something else, with what we do.
var catalogDifferences = map[string]string{
	"v3-consulcatalog-default-rule/004":  "an empty default rule in a configuration is one that was left out: the default counts",
	"v3-consulcatalog-build/002":         "the service mesh is not supported: who belongs to it stays hidden",
	"v3-consulcatalog-build/013":         "two instances contradict each other about one service: the first one counts, Traefik keeps none",
	"v3-consulcatalog-build/014":         "three instances contradict each other about one service: the first one counts, Traefik keeps none",
	"v3-consulcatalog-build/020":         "two instances claim one router with different rules: both serve, Traefik keeps none",
	"v3-consulcatalog-build/021":         "three instances claim one router with different rules: all serve, Traefik keeps none",
	"v3-consulcatalog-build/024":         "h2c is not spoken: the rule answers 503 and says so",
	"v3-consulcatalog-build/036":         "basicAuth is not supported: the rule answers 503 and says so",
	"v3-consulcatalog-build/037":         "a port speaks one protocol, so a TCP router without TLS has to name its entry point",
	"v3-consulcatalog-build/038":         "the service mesh is not supported: who belongs to it stays hidden",
	"v3-consulcatalog-build/048":         "the service mesh is not supported: who belongs to it stays hidden",
	"v3-consulcatalog-build/049":         "a port speaks one protocol, so a TCP router without TLS has to name its entry point",
	"v3-consulcatalog-build/050":         "a UDP router has to name an entry point that there is",
	"v3-consulcatalog-strict-checks/002": "the rule stays while no instance passes, and answers 503",
	"v3-consulcatalog-strict-checks/003": "warning instances alone cannot be asked for",
	"v3-consulcatalog-strict-checks/004": "the rule stays while no instance passes, and answers 503",
}

func TestConsul_CasesOfTraefik(t *testing.T) {
	text, err := os.ReadFile("testdata/consulcatalog_cases.json")
	require.NoError(t, err)
	var cases []catalogCase
	require.NoError(t, json.Unmarshal(text, &cases))
	require.Len(t, cases, 44)
	for _, c := range cases {
		number, _, _ := strings.Cut(c.Name, " ")
		t.Run(number, func(t *testing.T) {
			if c.Suite == "v3-consulcatalog-tags" { // the root is ours to name, Traefik's is fixed
				service := api.AgentService{Tags: c.Input.Tags}
				for key, value := range c.Expect.Labels {
					require.Equal(t, value, DefaultConsul.labelsOf(&api.ServiceEntry{Node: &api.Node{}, Service: &service})[strings.TrimPrefix(key, "traefik.")])
				}
				return
			}
			got, want := c.outcome(), c.wanted()
			if catalogDifferences[number] != "" {
				require.NotEqual(t, want, got, "the case passes; take it off the list")
				return
			}
			require.Equal(t, want, got)
		})
	}
}

// outcome is routers and servers as lines.
func (c *catalogCase) outcome() (lines []string) {
	config := DefaultConsul
	config.Labels.ExposedByDefault = true
	config.Labels.EntryPoints = caseEntryPoints
	config.Labels.DefaultRule = c.Input.Provider.DefaultRule
	config.Labels.Constraints = c.Input.Provider.Constraints
	if slices.Contains(c.Input.Provider.StrictChecks, api.HealthWarning) {
		config.Require = api.HealthWarning
	}
	w := &consulWatch{Consul: &Consul{Config: config}, services: map[consulQuery]*consulService{}}
	entries := map[string][]*api.ServiceEntry{}
	for _, i := range c.Input.Items {
		port, _ := strconv.Atoi(i.Port) // an empty one is none
		e := &api.ServiceEntry{
			Node:    &api.Node{Node: i.Node},
			Service: &api.AgentService{ID: i.ID, Service: i.Name, Address: i.Address, Port: port},
			Checks:  api.HealthChecks{{Status: i.Status}},
		}
		for key, value := range i.Labels {
			e.Service.Tags = append(e.Service.Tags, key+"="+value)
		}
		entries[i.Name] = append(entries[i.Name], e)
	}
	for name, list := range entries {
		s := &consulService{outcome: consulHeard, instances: config.instances(list)}
		s.group(name)
		w.services[consulQuery{name: name}] = s
		w.catalog = append(w.catalog, name)
	}
	slices.Sort(w.catalog)
	snapshot := w.snapshot()
	for _, r := range snapshot.Rules {
		if r.Refuse == "" {
			lines = append(lines, fmt.Sprint(r.Name, ": ", r.Expr, " -> ", r.Service))
		}
	}
	for _, s := range snapshot.Services {
		for _, i := range s.Instances {
			lines = append(lines, fmt.Sprintf("%s: http://%s:%d", s.Name, i.Host, i.Port))
		}
	}
	slices.Sort(lines)
	return lines
}

func (c *catalogCase) wanted() (lines []string) {
	routers, services := c.Expect.lines()
	services = slices.DeleteFunc(services, func(line string) bool { return strings.HasSuffix(line, ": ") })
	lines = slices.Concat(routers, services)
	slices.Sort(lines)
	return lines
}
