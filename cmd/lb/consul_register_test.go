package main

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// passing are the instances of a service all of whose checks pass, as JSON without spaces.
func (a *agent) passing(service string) string {
	a.t.Helper()
	return strings.Join(strings.Fields(curl(a.t, "http://"+a.address+"/v1/health/service/"+service+"?passing")), "")
}

func TestConsul_RegistersAndLeaves(t *testing.T) {
	a := startAgent(t)
	port, admin := freePort(t), freePort(t)
	file := write(t, "rules.yml", fmt.Sprintf(`
sources: {consul: {address: %q, register: {name: edge, port: %d, tags: [v1], interval: 1s}}}
admin: {address: %q}
port_rules: [{source_port: %[2]d, service: blog}]
services: {blog: {servers: [%[4]q]}}
`, a.address, port, local(admin), namedServer(t, "one")))
	p := start(t, "-config", file)
	passes := func() bool {
		text := a.passing("edge")
		return strings.Contains(text, fmt.Sprintf(`"Port":%d`, port)) && strings.Contains(text, `"v1"`)
	}
	require.Eventually(t, passes, patience, 50*millisecond, "the agent's check passes")

	// Never is it gone while a successor takes over.
	ended := make(chan struct{})
	gone := 0
	var watching sync.WaitGroup
	watching.Go(func() { // ends with ended
		for {
			select {
			case <-ended:
				return
			default:
				if !passes() {
					gone++
				}
			}
		}
	})
	second := handOver(t, p)
	require.Zero(t, p.exit())
	require.Eventually(t, func() bool { return strings.Contains(a.passing("edge"), fmt.Sprintf(`"pid":"%d"`, second)) }, patience, 50*millisecond)
	close(ended)
	watching.Wait()
	require.Zero(t, gone)

	require.NoError(t, syscall.Kill(second, syscall.SIGTERM))
	awaitEnd(t, second)
	require.Equal(t, "{}", strings.TrimSpace(curl(t, "http://"+a.address+"/v1/agent/services")), "it has left by its end")
}

// TestConsul_RegistersOnceThereIsConsul: also when Consul loses what it knew.
func TestConsul_RegistersOnceThereIsConsul(t *testing.T) {
	a := startAgent(t)
	require.NoError(t, a.Process.Kill())
	a.exit()
	p := start(t, "-admin", local(freePort(t)), "-config", write(t, "rules.yml", fmt.Sprintf("sources: {consul: {address: %q, register: {}}}", a.address)))
	for range 2 {
		a.launch(t)
		a.await("Synced service", "service=lb-")
		require.NoError(t, a.Process.Kill())
		a.exit()
	}
	p.signal(syscall.SIGTERM)
	require.Zero(t, p.exit(), "without an agent it ends too")
	require.Contains(t, p.stderr.String(), "leave consul")
}

// TestConsul_NoHandOverWhileItIsGone: the successor would have nothing to serve.
func TestConsul_NoHandOverWhileItIsGone(t *testing.T) {
	a := startAgent(t)
	port := freePort(t)
	register := func(name string) (server string) {
		t.Helper()
		at := testPort(t, name)
		a.register("blog", "blog", at, nil, fmt.Sprint("lb.source_port=", port))
		return local(at)
	}
	register("one")
	p := startWith(t, nil, fmt.Sprintf("address: %q", a.address))
	require.NoError(t, a.Process.Kill())
	a.exit()
	p.signal(syscall.SIGUSR2)
	p.await("hand-over failed; this process keeps serving", "exit status 1")
	require.Contains(t, p.stderr.String(), "hand-over: source consul: has not answered for ")
	require.Equal(t, "200 one /", visit(t, port))

	a.launch(t)
	a.await("Synced node info")
	p.await(serversOf(register("two"))) // the agent has forgotten the first
	handOver(t, p)
	require.Zero(t, p.exit())
	require.Equal(t, "200 two /", visit(t, port))
}

// TestConsul_StartsFromTheCacheWhileItIsGone: so it does after a power cut.
func TestConsul_StartsFromTheCacheWhileItIsGone(t *testing.T) {
	a := startAgent(t)
	port, admin := freePort(t), freePort(t)
	a.register("blog", "blog", testPort(t, "one"), nil, fmt.Sprint("lb.source_port=", port))
	file := write(t, "rules.yml", fmt.Sprintf("sources: {consul: {address: %q, cache: consul.json}}\nadmin: {address: %q}\n", a.address, local(admin)))
	p := start(t, "-config", file)
	require.Equal(t, "200 one /", visit(t, port))
	p.signal(syscall.SIGTERM)
	require.Zero(t, p.exit())
	require.NoError(t, a.Process.Kill())
	a.exit()

	p = start(t, "-config", file)
	require.Equal(t, "200 one /", visit(t, port))
	require.Contains(t, curl(t, "http://"+local(admin)+"/healthz?verbose"), "[!] source consul: has not answered yet; what it said at 2")
	handOver(t, p) // its successor knows as much
	require.Zero(t, p.exit())
	require.Equal(t, "200 one /", visit(t, port))
	a.launch(t)
	a.await("Synced node info")
	two := testPort(t, "two")
	a.register("blog", "blog", two, nil, fmt.Sprint("lb.source_port=", port))
	p.await(serversOf(local(two))) // the agent has forgotten the first
	require.Equal(t, "200 two /", visit(t, port))
}
