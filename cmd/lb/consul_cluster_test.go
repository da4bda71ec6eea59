package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// startCluster runs three servers of one cluster, which keep what they know on disk.
func startCluster(t *testing.T) (servers []*agent) {
	t.Helper()
	var join []string
	for i := range 3 {
		a := newAgent(t, "-bootstrap-expect", "3", "-node", fmt.Sprint("n", i+1), "-data-dir", t.TempDir(),
			"-hcl", `performance { raft_multiplier = 1 } retry_interval = "200ms"`)
		join = append(join, "-retry-join", a.lan)
		servers = append(servers, a)
	}
	for _, a := range servers {
		a.args = append(a.args, join...)
		a.launch(t)
	}
	for _, a := range servers {
		a.awaitLeader("")
	}
	return servers
}

// leader is the address of the leader as this agent knows it, "" if it knows none.
func (a *agent) leader() string {
	r, err := http.Get("http://" + a.address + "/v1/status/leader")
	if err != nil {
		return ""
	}
	return strings.Trim(readAll(a.t, r), "\"\n")
}

// awaitLeader waits until the agent knows a leader that is not the old one.
func (a *agent) awaitLeader(old string) {
	a.t.Helper()
	require.Eventually(a.t, func() bool { l := a.leader(); return l != old && strings.HasPrefix(l, "127.") },
		patience, 100*time.Millisecond)
}

// spread runs a server for each agent, registered there, and lb, which knows the
// agent numbered asks.
func spread(t *testing.T, servers []*agent, asks int) (port int, p *process, all []string) {
	t.Helper()
	port = freePort(t)
	for i, a := range servers {
		at := freePort(t)
		startServer(t, fmt.Sprint("server", i+1), at)
		a.register("blog", "blog", at, nil, fmt.Sprint("lb.source_port=", port))
		all = append(all, local(at))
	}
	p = start(t, "-admin", "off", "-config", write(t, "rules.yml",
		fmt.Sprintf("defaults: {loops: 2}\nsources: {consul: {address: %q}}", servers[asks].address)))
	p.stderr.rewind()
	p.await(serversOf(all...))
	return port, p, all
}

func TestConsul_LeaderKilledUnderLoad(t *testing.T) {
	for _, own := range []bool{false, true} {
		servers := startCluster(t)
		leads := servers[0].leader()
		leader := slices.IndexFunc(servers, func(a *agent) bool { return a.server == leads })
		require.GreaterOrEqual(t, leader, 0)
		asks := leader
		if !own {
			asks = (leader + 1) % len(servers)
		}
		port, p, _ := spread(t, servers, asks)
		l := startLoad(t, port)
		require.NoError(t, servers[leader].Process.Kill())
		servers[leader].exit()
		if own {
			p.await("consul does not answer")
			servers[leader].launch(t)
			servers[leader].awaitLeader("")
			p.await("consul answers again")
		} else {
			servers[asks].awaitLeader(leads)
			p.await("rule changed") // its node is found out, and its instance leaves
		}
		l.stop()
	}
}

// outage is how long the whole cluster stays away: longer than it takes lb to ask
// as seldom as it ever does.
const outage = 20 * time.Second

func TestConsul_WholeClusterRestartedUnderLoad(t *testing.T) {
	servers := startCluster(t)
	port, p, all := spread(t, servers, 0)
	l := startLoad(t, port)
	for _, a := range servers {
		require.NoError(t, a.Process.Kill())
	}
	for _, a := range servers {
		a.exit()
	}
	p.await("consul does not answer")
	select { // the outage itself is what is tested
	case <-time.After(outage):
	case <-p.ended:
	}
	for _, a := range servers {
		a.launch(t)
	}
	for _, a := range servers {
		a.awaitLeader("")
	}
	p.await("consul answers again")
	at := freePort(t)
	startServer(t, "server4", at)
	servers[2].register("blog", "blog4", at, nil, fmt.Sprint("lb.source_port=", port))
	p.await("rule changed", serversOf(append(all, local(at))...))
	l.stop()
}

func TestConsul_QuorumLostUnderLoad(t *testing.T) {
	servers := startCluster(t)
	port, p, all := spread(t, servers, 0)
	l := startLoad(t, port)
	for _, a := range servers[1:] {
		require.NoError(t, a.Process.Kill())
		a.exit()
	}
	require.Eventually(t, func() bool { return servers[0].leader() == "" }, patience, 100*time.Millisecond)
	late := startWith(t, nil, fmt.Sprintf("address: %q, entry_points: {web: %d}", servers[0].address, freePort(t)))
	late.await("consul does not answer") // the agent says that there is no leader, or nothing in time
	for _, a := range servers[1:] {
		a.launch(t)
	}
	servers[0].awaitLeader("")
	late.await("consul answers again")
	at := freePort(t)
	startServer(t, "server4", at)
	servers[2].register("blog", "blog4", at, nil, fmt.Sprint("lb.source_port=", port))
	p.await("rule changed", serversOf(append(all, local(at))...))
	l.stop()
}
