package labels

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules"
)

// provider1 is what a case says about Traefik's Docker provider.
type provider1 struct {
	Domain           string
	ExposedByDefault *bool
	SwarmMode        bool
}

func (p *provider1) options() *Options {
	o := &Options{ExposedByDefault: true, Domain: p.Domain}
	if p.ExposedByDefault != nil {
		o.ExposedByDefault = *p.ExposedByDefault
	}
	return o
}

// container1 is a container, or a Swarm service.
type container1 struct {
	Name   string
	Labels map[string]string
	Ports  map[string]any // "80/tcp"
}

func (c *container1) subject(swarm bool) *Subject {
	s := &Subject{Name: c.Name, Service: normalize(c.Name), Group: c.Name, Origin: "container " + c.Name, Labels: c.Labels, Swarm: swarm}
	s.Project, s.Member = c.Labels["com.docker.compose.project"], c.Labels["com.docker.compose.service"]
	if s.Project != "" {
		s.Service, s.Group = normalize(s.Member+"_"+s.Project), s.Project+"/"+s.Member
	}
	for port := range c.Ports {
		number, _, _ := strings.Cut(port, "/")
		n, _ := strconv.Atoi(number)
		s.Ports = append(s.Ports, uint16(n))
	}
	slices.Sort(s.Ports)
	return s
}

// backendName is Traefik's name of a group: it has the words of Group in the other order.
func (c *container1) backendName(s *Subject, group string) string {
	rest, found := strings.CutPrefix(group, s.Group)
	if found {
		return normalize(s.Service + rest)
	}
	return normalize(group)
}

// testContainer1 is about one property of one container.
func testContainer1(t *testing.T, c *case1) {
	var in struct {
		Provider           provider1
		Container, Service *container1
		Segment            string
	}
	var want struct {
		Kept                                  *bool
		FrontendName, Rule, BackendName, Port *string
	}
	c.read(t, &in, &want)
	s := cmp.Or(in.Container, in.Service).subject(in.Service != nil)
	o := in.Provider.options()
	f := &frontend{s: s, o: o, w: &Wants{}, segment: in.Segment, properties: segments(s.Labels)[in.Segment]}
	rule := cmp.Or(f.label("frontend.rule").text, f.domainRule())
	switch {
	case want.Kept != nil:
		w := Decode(s, o)
		require.Equal(t, *want.Kept, w.Hidden == "" && len(w.Rules) > 0, "%+v", w)
	case want.FrontendName != nil:
		require.Equal(t, *want.FrontendName, f.name(rule)+"-0")
	case want.Rule != nil:
		require.Equal(t, *want.Rule, rule)
	case want.BackendName != nil:
		require.Equal(t, *want.BackendName, cmp.Or(in.Container, in.Service).backendName(s, f.service()))
	case want.Port != nil:
		g, ok := f.group()
		require.Equal(t, *want.Port != "", ok)
		if ok {
			require.Equal(t, *want.Port, strconv.Itoa(int(cmp.Or(g.Port, s.lowestPort()))))
		}
	default:
		t.Fatalf("BUG: nothing is expected: %s", c.Expect)
	}
}

func (s *Subject) lowestPort() uint16 {
	if len(s.Ports) == 0 {
		return 0
	}
	return s.Ports[0]
}

// built1 is what Traefik makes of the labels of all containers, as far as labels decide it.
type built1 struct {
	frontends map[string]frontend1 // without the number at the end of the name
	backends  map[string][]server1
}

type frontend1 struct {
	backend        string
	ports          []uint16
	priority       int
	passHostHeader bool
	protected      bool
	redirected     bool
}

type server1 struct {
	scheme string
	port   uint16
	weight int
}

func (a server1) compare(b server1) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) }

func testBuild1(t *testing.T, c *case1) {
	var in struct {
		Provider             provider1
		Containers, Services []container1
	}
	var want struct {
		Frontends map[string]struct {
			Backend           string
			EntryPoints       []string
			PassHostHeader    bool
			Priority          int
			Auth, WhiteList   any
			PassTLSClientCert any
			Redirect          any
			Routes            map[string]struct{ Rule string }
		}
		Backends map[string]struct {
			Servers map[string]struct {
				URL    string
				Weight int
			}
		}
	}
	c.read(t, &in, &want)
	expect := built1{make(map[string]frontend1), make(map[string][]server1)}
	for name, f := range want.Frontends {
		ports := []uint16{80}
		if len(f.EntryPoints) > 0 {
			require.Equal(t, []string{"http", "https"}, f.EntryPoints)
			ports = []uint16{80, 443}
		}
		rule := f.Routes["route-"+name].Rule
		protected := f.Auth != nil || f.WhiteList != nil || f.PassTLSClientCert != nil
		expect.frontends[frontendName(name)] = frontend1{
			f.Backend, ports, cmp.Or(f.Priority, len(rule)), f.PassHostHeader, protected, f.Redirect != nil && !protected,
		}
	}
	for name, b := range want.Backends {
		for _, s := range b.Servers {
			u, err := url.Parse(s.URL)
			require.NoError(t, err)
			port, err := strconv.Atoi(u.Port())
			require.NoError(t, err)
			expect.backends[name] = append(expect.backends[name], server1{u.Scheme, uint16(port), s.Weight})
		}
		slices.SortFunc(expect.backends[name], server1.compare)
	}
	got := built1{make(map[string]frontend1), make(map[string][]server1)}
	for _, container := range slices.Concat(in.Containers, in.Services) {
		got.add(t, &container, in.Provider)
	}
	require.Equal(t, expect, got)
}

// frontendName cuts off the number of the frontend.
func frontendName(name string) string {
	i := strings.LastIndexByte(name, '-')
	if _, err := strconv.Atoi(name[i+1:]); err != nil {
		return name
	}
	return name[:i]
}

func (b *built1) add(t *testing.T, c *container1, p provider1) {
	s := c.subject(p.SwarmMode)
	w := Decode(s, p.options())
	names := make(map[string]string) // of backends, by service
	for _, g := range w.Groups {
		name := "backend-" + c.backendName(s, g.Service.Name)
		names[g.Service.Name] = name
		weight := 1
		if g.Weight != nil {
			weight = *g.Weight
		}
		b.backends[name] = append(b.backends[name], server1{g.Scheme, cmp.Or(g.Port, s.lowestPort()), weight})
		slices.SortFunc(b.backends[name], server1.compare)
	}
	for _, r := range w.Rules {
		name := "frontend-" + r.Name
		if p := r.Redirect; p != nil && p.Code == 301 {
			continue // corrects the final slash
		}
		// A redirect goes to no service; Traefik's frontend has one all the same.
		backend := names[r.Service]
		if r.Service == "" {
			require.Len(t, names, 1)
			backend = slices.Collect(maps.Values(names))[0]
		}
		require.Equal(t, r.Port == 443, r.Protocol == rules.HTTPS)
		before := b.frontends[name] // at another entry point
		b.frontends[name] = frontend1{
			backend, append(before.ports, r.Port), lowestTraefik - r.Priority, !r.ServerHost, r.Refuse != "", before.redirected || r.Redirect != nil,
		}
	}
}
