package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"arzur.net/lb/certs"
	"arzur.net/lb/rules"
)

// sample loads shipped files and holds them to compile without a word.
func sample(t *testing.T, paths ...string) *Config {
	t.Helper()
	c, err := Load(paths, "")
	require.NoError(t, err)
	require.Empty(t, c.Problems)
	_, problems := rules.Compile(rules.Input{Rules: c.Rules, Services: c.Services}, rules.NoBackends{})
	require.Empty(t, problems)
	return c
}

func TestLoad_Demo(t *testing.T) {
	c := sample(t, "demo.yml")
	require.Len(t, c.Rules, 1)
	require.EqualValues(t, 8000, c.Rules[0].Port)
	require.Len(t, c.Services, 1)
	require.Equal(t, "demo", c.Services[0].Name)
	for i, s := range c.Services[0].Instances {
		require.Equal(t, "127.0.0.1", s.Host)
		require.EqualValues(t, 8001+i, s.Port)
	}
	require.Len(t, c.Services[0].Instances, 3)
}

func TestLoad_Simple(t *testing.T) {
	c := sample(t, "simple.yml")
	require.Equal(t, "arzur.net", c.Rules[0].Hostname)
	require.Equal(t, "simple.yml:4", c.Rules[0].Origin)
	check := c.Services[0].Check
	require.Equal(t, 10*time.Second, check.Interval)
	require.Equal(t, time.Second, check.ResponseTimeout)
	require.Equal(t, "127.0.0.1:8081", c.Admin.Address)
}

func TestLoad_ACMESample(t *testing.T) {
	c := sample(t, "tls/acme.yml")
	require.Equal(t, "/var/lib/lb/acme", c.ACME.Cache)
	require.Equal(t, "me@arzur.net", c.ACME.Email)
	var hosts []string
	table, _ := rules.Compile(rules.Input{Rules: c.Rules, Services: c.Services}, rules.NoBackends{})
	for _, e := range table.Entries() {
		if e.Listen.Protocol == rules.HTTPS {
			hosts = append(hosts, e.Hosts()...)
		}
	}
	require.ElementsMatch(t, []string{"arzur.net", "shop.arzur.net"}, hosts)
}

// rules.yml and tls.yml claim to show every key; this holds them to that.
func TestLoad_RulesSampleShowsEveryKey(t *testing.T) {
	c := sample(t, "rules.yml")
	require.Len(t, c.Rules, 4)
	require.Len(t, c.Services, 3)
	require.Equal(t, []string{"rules.yml", "sorry.html"}, c.Files)
	require.Contains(t, string(c.Defaults.ErrorPages[503]), "Back in a moment")

	shown := map[string]bool{}
	for _, file := range []string{"rules.yml", "tls/tls.yml"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var root yaml.Node
		require.NoError(t, yaml.Unmarshal(text, &root))
		collectKeys(&root, shown)
	}
	// The same setting under Rancher's second name, what is only passed over, and
	// what has a sample of its own.
	elsewhere := map[string]bool{"initialization_timeout": true, "recreate_on_quorum_strategy_config": true, "quorum": true, "sources": true}
	keys := keysIn(t, "rules_file.go", "port_rules.go", "services.go", "sections.go", "edits.go", "tls.go", "acme.go")
	for _, key := range keys {
		require.True(t, shown[key] != elsewhere[key], "key %q is neither in rules.yml nor in tls.yml", key)
	}
	require.Greater(t, len(keys), 70)
}

// keysIn are the keys that the readers in these files know.
func keysIn(t *testing.T, files ...string) (keys []string) {
	t.Helper()
	for _, name := range files {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			key, reader, ok := strings.Cut(strings.TrimSpace(line), `":`)
			if ok && strings.HasPrefix(key, `"`) && (strings.Contains(reader, "into(") || strings.Contains(reader, "func(v value)")) {
				keys = append(keys, key[1:])
			}
		}
	}
	return keys
}

func collectKeys(n *yaml.Node, keys map[string]bool) {
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			keys[c.Value] = true
		}
		collectKeys(c, keys)
	}
}

// The defaults in rules.yml are the defaults.
func TestLoad_RulesSampleTellsTheDefaults(t *testing.T) {
	c := sample(t, "rules.yml")
	got := c.Defaults
	got.ErrorPages = nil
	require.Equal(t, DefaultDefaults, got)
	require.Equal(t, DefaultLog, c.Log)
}

func TestLoad_TLSSample(t *testing.T) {
	c := sample(t, "tls/tls.yml")
	require.Empty(t, c.Problems)
	table, problems := rules.Compile(rules.Input{Rules: c.Rules, Services: c.Services}, rules.NoBackends{})
	require.Empty(t, problems)
	got := strings.Split(strings.TrimSpace(table.String()), "\n")
	for i, line := range got {
		got[i] = strings.Join(strings.Fields(line), " ")
	}
	require.Equal(t, []string{
		"*:53/udp * -> dns: 10.42.27.237:53",
		"*:80 arzur.net -> redirect 302/307 https://{host}{path}",
		"*:443/https arzur.net -> blog: no server yet; blog is looked up at run time",
		"*:636/tls * -> ldap: no server yet; ldap.internal is looked up at run time",
		"*:5432/tcp * -> postgres: 10.42.27.236:5432",
		"*:8443/https intern.arzur.net -> intern: 10.42.27.235:8443",
		"*:9443/sni *.arzur.net -> passed-on: 10.42.27.235:9443",
	}, got)
	require.Equal(t, []string{"tls/tls.yml", "tls/servers-ca.pem", "tls/clients-ca.pem"}, c.Files, "watched")
	require.Equal(t, []certs.Files{
		{Cert: "/etc/lb/arzur.net.pem", Key: "/etc/lb/arzur.net.key", Origin: "tls/tls.yml:9"}, {Dir: "/etc/lb/certs", Origin: "tls/tls.yml:10"},
	}, c.Certs)
	require.Equal(t, "/etc/lb/other.key", c.DefaultCert.Key)
	require.Equal(t, ClientCert{"X-Client-Subject", "X-Client-Fingerprint", "X-Client-Cert"}, c.ClientCert)
	require.True(t, table.Entries()[2].Rule.ACME)
	require.Equal(t, 8080, int(table.Entries()[2].Rule.TargetPort))
	require.Equal(t, "mac-key", string(c.ACME.Key))
	require.Equal(t, 720*time.Hour, c.ACME.RenewBefore)
}

func TestLoad_RancherSample(t *testing.T) {
	f := func(stack string, paths ...string) {
		t.Helper()
		c, err := Load(paths, stack)
		require.NoError(t, err)
		require.Len(t, c.Rules, 1)
		require.Len(t, c.Services, 1)
		require.Equal(t, "rancher-blog/blog", c.Rules[0].Service)
		require.Equal(t, "rancher-blog/blog", c.Services[0].Name)
		require.Equal(t, "blog", c.Services[0].Instances[0].Host)
		require.Equal(t, "GET / HTTP/1.0", c.Services[0].Check.RequestLine)
		require.Len(t, c.Problems, 1)
		require.False(t, c.Problems[0].Fatal)
		require.Contains(t, c.Problems[0].Reason, `"rancher-blog" is no service but the name of the stack; taken as "blog"`)
	}
	f("rancher-blog", "rancher")
	f("rancher-blog", "rancher/docker-compose.yml", "rancher/rancher-compose.yml")

	folder := filepath.Join(t.TempDir(), "rancher-blog")
	require.NoError(t, os.CopyFS(folder, os.DirFS("rancher")))
	f("", folder)
}
