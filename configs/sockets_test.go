package configs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules"
)

func TestParse_SocketsOfARule(t *testing.T) {
	f := func(rule string, want ...string) {
		t.Helper()
		c, err := Parse("rules.yml", []byte("port_rules: [{"+rule+"}]"))
		require.NoError(t, err)
		var got []string
		for _, r := range c.Rules {
			to := fmt.Sprintf("%s:%d", r.Service, r.TargetPort)
			if r.Redirect != nil {
				to = r.Redirect.String()
			}
			if r.ACME {
				to += " acme"
			}
			if r.ProxyIn {
				to += " proxy"
			}
			got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s -> %s", r.Name, r.Listen(), to)))
		}
		require.Equal(t, want, got)
	}
	f("source_port: 80, service: a", "*:80 -> a:0")
	f("source_port: [80], service: a", "*:80 -> a:0")
	f("source_port: [80, 81], service: a, name: n", "n 80 *:80 -> a:80", "n 81 *:81 -> a:80")
	f("source_port: [80, 443], protocol: [http, https], service: a, target_port: 8080", "*:80 -> a:8080", "*:443/https -> a:8080")
	f("source_port: [5000, 5001], protocol: tcp, service: a, proxy_protocol: in", "*:5000/tcp -> a:5000 proxy", "*:5001/tcp -> a:5000 proxy")
	f("source_port: 443, tls: acme, service: a", "*:443/https -> a:0 acme")
	f("source_port: 443, tls: true, service: a", "*:443/https -> a:0")
	f("source_port: 80, tls: false, service: a", "*:80 -> a:0")
	f("source_port: 636, tls: acme, protocol: tls, service: a", "*:636/tls -> a:0 acme")
	f("source_port: [80, 443], protocol: [http, https], tls: acme, service: a", "*:80 -> a:80", "*:443/https -> a:80 acme")
	f("source_port: [80, 443], protocol: [http, https], https_redirect: true, service: a, strip_prefix: /x",
		"*:80 -> redirect 302/307 https://{host}{path}", "*:443/https -> a:80")
	f("source_port: [80, 8443], protocol: [http, https], https_redirect: true, service: a",
		"*:80 -> redirect 302/307 https://{host}:8443{path}", "*:8443/https -> a:80")
	f("source_port: 80, https_redirect: true", "*:80 -> redirect 302/307 https://{host}{path}")
	f("source_port: 80, https_redirect: true, service: a", "*:80 -> redirect 302/307 https://{host}{path}")
	f("source_port: 80, https_redirect: false, service: a", "*:80 -> a:0")
}

func TestParse_RedirectKeepsTheMatch(t *testing.T) {
	c, err := Parse("rules.yml", []byte(`
port_rules:
- {source_port: 80, https_redirect: true, hostname: a.com, path: /x, path_match: exact, priority: 3, service: a, add_prefix: /y, proxy_protocol: in}
`))
	require.NoError(t, err)
	require.Equal(t, []rules.Rule{{
		Origin: "rules.yml:3", Port: 80, Hostname: "a.com", Path: "/x", PathMatch: rules.PathExact, Priority: 3, ProxyIn: true,
		Redirect: &rules.Redirect{Scheme: "https", ByMethod: true},
	}}, c.Rules)
}

func TestParseFragment_ReadsNoFile(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		got := ParseFragment("k", []byte(text))
		require.Len(t, got.Problems, 1)
		require.Equal(t, want, got.Problems[0].Reason)
	}
	f("services: {a: {tls: {ca: /etc/passwd}}}", "services.a.tls.ca: files can be named in a file alone")
	f("certs: [{dir: /etc}]", "certs: settings stand in a file; here port_rules and services alone count")
	f("acme: {cache: /etc}", "acme: settings stand in a file; here port_rules and services alone count")
}
