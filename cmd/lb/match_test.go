package main

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMatch_AsksTheFilesOrARunningLB(t *testing.T) {
	port, control, server, dead := freePort(t), freePort(t), namedServer(t, "one"), local(freePort(t))
	file := write(t, "rules.yml", fmt.Sprintf(`
port_rules:
- {source_port: %d, address: 127.0.0.1, hostname: arzur.net, path: /blog, strip_prefix: /blog, service: blog}
- {source_port: %d, address: 127.0.0.1, hostname: arzur.net, service: gone}
services:
  blog: {servers: [%q]}
  gone: {servers: [%q], health_check: {interval: 20ms}}
admin: {address: %q}
`, port, port, server, dead, local(control)))
	f := func(code int, want string, args ...string) {
		t.Helper()
		r := lb(t, append([]string{"match"}, args...)...)
		require.Equal(t, code, r.code, r.stderr)
		require.Contains(t, r.stdout+r.stderr, want)
	}
	url := "http://" + local(port)
	f(0, "-> blog, as /x\n   "+server+"\n", "-config", file, "-H", "Host: arzur.net", url+"/blog/x")
	f(0, "-> gone\n   "+dead+"\n", url, "-H", "Host: arzur.net", "-config", file)
	f(1, "-> 404 no_rule: ", url, "-config", file)
	f(1, "match: nobody listens on *:1; listeners are "+local(port), "-config", file, "http://arzur.net:1")
	f(1, "unknown service", "-config", write(t, "bad.yml", "port_rules: [{source_port: 1, service: x}]\nservices: {}\n"), url)

	start(t, "-config", file)
	f(0, "-> blog, as /x\n   "+server+"  up\n", "-admin", local(control), "-H", "Host: arzur.net", url+"/blog/x")
	f(1, "host 127.0.0.1, want arzur.net\n", "-admin", local(control), url)
	f(1, "match: status 400: nobody listens on *:1; ", "-admin", local(control), "http://arzur.net:1")
	require.Eventually(t, func() bool {
		r := lb(t, "match", "-admin", local(control), url, "-H", "Host: arzur.net")
		return r.code == 1 && r.stdout == fmt.Sprintf(`%s  GET  arzur.net/
  no   arzur.net/blog  %s:3  path /, want /blog or below
  yes  arzur.net       %s:4
-> 503 no_backend: no server of this service is usable
   %s  down: connect: connection refused
`, local(port), file, file, dead)
	}, patience, 20*millisecond)
}

func TestCheck_WarnsOfPatternsOfTraefik2(t *testing.T) {
	port, control := freePort(t), freePort(t)
	file := write(t, "rules.yml", fmt.Sprintf("port_rules: [{source_port: %d, rule: 'HostRegexp(`{sub:.+}.a.net`)', service: blog}]\nservices: {blog: {servers: [%q]}}\nadmin: {address: %q}\n",
		port, namedServer(t, "one"), local(control)))
	r := lb(t, "check", "-config", file)
	require.Zero(t, r.code)
	require.Contains(t, r.stderr, `warning: `+file+`:1: rule "`)
	require.Contains(t, r.stderr, "a {name:pattern} of Traefik 2's")
	p := start(t, "-config", file)
	p.stderr.rewind()
	p.await("taken with a warning", "a {name:pattern} of Traefik 2's")
	require.Contains(t, curl(t, "http://"+local(control)+"/api/rejected"), "a {name:pattern} of Traefik 2's")
}
