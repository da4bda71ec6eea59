package rules

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/health"
)

// compile compiles rules over the services blog (two servers) and shop (one).
func compile(rules ...Rule) (*Table, []Problem) {
	return Compile(Input{
		Rules:    rules,
		Services: []Service{service("blog", "10.0.0.1", "10.0.0.2"), service("shop", "10.0.1.1:8080")},
	}, NoBackends{})
}

// on80 is the part of t for the listener on port 80 of all addresses.
func on80(t *Table) *PortTable { return t.On(Listen{Port: 80, Protocol: HTTP}) }

func TestCompile_RejectsRules(t *testing.T) {
	f := func(r Rule, want string) {
		t.Helper()
		r.Origin = "rules.yml:14"
		table, problems := compile(r, Rule{Port: 81, Service: "blog"})
		require.Len(t, problems, 1)
		require.Equal(t, want, problems[0].Reason)
		require.Equal(t, "rules.yml:14", problems[0].Origin)
		require.True(t, problems[0].Fatal)
		require.Len(t, table.Entries(), 1, "the other rule stays")
	}
	f(Rule{Service: "blog"}, "source_port: 0 is not a port; want 1 to 65535")
	f(Rule{Port: 80}, "service: missing; want the name of a service, or a redirect")
	f(Rule{Port: 80, Service: "blgo"}, `service: unknown service "blgo"; did you mean "blog"?; known are blog, shop`)
	f(Rule{Port: 80, Service: "wiki"}, `service: unknown service "wiki"; known are blog, shop`)
	f(Rule{Port: 80, Service: "blog", Weight: new(257)}, "weight: 257 is out of range; want 0 to 256")
	f(Rule{Port: 80, Service: "blog", Weight: new(-1)}, "weight: -1 is out of range; want 0 to 256")
	f(Rule{Port: 80, Service: "blog", Hostname: "a..b"}, `hostname: bad hostname "a..b": nothing between two dots, or before the first`)
	f(Rule{Port: 80, Service: "blog", Path: "api"}, `path: "api" has no leading slash; want "/api"`)
	f(Rule{Port: 80, Service: "blog", Path: "(", PathMatch: PathRegexp}, `path: bad regexp "(": column 1: missing closing ): "("`)
	f(Rule{Port: 80, Service: "blog", Expr: "Hosst(`a`)"}, `rule: column 1: unknown matcher "Hosst"; did you mean "Host"?`)
	f(Rule{Port: 80, Service: "blog", StripPrefix: "x"}, `strip_prefix: "x" has no leading slash; want "/x"`)
	f(Rule{Port: 80, Service: "blog", AddPrefix: "/a b"}, `add_prefix: "/a b" may not stand in a request; percent-encode it`)
	f(Rule{Port: 80, Service: "blog", ReplacePath: "x"}, `replace_path: "x" has no leading slash; want "/x"`)
	f(Rule{Port: 80, Service: "blog", Redirect: &Redirect{Host: "b"}}, "redirect and service exclude each other; take one of them out")
	f(Rule{Port: 80, Redirect: &Redirect{}}, "redirect: it leads back to the same place; want a scheme, host, port or path")
	f(Rule{Port: 80, Redirect: &Redirect{Host: "b", Code: 200}}, "redirect: code 200 is no redirect; want 301, 302, 303, 307 or 308")
	f(Rule{Port: 80, Redirect: &Redirect{Scheme: "ftp"}}, `redirect: scheme "ftp"; want http or https`)
	f(Rule{Port: 80, Redirect: &Redirect{Path: "x"}}, `redirect: path: "x" has no leading slash; want "/x"`)
	f(Rule{Port: 80, Redirect: &Redirect{Path: "/\r\nSet-Cookie: x"}}, `redirect: path: "/\r\nSet-Cookie: x" may not stand in a Location; percent-encode it`)
	f(Rule{Port: 80, Redirect: &Redirect{Host: "*.b"}}, `redirect: host: "*.b" is not the name of a host`)
	f(Rule{Port: 80, Service: "blog", RequestHeaders: HeaderEdit{Set: []HeaderField{{"X A", "1"}}}}, `request_headers: "X A" is no field name: ' ' may not stand in it`)
	f(Rule{Port: 80, Service: "blog", RequestHeaders: HeaderEdit{Add: []HeaderField{{"X-A", "1\nX-B: 2"}}}}, `request_headers: X-A: the value "1\nX-B: 2" holds a control character; a field is one line`)
	f(Rule{Port: 80, Service: "blog", ResponseHeaders: HeaderEdit{Remove: []string{"content-length"}}}, "response_headers: Content-Length is set by lb itself and cannot be edited")
	f(Rule{Port: 80, Service: "blog", RequestHeaders: HeaderEdit{Add: []HeaderField{{"host", "a"}}}}, "request_headers: host can only be set, and only in request_headers")
	f(Rule{Port: 80, Service: "blog", ResponseHeaders: HeaderEdit{Set: []HeaderField{{"Host", "a"}}}}, "response_headers: host can only be set, and only in request_headers")
	f(Rule{Port: 80, Service: "blog", ResponseHeaders: HeaderEdit{Remove: []string{""}}}, "response_headers: a field without a name")
}

func TestCompile_RejectsServices(t *testing.T) {
	f := func(s Service, want string) {
		t.Helper()
		s.Name, s.Origin = "blog", "rules.yml:3"
		table, problems := Compile(Input{Rules: []Rule{{Port: 80, Service: "blog", Origin: "rules.yml:9"}}, Services: []Service{s}}, NoBackends{})
		require.Equal(t, []Problem{
			{Origin: "rules.yml:3", Reason: `service "blog": ` + want, Fatal: true},
			{Origin: "rules.yml:9", Rule: "80", Reason: `service "blog" (rules.yml:3): ` + want, Fatal: true},
		}, problems)
		require.Empty(t, table.Ports())
	}
	f(Service{Balance: "best"}, `balance: unknown policy "best"; want round-robin`)
	f(Service{Instances: []Instance{{Host: "a", Weight: new(-1)}}}, `server "a": weight: -1 is out of range; want 0 to 256`)
	f(Service{Retries: new(-1)}, "retries: it is negative; want 0 or more")
	f(Service{ConnectTimeout: -1}, "connect_timeout: it is negative; want 0 or more")
	f(Service{Check: &health.Check{ExpectStatus: "abc"}}, "health_check: "+(&health.Check{ExpectStatus: "abc"}).Validate().Error())
}

func TestCompile_ListsAFewOfManyServices(t *testing.T) {
	in := Input{Rules: []Rule{{Port: 80, Service: "x", Name: "r"}}}
	for i := range 12 {
		in.Services = append(in.Services, service(fmt.Sprintf("service-%02d", i)))
	}
	_, problems := Compile(in, NoBackends{})
	require.Equal(t, `service: unknown service "x"; known are service-00, service-01, service-02, service-03, service-04, `+
		`service-05, service-06, service-07, service-08, service-09 and 2 more`, problems[0].Reason)
	_, problems = Compile(Input{Rules: in.Rules}, NoBackends{})
	require.Equal(t, []Problem{{Rule: "r", Reason: `service: unknown service "x"; there are no services`, Fatal: true}}, problems)
}

func TestCompile_EditsThatAreFine(t *testing.T) {
	_, problems := compile(
		Rule{
			Port: 80, Service: "blog", StripPrefix: "/a", AddPrefix: "/b%20c",
			RequestHeaders:  HeaderEdit{Set: []HeaderField{{"host", "a"}, {"X-Empty", ""}}, Remove: []string{"Cookie"}},
			ResponseHeaders: HeaderEdit{Add: []HeaderField{{"X-Tab", "a\tb ü"}}},
		},
		Rule{Port: 80, Hostname: "a", Redirect: &Redirect{Scheme: "https", Host: "www.a", Port: 8443, Path: "/x?y=1", Code: 308}},
	)
	require.Empty(t, problems)
}

func TestTable_DoubtsPatternsOfTraefik2(t *testing.T) {
	f := func(expr string, want ...string) {
		t.Helper()
		table, problems := compile(Rule{Port: 80, Expr: expr, Service: "blog"})
		require.Empty(t, problems)
		doubts := table.Doubts()
		require.Len(t, doubts, len(want))
		for i, p := range doubts {
			require.Contains(t, p.Reason, want[i]+` has a {name:pattern} of Traefik 2's`)
		}
	}
	f("HostRegexp(`{sub:[a-z]+}.a.net`)", `"{sub:[a-z]+}.a.net"`)
	f("Path(`/`) && !HostRegexp(`^a{sub:.*}$`)", `"^a{sub:.*}$"`)
	f("Host(`a.net`) && PathPrefix(`/shop/{id:[0-9]+}`)")
	f("HostRegexp(`^[a-z]{2,3}\\.a\\.net$`)")
	f("HeaderRegexp(`X`, `{a:.*}`)")
}

func TestCompile_ServiceAnnouncedTwice(t *testing.T) {
	a, b := service("blog", "10.0.0.1"), service("blog", "10.0.0.2")
	b.Origin = "b.yml:1"
	table, problems := Compile(Input{Rules: []Rule{{Port: 80, Service: "blog"}}, Services: []Service{a, b}}, NoBackends{})
	require.Equal(t, []Problem{{Origin: "b.yml:1", Other: "blog.yml:1", Reason: `service "blog" is announced twice; the first one counts`, Fatal: true}}, problems)
	require.Equal(t, "10.0.0.1", table.Pools()[0].Targets[0].Host)
}

func TestCompile_FillsInDefaults(t *testing.T) {
	in := []Rule{
		{Port: 80, Hostname: "Arzur.net", Path: "/blog", Service: "blog"},
		{Port: 80, Hostname: "old.net", Redirect: &Redirect{Host: "new.net"}},
		{Port: 81, Address: netip.MustParseAddr("::ffff:127.0.0.1"), Service: "blog", Name: "mine"},
	}
	table, problems := compile(in...)
	require.Empty(t, problems)
	e := table.Entries()
	require.Equal(t, "80 arzur.net/blog", e[0].Rule.Name)
	require.Equal(t, uint16(80), e[0].Rule.TargetPort)
	require.Equal(t, "http", e[0].Rule.Protocol)
	require.Equal(t, 302, e[1].Rule.Redirect.Code)
	require.Nil(t, e[1].Pool)
	require.Equal(t, "mine", e[2].Rule.Name)
	require.Equal(t, 0, in[1].Redirect.Code, "the Input stays as it was")
	require.Equal(t, []Listen{
		{Port: 80, Protocol: "http"},
		{Address: netip.MustParseAddr("127.0.0.1"), Port: 81, Protocol: "http"},
	}, table.Ports())
	for i, e := range table.Entries() {
		require.Equal(t, i, e.ID)
	}
}

func TestCompile_PoolHasLimitsOfItsFirstService(t *testing.T) {
	a, b := service("a", "10.0.0.1"), service("b", "10.0.0.2")
	a.Retries, a.QueueLength, a.QueueTimeout, a.ConnectTimeout, a.ResponseTimeout = new(0), 1, 2, 3, 4
	a.MaxConnections, a.WhenAllDown, a.Hold = 7, Try, new(5*time.Nanosecond)
	b.MaxConnections = 8
	table, problems := Compile(Input{
		Rules:    []Rule{{Port: 80, Service: "a", BackendName: "both"}, {Port: 80, Service: "b"}},
		Services: []Service{a, b},
	}, NoBackends{})
	require.Empty(t, problems)
	p := table.Pools()[0]
	require.Equal(t, "both", p.Name)
	require.Equal(t, []int{0, 1, 2, 3, 4}, []int{*p.Retries, p.QueueLength, int(p.QueueTimeout), int(p.ConnectTimeout), int(p.ResponseTimeout)})
	require.Equal(t, Try, p.WhenAllDown)
	require.Equal(t, 5*time.Nanosecond, p.Hold)
	require.Equal(t, int32(7), p.Targets[0].MaxConnections)
	require.Equal(t, int32(8), p.Targets[1].MaxConnections)
}

// asked counts what Compile asks for.
type asked map[health.Key]int

func (a asked) Backend(addr netip.AddrPort, c *health.Check, transport string) *health.Backend {
	key := health.Key{Addr: addr, Check: c.Key(), Transport: transport}
	a[key]++
	return &health.Backend{Key: key}
}

func TestCompile_AsksForEachBackendOnce(t *testing.T) {
	a, b, c := service("a", "10.0.0.1", "10.0.0.2:90"), service("b", "10.0.0.1"), service("c", "10.0.0.1")
	b.Check, c.Check = &health.Check{Port: 1}, &health.Check{Port: 1}
	reg := asked{}
	table, problems := Compile(Input{
		Rules: []Rule{
			{Port: 80, Hostname: "a", Service: "a"}, {Port: 80, Hostname: "a2", Service: "a"}, {Port: 80, Hostname: "a3", Service: "a", TargetPort: 81},
			{Port: 80, Hostname: "b", Service: "b"}, {Port: 80, Hostname: "c", Service: "c"},
		},
		Services: []Service{a, b, c},
	}, reg)
	require.Empty(t, problems)
	for key, n := range reg {
		require.Equal(t, 1, n, key)
	}
	var got []string
	for _, u := range table.Backends() {
		got = append(got, u.Backend.Addr.String()+" "+u.Host)
	}
	require.Equal(t, []string{"10.0.0.1:80 10.0.0.1", "10.0.0.2:90 10.0.0.2:90", "10.0.0.1:81 10.0.0.1", "10.0.0.1:80 10.0.0.1"}, got)
	require.Equal(t, []string{"b", "c"}, table.Backends()[3].Services)
	require.Nil(t, table.Backends()[0].Check)
	require.NotNil(t, table.Backends()[3].Check)
	require.Len(t, table.Pools(), 4, "a and a2 share one")
	require.Same(t, table.Entries()[0].Pool, table.Entries()[1].Pool)
}

func TestCompile_UnresolvedNameHasNoTarget(t *testing.T) {
	s := service("blog", "10.0.0.1")
	s.Instances = append(s.Instances, Instance{Host: "blog.internal"})
	table, problems := Compile(Input{Rules: []Rule{{Port: 80, Service: "blog"}}, Services: []Service{s}}, NoBackends{})
	require.Empty(t, problems)
	require.Len(t, table.Pools()[0].Targets, 1)
}

func TestTable_OnIsExactAboutTheAddress(t *testing.T) {
	local := netip.MustParseAddr("127.0.0.1")
	table, _ := compile(Rule{Port: 80, Service: "blog"}, Rule{Port: 80, Address: local, Hostname: "a", Service: "shop"})
	require.Equal(t, "blog", on80(table).Lookup(request("a/")).Rule.Service)
	require.Equal(t, "shop", table.On(Listen{local, 80, HTTP}).Lookup(request("a/")).Rule.Service)
	require.Equal(t, "shop", table.On(Listen{netip.MustParseAddr("::ffff:127.0.0.1"), 80, HTTP}).Lookup(request("a/")).Rule.Service)
	require.Nil(t, table.On(Listen{local, 80, HTTP}).Lookup(request("b/")))
	require.Nil(t, table.On(Listen{Port: 81, Protocol: HTTP}).Lookup(request("a/")))
}

func TestNearMisses(t *testing.T) {
	known := []string{"hostname", "path", "path_match", "priority", "service", "source_port"}
	require.Equal(t, []string{"hostname"}, NearMisses("hostnam", known))
	require.Equal(t, []string{"hostname"}, NearMisses("Hostname", known))
	require.Equal(t, []string{"service"}, NearMisses("servcie", known))
	require.Equal(t, []string{"source_port"}, NearMisses("source-prt", known))
	require.Empty(t, NearMisses("weight", known))
	require.Empty(t, NearMisses("x", known))
}
