package labels

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules"
)

// case3 is a case of testdata/traefik3_cases.json: what Traefik 3 makes of labels.
type case3 struct {
	Suite, Name string
	Input       struct {
		Labels   map[string]string
		Expr     string
		Tags     []string
		Provider struct {
			ExposedByDefault         bool
			DefaultRule, Constraints string
		}
		Containers []struct {
			Name, ServiceName string
			Labels            map[string]string
			Ports             map[string]any
		}
		Services        []struct{ Labels map[string]string }
		ServerPortLabel string
	}
	Expect json.RawMessage
}

// ofPlatform are the cases that labels alone cannot decide, by the start of their
// names, with what decides them. Of those of whole containers the labels are looked at all the same.
var ofPlatform = map[string]string{
	"v3-docker-ip/":           "which network's address counts",
	"v3-docker-bind-port-ip/": "where a port is published",
	"v3-docker-non-running/":  "whether the container runs",
	"v3-swarm-service-ip/":    "which network's address counts",
	"v3-swarm-list-tasks/":    "which tasks run",
	"v3-swarm-task-names/":    "which tasks run",
	"v3-docker-build/031":     "no port is exposed, so there is no instance",
	"v3-docker-build/032":     "no port is exposed, so there is no instance",
	"v3-docker-build/034":     "the container is not healthy",
	"v3-docker-build/035":     "the container is not healthy",
	"v3-docker-build/036":     "the container is not healthy",
	"v3-docker-build/037":     "the container is not healthy",
	"v3-docker-build/038":     "the container is not healthy",
	"v3-docker-build/039":     "the container is not healthy",
	"v3-docker-build/020":     "two containers claim one router: what merges Subjects keeps the older, Traefik keeps none",
	"v3-docker-build/021":     "three containers claim one router: what merges Subjects keeps the oldest, Traefik keeps none",
	"v3-docker-build/023":     "two services claim one router: what merges Subjects keeps the older, Traefik keeps none",
	"v3-docker-build/013":     "two containers contradict each other about one service: what merges Subjects keeps the older, Traefik keeps none",
}

// differences are the cases in which we do something else on purpose, with what we do.
var differences = map[string]string{
	"v3-docker-default-rule/005": "an empty default rule in a configuration is one that was left out: the default counts",
	"v3-docker-build/025":        "h2c is not spoken: the rule answers 503 and says so",
	"v3-docker-build/043":        "a port speaks one protocol, so a TCP router without TLS has to name its entry point",
	"v3-docker-build/030":        "contradictory labels: the rule answers 503 and says so, where Traefik drops the container",
}

func cases3(t *testing.T) (cases []case3) {
	data, err := os.ReadFile("testdata/traefik3_cases.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &cases))
	return cases
}

func TestTraefik3_Cases(t *testing.T) {
	run, byPlatform, differ := 0, 0, 0
	for _, c := range cases3(t) {
		number, _, _ := strings.Cut(c.Name, " ")
		suite, _, _ := strings.Cut(c.Name, "/")
		t.Run(number, func(t *testing.T) {
			switch {
			case ofPlatform[number] != "" || ofPlatform[suite+"/"] != "":
				byPlatform++
				c.decodeAll(t)
			case differences[number] != "":
				differ++
				got, want := c.outcome(t), c.wanted(t)
				require.NotEqual(t, want, got, "the case passes; take it off the list")
			default:
				run++
				c.run(t)
			}
		})
	}
	require.Equal(t, []int{79, 36, 4}, []int{run, byPlatform, differ}, "no case is passed over")
}

func (c *case3) run(t *testing.T) {
	switch {
	case strings.HasPrefix(c.Suite, "v3-label-decode-"):
		c.runDecoding(t)
	case strings.HasPrefix(c.Suite, "v3-constraints-"):
		c.runConstraints(t)
	case c.Suite == "v3-swarm-list-services":
		for _, s := range c.Input.Services {
			w := Decode(&Subject{Name: "s", Service: "s", Labels: s.Labels, Swarm: true}, nil)
			require.Equal(t, "barnet", w.Network)
			require.Equal(t, s.Labels["traefik.swarm.LBSwarm"] == "true", w.VIP)
		}
	case c.Suite == "v3-docker-port":
		labels := map[string]string{}
		if c.Input.ServerPortLabel != "" {
			labels["traefik.http.services.s.loadbalancer.server.port"] = c.Input.ServerPortLabel
		}
		w := Decode(&Subject{Name: "s", Service: "s", Labels: labels}, nil)
		require.Len(t, w.Groups, 1)
		require.Equal(t, c.Input.ServerPortLabel, strings.TrimPrefix(fmt.Sprint(w.Groups[0].Port), "0"))
	default:
		require.Equal(t, c.wanted(t), c.outcome(t))
	}
}

func (c *case3) runConstraints(t *testing.T) {
	var want struct{ Match, Error bool }
	require.NoError(t, json.Unmarshal(c.Expect, &want))
	labels := map[string]string{}
	maps.Copy(labels, c.Input.Labels)
	for _, tag := range c.Input.Tags {
		key, value, _ := strings.Cut(tag, "=")
		labels[key] = value
	}
	holds, err := parseConstraints(c.Input.Expr)
	require.Equal(t, want.Error, err != nil, "%v", err)
	if err == nil {
		require.Equal(t, want.Match, holds(labels))
	}
}

// decodeAll is what Decode says of every container of the case.
func (c *case3) decodeAll(t *testing.T) (all []Wants) {
	p := c.Input.Provider
	points := maps.Clone(DefaultOptions.EntryPoints)
	points["mydns"] = 53
	o := &Options{ExposedByDefault: p.ExposedByDefault, DefaultRule: p.DefaultRule, Constraints: p.Constraints, EntryPoints: points}
	var subjects []*Subject
	for _, in := range c.Input.Containers {
		s := &Subject{Name: in.Name, Service: in.ServiceName, Group: in.Name, Origin: "container " + in.Name, Labels: in.Labels}
		for port := range in.Ports {
			n, err := strconv.ParseUint(port[:strings.IndexByte(port, '/')], 10, 16)
			require.NoError(t, err)
			s.Ports = append(s.Ports, uint16(n))
		}
		slices.Sort(s.Ports)
		subjects = append(subjects, s)
	}
	o.Shared = Share(subjects, o)
	for _, s := range subjects {
		all = append(all, Decode(s, o))
	}
	return all
}

// outcome3 is what there is to compare with Traefik of routers and services. The
// names of those of TCP and UDP end with their network.
type outcome3 struct {
	Routers  map[string]string   // "rule -> service" by name
	Services map[string][]string // "scheme://host:port" by name; of an own address :port only
}

func (c *case3) outcome(t *testing.T) outcome3 {
	got := outcome3{make(map[string]string), make(map[string][]string)}
	for i, w := range c.decodeAll(t) {
		for _, r := range w.Rules {
			got.Routers[r.Name+network(r.Protocol)] = r.Expr + " -> " + r.Service
		}
		for _, g := range w.Groups {
			port := g.Port
			if ports := c.Input.Containers[i].Ports; port == 0 && len(ports) > 0 {
				port = lowest(t, ports)
			}
			address := fmt.Sprintf("%s://%s:%d", g.Scheme, g.Host, port)
			got.Services[g.Service.Name] = append(got.Services[g.Service.Name], address)
		}
	}
	return got
}

// network is what the names of services have behind them that a protocol goes to.
func network(protocol string) string {
	switch protocol {
	case "", rules.HTTPS:
		return ""
	case rules.UDP:
		return "@udp"
	}
	return "@tcp"
}

func lowest(t *testing.T, ports map[string]any) uint16 {
	low := uint64(1 << 16)
	for port := range ports {
		n, err := strconv.ParseUint(port[:strings.IndexByte(port, '/')], 10, 16)
		require.NoError(t, err)
		low = min(low, n)
	}
	return uint16(low)
}

func (c *case3) wanted(t *testing.T) outcome3 {
	type routing struct {
		Routers  map[string]struct{ Rule, Service string }
		Services map[string]struct {
			LoadBalancer struct {
				Servers []struct{ URL, Address string }
			}
		}
	}
	var expect struct{ HTTP, TCP, UDP routing }
	require.NoError(t, json.Unmarshal(c.Expect, &expect))
	want := outcome3{make(map[string]string), make(map[string][]string)}
	for name, r := range expect.HTTP.Routers {
		want.Routers[name] = r.Rule + " -> " + r.Service
	}
	for suffix, of := range map[string]routing{"@tcp": expect.TCP, "@udp": expect.UDP} {
		for name, r := range of.Routers {
			want.Routers[name+suffix] = r.Rule + " -> " + r.Service + suffix
		}
		for name, s := range of.Services {
			for _, server := range s.LoadBalancer.Servers {
				require.True(t, strings.HasPrefix(server.Address, "127."), server.Address)
				want.Services[name+suffix] = append(want.Services[name+suffix], "http://"+server.Address[strings.IndexByte(server.Address, ':'):])
			}
		}
	}
	for name, s := range expect.HTTP.Services {
		want.Services[name] = nil
		for _, server := range s.LoadBalancer.Servers {
			// All containers of the cases have a loopback address, which labels do not know.
			scheme, address, _ := strings.Cut(server.URL, "://")
			if strings.HasPrefix(address, "127.") {
				address = address[strings.IndexByte(address, ':'):]
			}
			want.Services[name] = append(want.Services[name], scheme+"://"+address)
		}
	}
	return want
}

// runDecoding compares every documented label, field by field.
func (c *case3) runDecoding(t *testing.T) {
	s := &Subject{Name: "s", Labels: c.Input.Labels}
	parsed := parseTraefik3(s)
	require.Empty(t, parsed.strays)
	got := make(map[string]string)
	collect := func(group string, elements map[string]*element) {
		for name, e := range elements {
			require.Empty(t, e.faults)
			for path, v := range e.values {
				if v.field.kind == kindSection {
					require.Contains(t, []string{"true", "false"}, v.text)
					continue
				}
				got[strings.ToLower(group+name+"."+path)] = strings.Join(splitList(v.text), ", ")
			}
		}
	}
	collect("http.routers.", parsed.routers)
	collect("http.services.", parsed.services)
	collect("http.middlewares.", parsed.middlewares)
	collect("", parsed.others)

	var expect any
	require.NoError(t, json.Unmarshal(c.Expect, &expect))
	want := make(map[string]string)
	group := strings.ReplaceAll(strings.TrimPrefix(c.Suite, "v3-label-decode-"), "-", ".")
	if group == "full" {
		group = ""
	} else {
		group += "."
	}
	flatten(want, group, expect)
	for path, text := range want {
		// Traefik fills these two in.
		if _, ok := got[path]; !ok && (strings.HasSuffix(path, ".httponly") && text == "false" || strings.HasSuffix(path, ".proxyprotocol.version") && text == "2") {
			delete(want, path)
		}
	}
	for path := range got {
		// sticky=false turns off what stands below it.
		if c.Input.Labels["traefik.http.services.Service1.loadbalancer.sticky"] == "false" && path == "http.services.service1.loadbalancer.sticky.cookie.name" {
			delete(got, path)
		}
	}
	require.Equal(t, want, got)
}

// flatten writes a configuration as labels have it, names in lower case.
func flatten(into map[string]string, path string, node any) {
	switch n := node.(type) {
	case map[string]any:
		for key, value := range n {
			flatten(into, path+strings.ToLower(key)+".", value)
		}
		return
	case []any:
		if strings.HasSuffix(path, ".servers.") {
			flatten(into, strings.TrimSuffix(path, "s.")+".", n[0])
			return
		}
		words := make([]string, len(n))
		for i := range n {
			words[i] = fmt.Sprint(n[i])
		}
		node = strings.Join(words, ", ")
	}
	into[strings.TrimSuffix(path, ".")] = fmt.Sprint(node)
}
