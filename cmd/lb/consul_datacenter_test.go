package main

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConsul_TwoDatacenters(t *testing.T) {
	wan := freePort(t)
	a := startAgent(t, "-node", "one", "-hcl", fmt.Sprintf("ports { serf_wan = %d }", wan))
	b := startAgent(t, "-datacenter", "dc2", "-node", "other", "-hcl", fmt.Sprintf("ports { serf_wan = %d } retry_join_wan = [%q]", freePort(t), local(wan)))
	b.stdout.rewind()
	b.await("Handled event for server in area", "one.dc1")
	here, there, more := testPort(t, "here"), testPort(t, "there"), testPort(t, "more")
	port, admin := freePort(t), freePort(t)
	a.register("blog", "blog", here, nil)
	b.register("blog", "blog", there, nil)
	b.put("/v1/kv/lb/rules/there", fmt.Sprintf("port_rules: [{source_port: %d, hostname: kv.example, service: consul:blog}]", freePort(t)))
	p := start(t, "-config", write(t, "rules.yml", fmt.Sprintf(`
sources: {consul: {address: %q}}
admin: {address: %q}
port_rules:
- {source_port: %d, hostname: here.example, service: "consul:blog"}
- {source_port: %[3]d, hostname: there.example, service: "consul:blog@dc2"}
- {source_port: %[3]d, hostname: nowhere.example, service: "consul:blog@dc9"}
`, a.address, local(admin), port)))
	require.Equal(t, "here /", askHost(t, port, "here.example", "/"))
	require.Equal(t, "there /", askHost(t, port, "there.example", "/"))
	require.Contains(t, askHost(t, port, "nowhere.example", "/"), "503")
	require.Contains(t, curl(t, "http://"+local(admin)+"/healthz?verbose"), "service blog@dc9: Unexpected response code: 500 (No path to datacenter)")
	b.register("blog", "more", more, nil)
	p.await("rule changed", "there.example", serversOf(local(there), local(more)))

	p = start(t, "-admin", "off", "-config", write(t, "rules.yml", fmt.Sprintf("sources: {consul: {address: %q, datacenter: dc2, kv: lb/rules}}\n", a.address)))
	p.stderr.rewind()
	p.await("rule added", "kv.example", serversOf(local(there), local(more)))

	require.NoError(t, b.Process.Kill())
	b.exit()
	a.register("blog", "two", more, nil)
	require.Equal(t, "there /", askHost(t, port, "there.example", "/"), "what was known of it stays")
}

// testPort is where a server with this name is.
func testPort(t *testing.T, name string) int {
	t.Helper()
	port, _ := checkedServer(t, name)
	return port
}
