package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// overlays counts those that were made. Engines may leave an interface behind,
// and the next network must not have the same number.
var overlays int

// overlay makes an overlay network of that name.
func (e *engine) overlay(name string, args ...string) {
	e.t.Helper()
	overlays++
	e.docker(append([]string{
		"network", "create", "--driver=overlay", "--opt", fmt.Sprint("com.docker.network.driver.overlay.vxlanid_list=", 5000+overlays), name,
	}, args...)...)
}

// startSwarm is an Engine that is a Swarm, with lb as a service in it. The ports
// are published in host mode, because the routing mesh needs a module that not
// every kernel has.
func startSwarm(t *testing.T) *engine {
	t.Helper()
	e := startEngine(t)
	e.docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--default-addr-pool", "10.232.0.0/16")
	e.overlay("traefik-net")
	e.service("--name", "lb", "--constraint=node.role==manager", "--network", "traefik-net",
		"--publish", "published=8081,target=80,mode=host", "--publish", "published=8080,target=8080,mode=host",
		"--mount", "type=bind,source="+e.socket+",target=/var/run/docker.sock", "lb", "-docker", "-swarm", "-admin", ":8080")
	return e
}

func (e *engine) service(args ...string) {
	e.t.Helper()
	e.docker(append([]string{"service", "create", "--detach", "--quiet"}, args...)...)
}

// replicas waits until a service has so many tasks that run, and no others.
func (e *engine) replicas(service string, n int) {
	e.t.Helper()
	e.eventually(fmt.Sprintf("%s has %d tasks", service, n), func() bool { return len(e.tasks(service)) == n })
}

// tasks are the containers of a service's tasks that run, by the names that they answer with.
func (e *engine) tasks(service string) (servers []string) {
	out := e.output("ps", "--filter", "label=com.docker.swarm.service.name="+service, "--format", "{{.ID}}")
	servers = strings.Fields(out)
	slices.Sort(servers)
	return servers
}

// served waits until exactly the tasks of a service answer.
func (e *engine) served(l *traffic, service string) {
	e.t.Helper()
	e.eventually("the tasks of "+service+" answer, and nobody else", func() bool {
		at := time.Now()
		time.Sleep(100 * time.Millisecond) // as long as it takes all to have their turn
		return slices.Equal(l.since(at), e.tasks(service))
	})
}

func TestSwarm_Walk(t *testing.T) {
	e := startSwarm(t)
	e.service("--name", "running_cdn", "--replicas", "2", "--label", "traefik.backend=cdn",
		"--label", "traefik.frontend.rule=Host:alderaan;PathPrefixStrip:/cdn/", "--network", "traefik-net", "--label", "traefik.port=80", "cdn")
	e.service("--name", "running_saas", "--replicas", "1", "--label", "traefik.backend=saas",
		"--label", "traefik.frontend.rule=Host:alderaan;PathPrefixStrip:/saas", "--label", "traefik.port=80", "--network", "traefik-net", "saas")
	at := func(path string) answer { return ask(t, "127.0.0.1:8081", "alderaan", path) }
	e.eventually("lb answers", func() bool { return at("/cdn/x").status == 200 && at("/saas/x").status == 200 })
	e.replicas("running_cdn", 2)
	e.replicas("running_saas", 1)

	var turns []string
	e.eventually("both replicas are known", func() bool {
		turns = []string{at("/cdn/x").text, at("/cdn/x").text}
		return turns[0] != turns[1]
	})
	for i := range 6 {
		require.Equal(t, turns[i%2], at("/cdn/x").text, "in turn")
	}
	cdn := e.tasks("running_cdn")
	slices.Sort(turns)
	require.Equal(t, []string{cdn[0] + " /x", cdn[1] + " /x"}, turns)
	require.Equal(t, e.tasks("running_saas")[0]+" /x", at("/saas/x").text)
	require.Equal(t, 404, at("/cdn").status)
	require.Equal(t, 404, ask(t, "127.0.0.1:8081", "elsewhere", "/cdn/x").status)

	l := startTraffic(t, "127.0.0.1:8081", "alderaan", "/saas/x")
	begun, best := time.Now(), time.Hour
	for _, n := range []int{2, 1, 5, 2} {
		e.docker("service", "scale", "--detach", fmt.Sprint("running_saas=", n))
		e.replicas("running_saas", n)
		e.served(l, "running_saas")
		for _, server := range e.tasks("running_saas") {
			if started := e.started(server); started.After(begun) { // not the one that was there before
				best = min(best, l.firstFrom(server).Sub(started))
			}
		}
	}
	l.stop()
	// Docker is told to make many containers at once, on what may be a busy machine.
	t.Logf("%s from the start of a container to its first request, at best", best)
	require.Less(t, best, 2*time.Second)
}

// started is when a container has started.
func (e *engine) started(id string) time.Time {
	e.t.Helper()
	at, err := time.Parse(time.RFC3339Nano, e.docker("inspect", "--format", "{{.State.StartedAt}}", id))
	require.NoError(e.t, err)
	return at
}

func TestSwarm_UpdatesLoseNoRequest(t *testing.T) {
	e := startSwarm(t)
	e.service("--name", "shop", "--replicas", "3", "--network", "traefik-net",
		"--label", "traefik.http.routers.shop.rule=Host(`shop.test`)", "--label", "traefik.http.services.shop.loadbalancer.server.port=80", "cdn")
	e.eventually("lb answers", func() bool { return ask(t, "127.0.0.1:8081", "shop.test", "/").status == 200 })
	l := startTraffic(t, "127.0.0.1:8081", "shop.test", "/")
	e.served(l, "shop")
	for version, order := range []string{"stop-first", "start-first"} {
		e.docker("service", "update", "--detach", "--quiet", "--update-order", order, "--update-parallelism", "1", "--update-monitor", "0s",
			"--image", e.version(version+2), "shop")
		e.eventually("the update is complete", func() bool {
			return e.output("service", "inspect", "--format", "{{.UpdateStatus.State}}", "shop") == "completed"
		})
		e.replicas("shop", 3)
		e.served(l, "shop")
		require.Equal(t, strconv.Itoa(version+2), ask(t, "127.0.0.1:8081", "shop.test", "/").version)
	}
	l.stop()

	// What a killed task was answering is sent again, since it may be.
	l = startTraffic(t, "127.0.0.1:8081", "shop.test", "/")
	e.served(l, "shop")
	victim := e.tasks("shop")[0]
	pid, err := strconv.Atoi(e.docker("inspect", "--format", "{{.State.Pid}}", victim))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	e.eventually("another takes its place", func() bool {
		tasks := e.tasks("shop")
		return len(tasks) == 3 && !slices.Contains(tasks, victim)
	})
	e.served(l, "shop")
	l.stop()
}

func TestSwarm_SampleWorksAsPrinted(t *testing.T) {
	e := startEngine(t)
	e.docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--default-addr-pool", "10.232.0.0/16")
	deploy := e.command("stack", "deploy", "--compose-file", "../configs/docker/stack.yml", "site")
	deploy.Env = append(deploy.Env, "DOCKER_SOCK="+e.socket)
	out, err := deploy.CombinedOutput()
	require.NoError(t, err, "%s", out)
	e.eventually("lb answers", func() bool { return ask(t, "127.0.0.1", "whoami.localhost", "/").status == 200 })
	e.replicas("site_whoami", 2)
	l := startTraffic(t, "127.0.0.1:80", "whoami.localhost", "/")
	e.served(l, "site_whoami")
	l.stop()
	require.Contains(t, ask(t, "127.0.0.1:8080", "", "/api/rejected").text, "[]")
}
