package e2e

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httputil"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// readOnly starts a proxy before the Engine's socket that lets nothing but GET
// through, as people put one before lb, and has lb use it.
func (e *engine) readOnly(args ...string) (refused func() []string) {
	e.t.Helper()
	engine := e.socket
	pass := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "engine" },
		FlushInterval: -1, // events
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", engine)
		}},
	}
	var mu sync.Mutex
	var others []string
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			mu.Lock()
			others = append(others, r.Method+" "+r.URL.Path)
			mu.Unlock()
			http.Error(w, "only GET", http.StatusForbidden)
			return
		}
		pass.ServeHTTP(w, r)
	})}
	l, err := net.Listen("unix", filepath.Join(e.dir, "read-only"))
	require.NoError(e.t, err)
	done := make(chan struct{})
	go func() { // ends with Close
		defer close(done)
		_ = server.Serve(l)
	}()
	e.t.Cleanup(func() {
		require.NoError(e.t, server.Close())
		<-done
	})
	e.socket = l.Addr().String()
	e.startLB(args...)
	e.socket = engine
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(others)
	}
}

// problem is one line of /api/rejected.
type problem struct {
	Rule, Origin string
	Other        string `json:"other_origin"`
	Reason       string
	InForce      bool `json:"in_force"`
}

func (e *engine) problems() (list []problem) {
	e.t.Helper()
	require.NoError(e.t, json.Unmarshal([]byte(ask(e.t, "127.0.0.1:8080", "", "/api/rejected").text), &list))
	return list
}

// labelled runs a container in the network web.
func (e *engine) labelled(name string, labels ...string) (server string) {
	e.t.Helper()
	args := []string{"--name", name, "--network", "web"}
	for _, l := range labels {
		args = append(args, "--label", l)
	}
	return e.run(append(args, "cdn")...)
}

func TestLabels_NothingButGet(t *testing.T) {
	e := startEngine(t)
	refused := e.readOnly("-docker")
	e.docker("network", "create", "web")
	first := e.labelled("shop-1", "lb.hostname=shop.test", "lb.service=shop")
	e.answers("shop.test", first)
	second := e.labelled("shop-2", "lb.hostname=shop.test", "lb.service=shop")
	e.answers("shop.test", first, second)
	e.docker("stop", "shop-1")
	e.answers("shop.test", second)
	require.Subset(t, []string{"HEAD /_ping"}, slices.Compact(refused()))
}

func TestLabels_SwarmWithNothingButGet(t *testing.T) {
	e := startEngine(t)
	e.docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--default-addr-pool", "10.232.0.0/16")
	refused := e.readOnly("-docker", "-swarm")
	e.overlay("web")
	e.service("--name", "shop", "--network", "web", "--publish", "published=9090,target=80,mode=host", "--label", "lb.hostname=shop.test", "--label", "lb.target_port=80", "cdn")
	e.service("--name", "portless", "--label", "traefik.http.routers.p.rule=Host(`portless.test`)", "cdn")
	e.replicas("shop", 1)
	e.answers("shop.test", e.tasks("shop")...) // lb is beside the Swarm, where published ports lead in
	e.eventually("the service without a port is listed", func() bool { return len(e.problems()) == 1 })
	require.Equal(t, []problem{{
		Origin: "service portless",
		Reason: `service "portless": there is no port: a Swarm service exposes none, so a label has to say it, such as traefik.http.services.portless.loadbalancer.server.port=80`,
	}}, e.problems())

	// A node that is drained takes its tasks with it, and one that is back gets new ones.
	node := e.docker("info", "--format", "{{.Swarm.NodeID}}")
	e.docker("node", "update", "--availability", "drain", node)
	e.eventually("nobody is left to answer", func() bool { return ask(t, "127.0.0.1:80", "shop.test", "/").status == 503 })
	e.docker("node", "update", "--availability", "active", node)
	e.replicas("shop", 1)
	e.answers("shop.test", e.tasks("shop")...)

	e.docker("service", "rm", "shop")
	e.eventually("the rule goes with the service", func() bool { return ask(t, "127.0.0.1:80", "shop.test", "/").err != nil })
	require.Subset(t, []string{"HEAD /_ping"}, slices.Compact(refused()))
}

func TestLabels_ReferToOtherContainers(t *testing.T) {
	e := startEngine(t)
	e.startLB("-docker")
	e.docker("network", "create", "web")
	far := e.labelled("far", "traefik.http.services.far.loadbalancer.server.port=80", "traefik.http.middlewares.cut.stripprefix.prefixes=/api",
		"traefik.http.routers.far.rule=Host(`far.test`)")
	e.labelled("near", "traefik.http.routers.near.rule=Host(`near.test`)", "traefik.http.routers.near.service=far@docker",
		"traefik.http.routers.near.middlewares=cut@docker")
	e.answers("near.test", far)
	require.Equal(t, far+" /x", ask(t, "127.0.0.1:80", "near.test", "/api/x").text)

	// A service of parts is split by their weights, however many servers each has.
	router := "traefik.http.routers.split.rule=Host(`split.test`)"
	split := func(old, fresh string) []string {
		const parts = "traefik.http.services.split.weighted.services"
		return []string{
			router, "traefik.http.routers.split.service=split", "traefik.http.services.fresh.loadbalancer.server.port=80",
			parts + "[0].name=old", parts + "[0].weight=" + old, parts + "[1].name=fresh", parts + "[1].weight=" + fresh,
		}
	}
	for _, name := range []string{"old-1", "old-2", "old-3"} {
		e.labelled(name, "traefik.http.services.old.loadbalancer.server.port=80", "traefik.http.routers.old.rule=Host(`old.test`)")
	}
	f := func(old, fresh string, want int) {
		t.Helper()
		server := e.labelled("fresh", split(old, fresh)...)
		count := func() (n int) {
			for range 400 {
				a := ask(t, "127.0.0.1:80", "split.test", "/")
				if a.status != 200 {
					return -1
				}
				if a.server == server {
					n++
				}
			}
			return n
		}
		e.eventually("all parts are there", func() bool { return count() > 0 })
		require.InDelta(t, want, count(), 20, "%s:%s", old, fresh)
		e.docker("rm", "--force", "fresh")
	}
	f("1", "1", 200)
	f("3", "1", 100)
	f("100", "900", 360)
	require.Empty(t, e.problems())
}

func TestLabels_NoneDisappears(t *testing.T) {
	e := startEngine(t)
	e.startLB("-docker")
	e.docker("network", "create", "web")
	status := func(host string) int { // 0: lb does not listen where there is no rule
		return ask(t, "127.0.0.1:80", host, "/").status
	}
	f := func(want problem, host string, serves int, labels ...string) {
		t.Helper()
		e.labelled("it", labels...)
		e.eventually(host+" is known", func() bool { return status(host) == serves })
		require.Equal(t, []problem{want}, e.problems())
		e.docker("rm", "--force", "it")
		e.eventually(host+" is forgotten", func() bool { return len(e.problems()) == 0 && status(host) == 0 })
	}
	f(problem{
		Origin: "container it: label lb.strip_prefx", InForce: true, Reason: `unknown label; did you mean "lb.strip_prefix"?`,
	}, "a.test", 200, "lb.hostname=a.test", "lb.strip_prefx=/x")
	f(problem{
		Origin: "container it: label traefik.frontend.auth.basic", Rule: "Host-b-test",
		Reason: "basic authentication is not supported yet; the rule answers 503, because without it everybody would get in",
	}, "b.test", 503, "traefik.frontend.rule=Host:b.test", "traefik.frontend.auth.basic=a:b")
	f(problem{
		Origin: "container it: label traefik.frontend.whiteList.sourceRange", Rule: "Host-c-test",
		Reason: "a list of allowed addresses is not supported yet; the rule answers 503, because without it everybody would get in",
	}, "c.test", 503, "traefik.frontend.rule=Host:c.test", "traefik.frontend.whiteList.sourceRange=10.0.0.0/8")
	f(problem{
		Origin: "container it: label traefik.http.router.d.middlewares",
		Reason: `unknown label; did you mean "http.routers"?; the rules answer 503, because this may be meant to protect`,
	}, "d.test", 503, "traefik.http.routers.d.rule=Host(`d.test`)", "traefik.http.router.d.middlewares=login@file")

	// Of two that want the same requests the older gets them.
	older := e.labelled("a-older", "lb.hostname=e.test")
	e.answers("e.test", older)
	e.labelled("b-newer", "traefik.frontend.rule=Host:e.test")
	e.eventually("the conflict is shown", func() bool { return len(e.problems()) == 1 })
	require.Equal(t, []problem{{
		Rule: "Host-e-test", Origin: "container b-newer: label traefik.frontend.rule", Other: "container a-older: label lb.hostname",
		Reason: `service "a-older" gets these requests already; name the same service in both, or another match in one`,
	}}, e.problems())
	e.answers("e.test", older)
}

// Nothing leads from a machine into its overlay networks.
func TestLabels_OverlayByItsPublishedPort(t *testing.T) {
	e := startEngine(t)
	e.docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--default-addr-pool", "10.232.0.0/16")
	e.overlay("over", "--attachable")
	e.startLB("-docker")
	e.answers("shop.test", e.run("--name", "shop", "--network", "over", "--publish", "9090:80", "--label", "lb.hostname=shop.test", "cdn"))
	require.Equal(t, []problem{{
		Origin: "container shop", InForce: true,
		Reason: "this machine is in none of its networks (over), so that its published port counts, 127.0.0.1:9090; a label or the configuration that names a network says otherwise",
	}}, e.problems())
}

// Inside of a container lb reaches others by the network that both are in, and
// the host by its gateway.
func TestLabels_FromInsideAContainer(t *testing.T) {
	e := startEngine(t)
	e.docker("network", "create", "web")
	e.docker("network", "create", "apart")
	e.run("--network", "web", "--publish", "80:80", "--publish", "8080:8080", "--volume", e.socket+":/var/run/docker.sock",
		"lb", "-docker", "-admin", ":8080")
	shop := e.docker("create", "--label", "lb.hostname=shop.test", "--network", "apart", "cdn")
	e.docker("network", "connect", "web", shop)
	e.docker("start", shop)
	e.answers("shop.test", shop[:12])
	e.run("--network", "host", "--label", "lb.hostname=host.test", "--label", "lb.target_port=9000", "cdn", "-port", "9000")
	e.eventually("a container on the host's network answers", func() bool { return ask(t, "127.0.0.1:80", "host.test", "/").status == 200 })
	e.run("--network", "container:"+shop, "--label", "lb.hostname=beside.test", "--label", "lb.target_port=9001", "cdn", "-port", "9001")
	e.eventually("a container in the network of another answers", func() bool { return ask(t, "127.0.0.1:80", "beside.test", "/").status == 200 })
	require.Empty(t, e.problems())
}
