package configs

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"arzur.net/lb/discovery"
)

func consulOf(t *testing.T, text string) *discovery.ConsulConfig {
	t.Helper()
	c, err := Parse("rules.yml", []byte(text))
	require.NoError(t, err)
	require.NotNil(t, c.Sources.Consul)
	return c.Sources.Consul
}

func TestSources_Consul(t *testing.T) {
	require.Equal(t, NewConsul(), consulOf(t, "sources: {consul: {}}"))
	require.Nil(t, Default().Sources.Consul)

	c := consulOf(t, `sources:
  consul:
    address: https://consul.example:8501
    token_file: token
    datacenter: dc2
    stale: false
    require: warning
    tagged_address: wan
    exposed_by_default: true
    register: {name: edge, tags: [a, b], deregister_after: 1m}
`)
	require.Equal(t, "https://consul.example:8501", c.Address)
	require.Equal(t, "token", c.TokenFile)
	require.Equal(t, "dc2", c.Datacenter)
	require.False(t, c.Stale)
	require.Equal(t, "warning", c.Require)
	require.Equal(t, "wan", c.TaggedAddress)
	require.True(t, c.Labels.ExposedByDefault)
	require.Equal(t, &discovery.ConsulMyself{Name: "edge", Tags: []string{"a", "b"}, Deregister: time.Minute}, c.Register)
}

// The sample shows every key, each with its default but where it says otherwise.
func TestSources_ConsulSample(t *testing.T) {
	s := sample(t, "consul/lb.yml")
	require.Len(t, s.Rules, 3)
	require.Len(t, s.Services, 3)
	for _, service := range s.Services {
		require.Empty(t, service.Instances, "found, not looked up as DNS names")
	}
	c := s.Sources.Consul
	require.Equal(t, "lb/rules", c.KV)
	require.EqualValues(t, 80, c.Register.Port)
	require.Equal(t, discovery.DefaultConsulConnections, c.Connections)
	require.EqualValues(t, 80, c.Labels.EntryPoints["web"])
	c.Address, c.Scheme, c.KV, c.Register, c.Connections, c.Labels.EntryPoints = "", "", "", nil, 0, nil
	require.Equal(t, NewConsul(), c)

	text, err := os.ReadFile("consul/lb.yml")
	require.NoError(t, err)
	var root yaml.Node
	require.NoError(t, yaml.Unmarshal(text, &root))
	shown := map[string]bool{}
	collectKeys(&root, shown)
	for _, key := range keysIn(t, "consul.go") {
		require.True(t, shown[key], "key %q is not in consul/lb.yml", key)
	}
}

func TestParseFragment(t *testing.T) {
	f := ParseFragment("lb/rules/blog", []byte(`port_rules:
- {source_port: 80, hostname: a.example, service: "consul:blog"}
- {source_port: 80, hostname: b.example, service: shop}
services: {shop: {servers: ["10.0.0.1:80"]}}
`))
	require.Empty(t, f.Problems)
	require.Len(t, f.Rules, 2)
	require.Equal(t, "consul kv lb/rules/blog:2", f.Rules[0].Origin)
	require.Len(t, f.Services, 1, "consul:blog is announced by who finds it")

	g := func(text string, want ...string) {
		t.Helper()
		f := ParseFragment("k", []byte(text))
		require.Empty(t, f.Rules)
		var got []string
		for _, p := range f.Problems {
			require.True(t, p.Fatal)
			got = append(got, p.Origin+": "+p.Reason)
		}
		require.Equal(t, want, got)
	}
	require.Len(t, ParseFragment("k", []byte(`{"port_rules": [{"source_port": 80, "service": "consul:blog"}]}`)).Rules, 1, "JSON is YAML")
	g("port_rulez: []", `consul kv k:1: port_rulez: unknown key; did you mean "port_rules"?`)
	g("admin: off\nlog: {level: debug}",
		"consul kv k:1: admin: settings stand in a file; here port_rules and services alone count",
		"consul kv k:2: log: settings stand in a file; here port_rules and services alone count")
	g("version: '2'\nservices: {}", "consul kv k:1: version: unknown key")
	g("", "consul kv k: the file is empty; want port_rules, services, ...")
	g("{", "consul kv k:1: not YAML: did not find expected node content")
}
