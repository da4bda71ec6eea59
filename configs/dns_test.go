package configs

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"arzur.net/lb/discovery"
)

func TestSources_DNS(t *testing.T) {
	f := func(text string, want discovery.DNSConfig) {
		t.Helper()
		c, err := Parse("rules.yml", []byte("sources: {dns: "+text+"}"))
		require.NoError(t, err)
		require.Equal(t, want, c.Sources.DNS)
	}
	f("{}", discovery.DefaultDNS)
	f("{keep: 0, min_ttl: 5s, max_ttl: 10m, servers: [10.0.0.53, '127.0.0.1:8600', fd00::1, '[fd00::1]:54']}", discovery.DNSConfig{
		Servers: []string{"10.0.0.53:53", "127.0.0.1:8600", "[fd00::1]:53", "[fd00::1]:54"},
		MinTTL:  5 * time.Second, MaxTTL: 10 * time.Minute,
	})
	require.Equal(t, discovery.DefaultDNS, Default().Sources.DNS)
}

func TestLoad_DiscoveredServicesHaveNoServers(t *testing.T) {
	c, err := Parse("rules.yml", []byte(`
port_rules:
- {source_port: 80, hostname: a, service: "dns:blog.test:8080"}
- {source_port: 80, hostname: b, service: "dns+srv:_blog._tcp.test"}
- {source_port: 80, hostname: c, service: local}
services:
  local: {servers: [127.0.0.1]}
  "dns:blog.test:8080": {health_check: {port: 81}}
`))
	require.NoError(t, err)
	require.Len(t, c.Rules, 3)
	require.Len(t, c.Services, 3)
	for _, s := range c.Services {
		if s.Name != "local" {
			require.Empty(t, s.Instances, s.Name)
		}
	}
}

// The sample shows every key, each with its default but for the servers.
func TestSources_DNSSample(t *testing.T) {
	c := sample(t, "dns.yml")
	require.Equal(t, "dns:blog.service.consul:8080", c.Rules[0].Service)
	require.Equal(t, []string{"127.0.0.1:8600"}, c.Sources.DNS.Servers)
	c.Sources.DNS.Servers = nil
	require.Equal(t, discovery.DefaultDNS, c.Sources.DNS)

	text, err := os.ReadFile("dns.yml")
	require.NoError(t, err)
	var root yaml.Node
	require.NoError(t, yaml.Unmarshal(text, &root))
	shown := map[string]bool{}
	collectKeys(&root, shown)
	for _, key := range keysIn(t, "dns.go") {
		require.True(t, shown[key], "key %q is not in dns.yml", key)
	}
}
