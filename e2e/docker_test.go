package e2e

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// run starts a container and returns the name that it answers with.
func (e *engine) run(args ...string) (server string) {
	e.t.Helper()
	return e.docker(append([]string{"run", "--detach"}, args...)...)[:12]
}

// answers waits until requests for a host are answered by these servers and nobody else.
func (e *engine) answers(host string, want ...string) {
	e.t.Helper()
	slices.Sort(want)
	var got []string
	e.eventually(fmt.Sprintf("%s is answered by %d servers", host, len(want)), func() bool {
		got = nil
		for range 2 * len(want) {
			a := ask(e.t, "127.0.0.1:80", host, "/x")
			if a.status != 200 {
				return false
			}
			got = append(got, a.server)
		}
		slices.Sort(got)
		got = slices.Compact(got)
		return slices.Equal(got, want)
	})
}

func TestDocker_SpeaksEveryDialect(t *testing.T) {
	e := startEngine(t)
	e.startLB("-docker")
	e.docker("network", "create", "web")
	e.docker("network", "create", "other")
	compose := func(service string) []string {
		return []string{
			"--network", "web", "--label", "com.docker.compose.project=site", "--label", "com.docker.compose.service=" + service,
		}
	}
	own := append(compose("own"), "--label", "lb.hostname=own.test")
	one := append(compose("one"), "--label", "traefik.frontend.rule=Host:one.test", "--label", "traefik.port=80")
	three := append(compose("three"), "--label", "traefik.http.routers.three.rule=Host(`three.test`)")
	e.answers("own.test", e.run(append(own, "cdn")...), e.run(append(own, "cdn")...))
	e.answers("one.test", e.run(append(one, "cdn")...), e.run(append(one, "cdn")...))
	e.answers("three.test", e.run(append(three, "cdn")...), e.run(append(three, "cdn")...))
	services := ask(t, "127.0.0.1:8080", "", "/api/services").text
	require.Contains(t, services, `"site/own"`)
	require.Contains(t, services, `"site/one"`)
	require.Contains(t, services, `"three-site"`)

	// No label but the default rule, on two networks, on the host's network.
	e.answers("plain", e.run("--name", "plain", "--network", "web", "cdn"))
	both := e.docker("create", "--label", "lb.hostname=both.test", "--label", "lb.network=web", "--network", "other", "cdn")
	e.docker("network", "connect", "web", both)
	e.docker("start", both)
	e.answers("both.test", both[:12])
	e.run("--network", "host", "--label", "lb.hostname=host.test", "--label", "lb.target_port=9000", "cdn", "-port", "9000")
	e.eventually("a container on the host's network answers", func() bool {
		return ask(t, "127.0.0.1:80", "host.test", "/").status == 200
	})
}

func TestDocker_GoesByHealth(t *testing.T) {
	e := startEngine(t)
	e.startLB("-docker")
	e.docker("network", "create", "web")
	labels := []string{"--network", "web", "--label", "lb.hostname=shop.test", "--label", "lb.service=shop"}
	checked := e.run(append(labels, "checked")...)
	plain := e.run(append(labels, "cdn")...)
	e.answers("shop.test", plain)
	address := e.docker("inspect", "--format", "{{.NetworkSettings.Networks.web.IPAddress}}", checked) + ":80"
	health := func(want string) {
		t.Helper()
		e.eventually("the Engine calls it "+want, func() bool {
			return e.output("inspect", "--format", "{{.State.Health.Status}}", checked) == want
		})
	}
	l := startTraffic(t, "127.0.0.1:80", "shop.test", "/")
	require.Equal(t, 200, ask(t, address, "", "/become-healthy").status)
	health("healthy")
	e.answers("shop.test", plain, checked)
	require.Equal(t, 200, ask(t, address, "", "/become-sick").status)
	health("unhealthy")
	e.answers("shop.test", plain)
	e.docker("stop", plain)
	e.eventually("there is a rule, but nobody to answer", func() bool {
		return ask(t, "127.0.0.1:80", "shop.test", "/").status == 503
	})
	require.Equal(t, 200, ask(t, address, "", "/become-healthy").status)
	e.answers("shop.test", checked)
	require.NotEmpty(t, l.failures(), "requests came while nobody was there")
}

func TestDocker_StopsAndUpdatesLoseNoRequest(t *testing.T) {
	e := startEngine(t)
	e.startLB("-docker")
	e.docker("network", "create", "web")
	run := func(version int) string {
		return e.run("--network", "web", "--label", "lb.hostname=shop.test", "--label", "lb.service=shop", "cdn", "-version", fmt.Sprint(version))
	}
	servers := []string{run(1), run(1)}
	e.answers("shop.test", servers...)
	l := startTraffic(t, "127.0.0.1:80", "shop.test", "/")
	for version := range 6 {
		at := version % 2
		next := run(version + 2)
		e.eventually("the new one answers", func() bool { return !l.firstFrom(next).IsZero() })
		e.docker("stop", servers[at])
		e.docker("rm", servers[at])
		servers[at] = next
	}
	e.docker("restart", servers[0])
	e.answers("shop.test", servers...)
	e.docker("pause", servers[0])
	e.answers("shop.test", servers[1])
	e.docker("unpause", servers[0])
	e.answers("shop.test", servers...)
	l.stop()
}

// compose runs docker-compose for a file.
func (e *engine) compose(file string, args ...string) {
	e.t.Helper()
	c := exec.Command("docker-compose", append([]string{"--project-name", "site", "--file", file}, args...)...)
	c.Env = append(e.command().Env, "DOCKER_SOCK="+e.socket)
	out, err := c.CombinedOutput()
	require.NoError(e.t, err, "%s", out)
}

// An update of a single container stops it before it starts the next one.
func TestDocker_TheOnlyContainerIsReplaced(t *testing.T) {
	e := startEngine(t)
	e.startLB("-docker")
	up := func(image, label string) {
		t.Helper()
		e.compose(e.write("compose.yml", fmt.Sprintf(
			"version: '3.8'\nservices: {shop: {image: %q, labels: [lb.hostname=shop.test, %s]}}\n", image, label)), "up", "--detach")
	}
	up(e.version(1), "lb.path=/shop")
	e.eventually("it answers", func() bool { return ask(t, "127.0.0.1:80", "shop.test", "/shop").status == 200 })
	l := startTraffic(t, "127.0.0.1:80", "shop.test", "/shop")
	for version := 2; version < 4; version++ {
		up(e.version(version), "lb.path=/shop")
		require.Equal(t, fmt.Sprint(version), ask(t, "127.0.0.1:80", "shop.test", "/shop").version)
	}
	up(e.version(3), "lb.path=/")
	require.Equal(t, "3", ask(t, "127.0.0.1:80", "shop.test", "/").version, "its labels are new")
	l.stop()
}

func TestDocker_AllStopAndStartAgain(t *testing.T) {
	e := startEngine(t)
	e.startLB("-docker")
	e.docker("network", "create", "web")
	labels := []string{"--network", "web", "--label", "lb.hostname=shop.test", "--label", "lb.service=shop", "cdn"}
	servers := []string{e.run(labels...), e.run(labels...)}
	e.answers("shop.test", servers...)
	l := startTraffic(t, "127.0.0.1:80", "shop.test", "/")
	e.docker(append([]string{"stop"}, servers...)...)
	e.docker(append([]string{"start"}, servers...)...)
	e.answers("shop.test", servers...)
	e.docker(append([]string{"kill"}, servers...)...) // SIGKILL: GETs that were under way are sent again
	e.docker(append([]string{"start"}, servers...)...)
	e.answers("shop.test", servers...)
	l.stop()
}

func TestDocker_DaemonRestarts(t *testing.T) {
	e := startEngine(t)
	e.stop()
	e.liveRestore = true
	e.startLB("-docker") // before there is an Engine
	require.Contains(t, ask(t, "127.0.0.1:8080", "", "/healthz?verbose").text, "[!] source docker: ")
	e.start()
	e.docker("network", "create", "web")
	labels := []string{"--network", "web", "--label", "lb.hostname=shop.test", "--label", "lb.service=shop", "cdn"}
	servers := []string{e.run(labels...), e.run(labels...)}
	e.answers("shop.test", servers...)
	require.Contains(t, ask(t, "127.0.0.1:8080", "", "/healthz?verbose").text, "[+] source docker")
	l := startTraffic(t, "127.0.0.1:80", "shop.test", "/")
	e.stop()
	e.eventually("lb knows", func() bool {
		return ask(t, "127.0.0.1:8080", "", "/healthz?verbose").text != ""
	})
	at := time.Now()
	e.eventually("both go on", func() bool { return len(l.since(at)) == 2 })
	e.start()
	servers = append(servers, e.run(labels...))
	e.answers("shop.test", servers...)
	l.stop()
}

// Without live restore the containers stop with their daemon, and start with it.
func TestDocker_DaemonRestartsWithItsContainers(t *testing.T) {
	e := startEngine(t)
	e.startLB("-docker")
	e.docker("network", "create", "web")
	labels := []string{"--restart", "always", "--network", "web", "--label", "lb.hostname=shop.test", "--label", "lb.service=shop", "cdn"}
	servers := []string{e.run(labels...), e.run(labels...)}
	e.answers("shop.test", servers...)
	l := startTraffic(t, "127.0.0.1:80", "shop.test", "/")
	e.stop()
	e.start()
	e.answers("shop.test", servers...)
	l.stop()
}

func TestDocker_SampleWorksAsPrinted(t *testing.T) {
	e := startEngine(t)
	file, err := filepath.Abs("../configs/docker/docker-compose.yml")
	require.NoError(t, err)
	run := func(args ...string) { e.compose(file, args...) }
	run("up", "--detach", "--scale", "whoami=2")
	e.eventually("lb answers", func() bool { return ask(t, "127.0.0.1", "whoami.localhost", "/").status == 200 })
	l := startTraffic(t, "127.0.0.1:80", "whoami.localhost", "/")
	e.eventually("both answer", func() bool { return len(l.since(time.Time{})) == 2 })
	run("up", "--detach", "--scale", "whoami=4")
	e.eventually("all four answer", func() bool { return len(l.since(time.Time{})) == 4 })
	run("up", "--detach", "--scale", "whoami=1")
	e.eventually("one answers alone", func() bool {
		at := time.Now()
		time.Sleep(100 * time.Millisecond) // as long as it takes all to have their turn
		return len(l.since(at)) == 1
	})
	l.stop()
	run("down")
}

// Whoever starts a container must not be able to end the load balancer.
func TestDocker_LabelsCannotTakeThePortsOfOthers(t *testing.T) {
	e := startEngine(t)
	e.startLB("-docker")
	busy, err := net.Listen("tcp", "127.0.0.1:9000")
	require.NoError(t, err)
	e.docker("network", "create", "web")
	run := func(host, port string) string {
		return e.run("--network", "web", "--label", "lb.hostname="+host, "--label", "lb.source_port="+port, "cdn")
	}
	run("admin.test", "8080")
	server := run("busy.test", "9000")
	e.answers("fine.test", run("fine.test", "80"))
	rejected := func() string { return ask(t, "127.0.0.1:8080", "", "/api/rejected").text }
	require.Contains(t, rejected(), "port 8080 is the admin listener's")
	require.Contains(t, rejected(), "busy.test")
	require.NoError(t, busy.Close())
	e.answers("other.test", run("other.test", "80"))
	require.Equal(t, server, ask(t, "127.0.0.1:9000", "busy.test", "/").server, "it is tried again")
	require.NotContains(t, rejected(), "busy.test")
}
