package discovery

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// reached runs a Docker on one container, "shop", beside those that others sets,
// and returns its servers and what is said about it.
func reached(t *testing.T, shop fakeContainer, change func(e *fakeEngine, c *DockerConfig)) (servers, problems string) {
	t.Helper()
	if shop.labels == nil {
		shop.labels = map[string]string{}
	}
	shop.labels["lb.hostname"] = "arzur.net"
	watched(t, func(e *fakeEngine) Source {
		e.set("shop", shop)
		c := e.config()
		if change != nil {
			change(e, &c)
		}
		return &Docker{DockerConfig: c}
	}, func(_ *fakeEngine, latest func() string) {
		pass(100 * time.Millisecond)
		var rest []string
		for line := range strings.Lines(latest()) {
			line = strings.TrimSuffix(line, "\n")
			if s, found := strings.CutPrefix(line, "shop: "); found {
				servers = s
			} else if strings.HasPrefix(line, "?container shop: ") || strings.HasPrefix(line, "!container shop: ") {
				rest = append(rest, line[:1]+line[len("?container shop: "):])
			}
		}
		problems = strings.Join(rest, "\n")
	})
	return servers, problems
}

// ownOn has lb run in a container of these networks.
func ownOn(networks ...string) func(e *fakeEngine, c *DockerConfig) {
	return func(e *fakeEngine, c *DockerConfig) {
		own := fakeContainer{networks: map[string]string{}, mode: "bridge", gateway: "172.17.0.1"}
		for _, n := range networks {
			own.networks[n] = "10.9.9.9"
		}
		e.set("lb", own)
		c.own = func() []string { return []string{"nobody", idOf("lb")} }
	}
}

func TestDocker_ChoosesTheNetwork(t *testing.T) {
	f := func(shop fakeContainer, change func(e *fakeEngine, c *DockerConfig), servers, problem string) {
		t.Helper()
		got, said := reached(t, shop, change)
		require.Equal(t, servers, got)
		require.Equal(t, problem, said)
	}
	ports := map[string][][2]string{"80/tcp": nil}
	in := func(label string, networks ...string) fakeContainer {
		c := fakeContainer{networks: map[string]string{}, ports: ports, labels: map[string]string{}}
		for i, n := range networks {
			c.networks[n] = "10.0.0." + string(rune('1'+i))
		}
		if label != "" {
			c.labels["lb.network"] = label
		}
		return c
	}
	f(in("", "web"), nil, "10.0.0.1:80", "")
	f(in("b", "a", "b"), nil, "10.0.0.2:80", "")
	f(in("", "b", "a"), nil, "10.0.0.2:80", `?it is in several networks and no label says which; "a" counts, of a, b`)
	f(in("", "a", "b"), ownOn("b"), "10.0.0.2:80", "")
	f(in("a", "a", "b"), ownOn("b"), "10.0.0.1:80", "")
	f(in("", "a", "b"), ownOn("c"), "10.0.0.1:80", `?it is in several networks and no label says which; "a" counts, of a, b`)
	f(in("c", "a", "b"), nil, "10.0.0.1:80", `?it is not in network "c", which a label names, of a, b`)
	f(in("c", "a", "b"), ownOn("b"), "10.0.0.2:80", `?it is not in network "c", which a label names, of a, b`)
	f(in("", "a", "b"), func(_ *fakeEngine, c *DockerConfig) { c.Network = "b" }, "10.0.0.2:80", "")
	f(in("", "a", "b"), func(_ *fakeEngine, c *DockerConfig) { c.Network = "c" }, "10.0.0.1:80",
		`?it is in several networks and no label says which; "a" counts, of a, b`)
	none := fakeContainer{mode: "none", ports: ports}
	f(none, nil, "", `!service "shop": it has no address: it is in no network`)
}

func TestDocker_ChoosesThePort(t *testing.T) {
	f := func(ports map[string][][2]string, servers, problem string) {
		t.Helper()
		got, said := reached(t, fakeContainer{ports: ports, networks: map[string]string{"web": "10.0.0.1"}}, nil)
		require.Equal(t, servers, got)
		require.Equal(t, problem, said)
	}
	f(map[string][][2]string{"8080/tcp": nil, "53/udp": nil}, "10.0.0.1:8080", "")
	f(map[string][][2]string{"8080/tcp": nil, "443/tcp": {{"0.0.0.0", "8443"}, {"::", "8443"}}}, "10.0.0.1:443",
		`?service "shop": 2 ports are exposed and no label says which; the lowest, 443, counts`)
	f(map[string][][2]string{"53/udp": nil}, "", `!service "shop": there is no port: none is exposed, and no label says one, such as lb.target_port=80`)
}

func TestDocker_OtherNetworkModes(t *testing.T) {
	onHost := func() fakeContainer {
		return fakeContainer{mode: "host", networks: map[string]string{"host": ""}, exposed: []string{"9000/tcp"}}
	}
	f := func(shop fakeContainer, change func(e *fakeEngine, c *DockerConfig), servers, problem string) {
		t.Helper()
		got, said := reached(t, shop, change)
		require.Equal(t, servers, got)
		require.Equal(t, problem, said)
	}
	f(onHost(), nil, "127.0.0.1:9000", "")
	f(onHost(), ownOn("web"), "172.17.0.1:9000", "")
	f(onHost(), func(e *fakeEngine, c *DockerConfig) {
		ownOn()(e, c)
		e.turn("lb", func(c *fakeContainer) { c.mode = "host" })
	}, "127.0.0.1:9000", "")

	sidecar := func() fakeContainer {
		return fakeContainer{mode: "container:" + idOf("vpn"), networks: map[string]string{}, exposed: []string{"9000/tcp"}}
	}
	vpn := func(e *fakeEngine, _ *DockerConfig) { e.set("vpn", blog("10.0.0.7")) }
	f(sidecar(), vpn, "10.0.0.7:9000", "")
	f(sidecar(), nil, "", `!service "shop": it has no address: it uses the network of container "`+idOf("vpn")+`", which is not there`)
	f(sidecar(), func(e *fakeEngine, _ *DockerConfig) {
		c := blog("")
		c.networks = map[string]string{"a": "10.0.0.1", "b": "10.0.0.2"}
		c.labels["traefik.docker.network"] = "b"
		e.set("vpn", c)
	}, "10.0.0.2:9000", "")
}

func TestDocker_PublishedPorts(t *testing.T) {
	f := func(endpoint string, bind bool, at [2]string, servers string) {
		t.Helper()
		shop := fakeContainer{networks: map[string]string{"web": "10.0.0.1"}, ports: map[string][][2]string{"80/tcp": {at}}}
		got, problems := reached(t, shop, func(_ *fakeEngine, c *DockerConfig) { c.Endpoint, c.UseBindPortIP = endpoint, bind })
		require.Equal(t, servers, got)
		require.Empty(t, problems)
	}
	f("unix:///fake", false, [2]string{"192.0.2.7", "8080"}, "10.0.0.1:80")
	f("unix:///fake", true, [2]string{"192.0.2.7", "8080"}, "192.0.2.7:8080")
	f("unix:///fake", true, [2]string{"0.0.0.0", "8080"}, "10.0.0.1:80")
	// The networks of another machine do not lead here.
	f("tcp://192.0.2.1:2375", false, [2]string{"0.0.0.0", "8080"}, "192.0.2.1:8080")
	f("tcp://127.0.0.1:2375", false, [2]string{"0.0.0.0", "8080"}, "10.0.0.1:80")
}

// Overlay networks, and all networks of an Engine without root or in a virtual
// machine, do not lead to the machine that lb runs on.
func TestDocker_NetworksThatDoNotLeadHere(t *testing.T) {
	f := func(networks map[string]string, at [][2]string, change func(e *fakeEngine, c *DockerConfig), servers, problem string) {
		t.Helper()
		shop := fakeContainer{networks: networks, ports: map[string][][2]string{"80/tcp": at}}
		got, said := reached(t, shop, func(e *fakeEngine, c *DockerConfig) {
			c.links = func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")} }
			if change != nil {
				change(e, c)
			}
		})
		require.Equal(t, servers, got)
		require.Equal(t, problem, said)
	}
	far := map[string]string{"over": "10.1.0.5"}
	anywhere := [][2]string{{"0.0.0.0", "8080"}, {"::", "8080"}}
	said := func(network, at string) string {
		return "?this machine is in none of its networks (" + network + "), so that its published port counts, " + at +
			"; a label or the configuration that names a network says otherwise"
	}
	f(far, anywhere, nil, "127.0.0.1:8080", said("over", "127.0.0.1:8080"))
	f(far, [][2]string{{"192.0.2.7", "8080"}}, nil, "192.0.2.7:8080", said("over", "192.0.2.7:8080"))
	f(map[string]string{}, anywhere, nil, "127.0.0.1:8080", said("none", "127.0.0.1:8080"))
	f(far, nil, nil, "10.1.0.5:80", "")
	f(map[string]string{"over": "10.1.0.5", "web": "10.0.0.1"}, anywhere, nil, "10.0.0.1:80", "")
	f(far, anywhere, ownOn("over"), "10.1.0.5:80", "")
	f(far, anywhere, func(_ *fakeEngine, c *DockerConfig) { c.Network = "over" }, "10.1.0.5:80", "")
	f(far, anywhere, func(_ *fakeEngine, c *DockerConfig) { c.Endpoint = "tcp://192.0.2.1:2375" }, "192.0.2.1:8080", "")
	f(far, anywhere, func(e *fakeEngine, _ *DockerConfig) {
		e.turn("shop", func(c *fakeContainer) { c.labels["lb.network"] = "over" })
	}, "10.1.0.5:80", "")
}

func TestOwnLinks(t *testing.T) {
	require.Contains(t, ownLinks(), netip.MustParsePrefix("127.0.0.1/8"))
}

// Behind a socket proxy the Engine has the address of another container, but
// lb's own shows that it is this machine's.
func TestDocker_BehindASocketProxy(t *testing.T) {
	f := func(mode string, shop fakeContainer, servers string) {
		t.Helper()
		got, problems := reached(t, shop, func(e *fakeEngine, c *DockerConfig) {
			ownOn("web")(e, c)
			e.turn("lb", func(c *fakeContainer) { c.mode = mode })
			c.Endpoint = "tcp://172.18.0.9:2375"
		})
		require.Equal(t, servers, got)
		require.Empty(t, problems)
	}
	published := fakeContainer{
		networks: map[string]string{"web": "10.0.0.1"}, ports: map[string][][2]string{"80/tcp": {{"0.0.0.0", "8080"}}},
	}
	onHost := fakeContainer{mode: "host", networks: map[string]string{"host": ""}, exposed: []string{"9000/tcp"}}
	f("bridge", published, "10.0.0.1:80")
	f("host", published, "10.0.0.1:80")
	f("bridge", onHost, "172.17.0.1:9000")
	f("host", onHost, "127.0.0.1:9000")
}

// A container that nobody spoke of is exposed by default, but lb itself is not.
func TestDocker_ExposesWhatHasNoLabels(t *testing.T) {
	docker(t, func(e *fakeEngine) {
		e.set("plain", fakeContainer{networks: map[string]string{"web": "10.0.0.1"}})
		e.turn("plain", func(c *fakeContainer) { c.ports = map[string][][2]string{"80/tcp": nil} })
		e.set("worker", fakeContainer{networks: map[string]string{"web": "10.0.0.2"}, ports: map[string][][2]string{}})
	}, func(_ *fakeEngine, latest func() string) {
		require.Equal(t, "plain: 10.0.0.1:80\n80 Host(`plain`) -> plain", latest(), "nobody has to be told of a container without a port")
	})
	watched(t, func(e *fakeEngine) Source {
		c := e.config()
		ownOn("web")(e, &c)
		e.turn("lb", func(c *fakeContainer) { c.ports = map[string][][2]string{"80/tcp": nil} })
		return &Docker{DockerConfig: c}
	}, func(_ *fakeEngine, latest func() string) {
		pass(time.Second)
		require.Empty(t, latest())
	})
}

func TestDocker_ComposeAndWeights(t *testing.T) {
	docker(t, func(e *fakeEngine) {
		for i, address := range []string{"10.0.0.1", "10.0.0.2"} {
			c := blog(address)
			c.created = i
			c.labels = map[string]string{
				"com.docker.compose.project": "shop", "com.docker.compose.service": "blog",
				"lb.hostname": "arzur.net", "lb.weight": []string{"1", "3"}[i],
			}
			e.set("shop_blog_"+address, c)
		}
	}, func(_ *fakeEngine, latest func() string) {
		require.Equal(t, "shop/blog: 10.0.0.1:80 weight 1 10.0.0.2:80 weight 3\n80 arzur.net -> shop/blog", latest())
	})
}
