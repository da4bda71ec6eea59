package configs

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"arzur.net/lb/discovery"
)

func dockerOf(t *testing.T, text string) *Docker {
	t.Helper()
	c, err := Parse("rules.yml", []byte(text))
	require.NoError(t, err)
	require.NotNil(t, c.Sources.Docker)
	return c.Sources.Docker
}

func TestSources_Docker(t *testing.T) {
	require.Equal(t, NewDocker(), dockerOf(t, "sources: {docker: {}}"))
	require.Nil(t, Default().Sources.Docker)

	d := dockerOf(t, `sources:
  docker:
    endpoint: tcp://10.0.0.5:2376
    tls: {ca: ca.pem, cert: /etc/cert.pem, key: key.pem, insecure_skip_verify: true}
    swarm: true
    exposed_by_default: false
    network: front
    constraints: Label(`+"`tier`, `front`"+`)
    use_bind_port_ip: true
`)
	require.Equal(t, "tcp://10.0.0.5:2376", d.Endpoint)
	require.Equal(t, discovery.EngineTLS{CA: "ca.pem", Cert: "/etc/cert.pem", Key: "key.pem", InsecureSkipVerify: true}, d.TLS)
	require.True(t, d.Swarm)
	require.False(t, d.Labels.ExposedByDefault)
	require.Equal(t, "front", d.Network)
	require.Equal(t, "Label(`tier`, `front`)", d.Labels.Constraints)
	require.True(t, d.UseBindPortIP)
}

func TestSources_DockerEntryPointsAreSetOverTheDefaults(t *testing.T) {
	f := func(text string, want map[string]uint16) {
		t.Helper()
		require.Equal(t, want, dockerOf(t, "sources: {docker: {entry_points: "+text+"}}").Labels.EntryPoints)
	}
	f("{}", map[string]uint16{"web": 80, "http": 80, "websecure": 443, "https": 443})
	f("{web: 8000}", map[string]uint16{"web": 8000, "http": 8000, "websecure": 443, "https": 443})
	f("{http: 8000, internal: 9000}", map[string]uint16{"web": 8000, "http": 8000, "websecure": 443, "https": 443, "internal": 9000})
	f("{web: 8000, http: 81}", map[string]uint16{"web": 8000, "http": 81, "websecure": 443, "https": 443})
}

func TestSources_DockerDomainStandsInsteadOfTheDefaultRule(t *testing.T) {
	d := dockerOf(t, "sources: {docker: {domain: arzur.net}}")
	require.Equal(t, "arzur.net", d.Labels.Domain)
	require.Empty(t, d.Labels.DefaultRule)
}

// The sample shows every key, each with its default but for the address and
// what belongs to it.
func TestSources_DockerSample(t *testing.T) {
	text, err := os.ReadFile("docker.yml")
	require.NoError(t, err)
	d := dockerOf(t, string(text))
	d.Endpoint, d.TLS = "", discovery.EngineTLS{}
	require.Equal(t, NewDocker(), d)

	var root yaml.Node
	require.NoError(t, yaml.Unmarshal(text, &root))
	shown := map[string]bool{}
	collectKeys(&root, shown)
	for _, key := range keysIn(t, "sources.go") {
		require.True(t, shown[key], "key %q is not in docker.yml", key)
	}
}
