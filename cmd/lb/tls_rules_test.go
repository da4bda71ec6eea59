package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// example is what documents show first, but for its services.
const example = `certs:
- {cert: /etc/lb/arzur.pem, key: /etc/lb/arzur.key}
acme: {email: me@arzur.net, cache: /var/lib/lb/acme, directory: "", hosts: from-rules}
port_rules:
- {source_port: 443, protocol: https, hostname: arzur.net, service: blog, target_port: 80}
- {source_port: 80, hostname: arzur.net, redirect: {scheme: https}}
`

// startExample serves example with its files in a folder of the test's own.
func startExample(t *testing.T, a *authority, edits ...string) {
	t.Helper()
	dir := t.TempDir()
	pair := filepath.Join(dir, "pair.pem")
	a.issue(pair, "arzur.net")
	text, err := os.ReadFile(pair)
	require.NoError(t, err)
	end := strings.LastIndex(string(text), "-----BEGIN PRIVATE KEY")
	write(t, filepath.Join(dir, "arzur.pem"), string(text[:end]))
	write(t, filepath.Join(dir, "arzur.key"), string(text[end:]))
	edits = append(edits, "/etc/lb", dir, "/var/lib/lb", dir)
	rules := strings.NewReplacer(edits...).Replace(example) +
		fmt.Sprintf("services: {blog: {servers: [%q]}}\nadmin: 'off'\n", namedServer(t, "one"))
	file := write(t, filepath.Join(dir, "rules.yml"), rules)
	r := lb(t, "check", "-config", file)
	require.Zero(t, r.code, r.stderr)
	require.Equal(t, "ok: 2 rules, 2 listeners\n", r.stdout)
	require.Empty(t, r.stderr)
	start(t, "-config", file)
}

func TestTLSRules_Example(t *testing.T) {
	a, web, secure := newAuthority(t), freePort(t), freePort(t)
	startExample(t, a, "443", fmt.Sprint(secure), "source_port: 80", fmt.Sprint("source_port: ", web))
	require.Equal(t, "one\n200", curlTLS(t, a, "arzur.net", secure))
	require.Contains(t, redirected(t, web, "/x?y"), "302 https://arzur.net")
}

// redirected asks for a path of arzur.net in the clear: status and where to go.
func redirected(t *testing.T, port int, path string, args ...string) string {
	t.Helper()
	args = append([]string{"--connect-to", "arzur.net::127.0.0.1:", "-o", os.DevNull, "-w", "%{http_code} %{redirect_url}"}, args...)
	return curl(t, append(args, fmt.Sprintf("http://arzur.net:%d%s", port, path))...)
}

func TestTLSRules_ListsOfPortsAndProtocols(t *testing.T) {
	a, dir := newAuthority(t), t.TempDir()
	a.issue(filepath.Join(dir, "a.pem"), "arzur.net")
	web, secure, both, bothSecure, more, third := freePort(t), freePort(t), freePort(t), freePort(t), freePort(t), freePort(t)
	start(t, "-config", write(t, "rules.yml", fmt.Sprintf(`certs: [{dir: %q}]
port_rules:
- {source_port: [%d, %d], protocol: [http, https], https_redirect: true, address: 127.0.0.1, hostname: arzur.net, service: blog}
- {source_port: [%d, %d], protocol: [http, https], address: 127.0.0.1, hostname: arzur.net, path: /api, service: blog}
- {source_port: [%d, %d], tls: true, address: 127.0.0.1, hostname: arzur.net, service: blog}
services: {blog: {servers: [%q]}}
admin: "off"
`, dir, web, secure, both, bothSecure, more, third, namedServer(t, "one"))))

	there := fmt.Sprintf("https://arzur.net:%d/x?y", secure)
	require.Equal(t, "302 "+there, redirected(t, web, "/x?y"))
	require.Equal(t, "307 "+there, redirected(t, web, "/x?y", "--data", "z"))
	require.Equal(t, "one\n200", curlTLS(t, a, "arzur.net", secure))
	require.Equal(t, "one\n", curl(t, "-L", "--cacert", a.file, "--connect-to", "arzur.net::127.0.0.1:", fmt.Sprintf("http://arzur.net:%d/", web)), "all the way")

	require.Equal(t, "one\n", curl(t, "-H", "Host: arzur.net", fmt.Sprintf("http://127.0.0.1:%d/api", both)))
	require.Contains(t, curlTLS(t, a, "arzur.net", bothSecure), "404", "the path counts on both")
	require.Equal(t, "one\n", curl(t, "--cacert", a.file, "--connect-to", "arzur.net::127.0.0.1:", fmt.Sprintf("https://arzur.net:%d/api", bothSecure)))
	for _, port := range []int{more, third} {
		require.Equal(t, "one\n200", curlTLS(t, a, "arzur.net", port))
	}

	// Who speaks the other protocol gets a word at most, and hurts nobody.
	code, _ := curlFails(t, a, "arzur.net", web)
	require.Equal(t, 35, code)
	r := finish(t, exec.Command(need(t, "curl"), "-sS", "http://"+local(secure)))
	require.Contains(t, r.stdout, "400 Bad Request: this port speaks TLS")
	require.Equal(t, "one\n200", curlTLS(t, a, "arzur.net", secure))
}

func TestTLSRules_Mistakes(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		r := lb(t, "check", "-config", write(t, "rules.yml", text+"services: {blog: {servers: [127.0.0.1]}}\n"))
		require.Equal(t, 1, r.code, r.stdout)
		for _, w := range want {
			require.Contains(t, r.stderr, w)
		}
	}
	for _, protocols := range [][2]string{{"https", "tcp"}, {"http", "https"}, {"sni", "tls"}, {"tcp", "http"}} {
		f(fmt.Sprintf("port_rules:\n- {name: first, source_port: 8443, protocol: %s, service: blog}\n- {name: second, source_port: 8443, protocol: %s, service: blog}\n",
			protocols[0], protocols[1]), "rules.yml:3", `rule "second"`, `rule "first"`)
	}
	rule := "port_rules: [{source_port: 8443, tls: true, hostname: a.net, service: blog}]\n"
	f(rule+"tls: {min_version: '1.1'}\n", "min_version", "1.2")
	f(rule+"tls: {ciphers: [RC4-SHA]}\n", "ciphers", "RC4-SHA")
	f(rule+"tls: {client_auth: {ca: /nowhere.pem}}\n", "/nowhere.pem")
	f("port_rules: [{source_port: 8443, protocol: tcp, path: /x, service: blog}]\n", "path")
	f("port_rules: [{source_port: [80, 443, 444], protocol: [http, https], service: blog}]\n", "protocol")
}
