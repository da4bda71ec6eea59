package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// withDNS has an agent answer DNS too, which it does at the address returned.
func withDNS(t *testing.T, args ...string) (a *agent, dns string) {
	t.Helper()
	port := freePort(t)
	return startAgent(t, append([]string{"-hcl", fmt.Sprintf("ports { dns = %d }", port)}, args...)...), local(port)
}

func TestConsulDNS_ServersFollowTheCatalog(t *testing.T) {
	a, dns := withDNS(t)
	port, admin := freePort(t), freePort(t)
	one, _ := checkedServer(t, "one")
	two, _ := checkedServer(t, "two")
	ttl := func(id string) object {
		return object{"Checks": []object{{"CheckID": id, "TTL": "1h", "Status": "passing"}}, "Weights": object{"Passing": 3, "Warning": 1}}
	}
	a.register("blog", "one", one, ttl("one"), "v1")
	rules := func(keep string) string {
		return fmt.Sprintf(`
sources: {dns: {servers: [%q], min_ttl: 100ms, max_ttl: 1s, keep: %s}}
admin: {address: %q}
port_rules:
- {source_port: %d, hostname: a.example, service: "dns:blog.service.consul:%d"}
- {source_port: %[4]d, hostname: srv.example, service: "dns+srv:blog.service.consul"}
- {source_port: %[4]d, hostname: tag.example, service: "dns+srv:v2.blog.service.consul"}
- {source_port: %[4]d, hostname: rfc.example, service: "dns+srv:_blog._v1.service.consul"}
`, dns, keep, local(admin), port, one)
	}
	file := write(t, "rules.yml", rules("5m"))
	p := start(t, "-config", file)
	for _, host := range []string{"a.example", "srv.example", "rfc.example"} {
		require.Equal(t, "one /", askHost(t, port, host, "/"))
	}
	require.Contains(t, askHost(t, port, "tag.example", "/"), "503")

	a.register("blog", "two", two, object{"Checks": []object{{"CheckID": "two", "TTL": "1h", "Status": "passing"}}}, "v2")
	p.await("rule changed", "srv.example", local(one)+" weight 3", local(two))
	p.stderr.rewind()
	p.await("rule changed", "tag.example", serversOf(local(two)))
	a.put("/v1/agent/check/fail/one", nil)
	p.await("rule changed", "srv.example", serversOf(local(two)))

	a.put("/v1/agent/check/fail/two", nil)
	p.await("dns+srv:blog.service.consul", "does not exist (NXDOMAIN)", "stays in use until")
	require.Equal(t, "two /", askHost(t, port, "srv.example", "/"))
	require.Contains(t, curl(t, "http://"+local(admin)+"/healthz?verbose"), "does not exist (NXDOMAIN)")
	write(t, file, rules("1ms"))
	p.await("dns+srv:blog.service.consul", "was kept for 1ms, now its rules answer 503")
	require.Contains(t, askHost(t, port, "srv.example", "/"), "503")

	a.put("/v1/agent/check/pass/two", nil)
	p.await("rule changed", "srv.example", serversOf(local(two)))
	require.NoError(t, a.Process.Kill())
	a.exit()
	p.await("dns+srv:blog.service.consul", "refused", "stays in use\"")
	require.Equal(t, "two /", askHost(t, port, "srv.example", "/"), "whatever keep says: nobody answers")
}

func TestConsulDNS_ManyInstances(t *testing.T) {
	a, dns := withDNS(t)
	const instances = 120
	var batch []object
	for n := range instances {
		batch = append(batch, object{"Service": object{"Verb": "set", "Node": "n", "Service": object{
			"ID": fmt.Sprint("blog-", n), "Service": "blog", "Address": fmt.Sprintf("127.0.1.%d", n+1), "Port": 8000 + n}}})
	}
	a.put("/v1/catalog/register", object{"Node": "n", "Address": "127.0.0.1"})
	for len(batch) > 0 {
		some := min(60, len(batch))
		a.put("/v1/txn", batch[:some])
		batch = batch[some:]
	}
	p := start(t, "-admin", "off", "-config", write(t, "rules.yml", fmt.Sprintf(`
sources: {dns: {servers: [%q], min_ttl: 100ms, max_ttl: 100ms}}
port_rules:
- {source_port: %d, hostname: srv.example, service: "dns+srv:blog.service.consul"}
- {source_port: %[2]d, hostname: a.example, service: "dns:blog.service.consul:80"}
- {source_port: %[2]d, hostname: other.example, service: "dns+srv:other.service.consul"}
`, dns, freePort(t))))
	for _, host := range []string{"srv.example", "a.example"} {
		p.stderr.rewind()
		require.Equal(t, instances, strings.Count(p.await("rule added", host), "127.0.1."), host)
	}
	a.register("other", "other", 1, nil)
	p.await("rule changed", "other.example") // some look-ups later
	require.Equal(t, 1, strings.Count(p.stderr.String(), "rule changed"), "every look-up finds the same")
}
