package labels

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// served is a Subject with one router, x, and more labels.
func served(lines string) *Subject {
	return subject("traefik.http.routers.x.rule=Host(`x`)\n" + lines)
}

func TestTraefik3_Router(t *testing.T) {
	w := Decode(subject("traefik.http.routers.web.Rule=Host(`a`) && PathPrefix(`/b`)\n"+
		"traefik.http.routers.web.priority=7\n"+
		"traefik.http.routers.web.entryPoints=web, alt\n"+
		"traefik.http.services.s.loadbalancer.server.port=8080\n"+
		"traefik.http.services.s.loadbalancer.server.weight=3\n"+
		"traefik.http.services.s.loadbalancer.passHostHeader=false"),
		&Options{ExposedByDefault: true, EntryPoints: map[string]uint16{"web": 80, "alt": 8000}})
	require.Empty(t, w.Problems)
	require.Len(t, w.Rules, 2)
	require.Equal(t, rules.Rule{
		Name: "web", Origin: "container blog-1: label traefik.http.routers.web.Rule", Port: 80,
		Expr: "Host(`a`) && PathPrefix(`/b`)", Priority: TraefikPriority(7), Service: "s", ServerHost: true,
	}, w.Rules[0])
	require.EqualValues(t, 8000, w.Rules[1].Port)
	require.Len(t, w.Groups, 1)
	require.EqualValues(t, 8080, w.Groups[0].Port)
	require.Equal(t, 3, *w.Groups[0].Weight)
}

// TestTraefik3_LeftOut: a router is left out when what it would take is not clear.
func TestTraefik3_LeftOut(t *testing.T) {
	f := func(lines, want string) {
		t.Helper()
		w := Decode(subject(lines), nil)
		require.Empty(t, w.Rules)
		require.Contains(t, problems(w), want)
	}
	f("traefik.http.routers.x.rulee=Host(`x`)",
		`! traefik.http.routers.x.rulee: unknown label (did you mean "traefik.http.routers.x.rule"?); the router is left out`)
	f("traefik.http.routers.x.rule=Host(`x`)\ntraefik.http.routers.x.entrypoint=web",
		`! traefik.http.routers.x.entrypoint: unknown label (did you mean "traefik.http.routers.x.entryPoints"?); the router is left out`)
	f("traefik.http.routers.x.rule=Host(`x`)\ntraefik.http.routers.x.tls=yes",
		`! traefik.http.routers.x.tls: "yes" is neither true nor false; the router is left out`)
	f("traefik.http.routers.x.rule=Host(`x`)\ntraefik.http.routers.x.Rule=Host(`y`)",
		`! traefik.http.routers.x.rule: it contradicts traefik.http.routers.x.Rule; neither counts; the router is left out`)
	f("traefik.http.routers.x.rule=Host(`x`)\ntraefik.http.routers.x.entrypoints=web\ntraefik.http.routers.x.tls=true",
		`! traefik.http.routers.x.entrypoints: entry point "web" is one for http, and the router asks for tls; want websecure; the router is left out`)
	f("traefik.http.routers.x.rule=Host(`x`)\ntraefik.http.routers.x.entrypoints=webb",
		`! traefik.http.routers.x.entrypoints: unknown entry point "webb"; did you mean "web"?; known are http, https, web, websecure; the router is left out`)
	f("traefik.http.routers.x.rule=Host(`x`, `y`)\ntraefik.http.routers.x.ruleSyntax=2",
		`! traefik.http.routers.x.ruleSyntax: unknown syntax "2"; want v3 or v2; the router is left out`)
	f("traefik.http.routers.x.rule=Host(`x`)\ntraefik.http.routers.x.service=api@internal",
		`! traefik.http.routers.x.service: service "api@internal" is Traefik's own; lb has its API and metrics on the admin listener; the router is left out`)
	f("traefik.http.routers.x.rule=Host(`x`)\ntraefik.http.routers.x.service=noop@internal",
		`! traefik.http.routers.x.service: noop@internal serves nothing, and no middleware redirects; the router is left out`)
	f("traefik.http.router.x.rule=Host(`x`)", `! traefik.http.router.x.rule: unknown label; did you mean "http.routers"?`)
	f("traefik.http.routers.x=true", `! traefik.http.routers.x: it says nothing about "x"`)
	f("traefik.http.routers=true", `! traefik.http.routers: it names none of the routers`)
	f("traefik.tcp.routers.x.rule=HostSNI(`*`)",
		"! traefik.tcp.routers.x.rule: it has to name an entry point: each port speaks one protocol, and web speaks http; the router is left out")
	f("traefik.tcp.routers.x.tls=true", "! traefik.tcp.routers.x.tls: it has no rule; want HostSNI(`*`), or HostSNI with a name and tls; the router is left out")
	f("traefik.tcp.routers.x.rule=HostSNI(`*`)\ntraefik.tcp.routers.x.entrypoints=db",
		`! traefik.tcp.routers.x.entrypoints: unknown entry point "db"; known are http, https, web, websecure; the router is left out`)
	f("traefik.udp.routers.x.entrypoints=web\ntraefik.udp.routers.x.service=a@file",
		`! traefik.udp.routers.x.service: service "a@file" is defined outside the labels (file), which lb does not read; the router is left out`)
}

func TestTraefik3_Warnings(t *testing.T) {
	f := func(lines string, want ...string) {
		t.Helper()
		w := Decode(served(lines), nil)
		require.Len(t, w.Rules, 1)
		require.Empty(t, w.Rules[0].Refuse)
		require.Equal(t, want, problems(w))
	}
	f("traefik.http.routers.x.entrypoints=web,websecure\ntraefik.http.routers.x.tls=true",
		`traefik.http.routers.x.entrypoints: entry point "web" is one for http, and the router asks for tls; want websecure`)
	f("traefik.http.routers.x.priority=high", `traefik.http.routers.x.priority: "high" is not a number`)
	f("traefik.http.routers.x.tls=false")
	f("traefik.http.routers.x.observability.metrics=false",
		"traefik.http.routers.x.observability.metrics: observability.metrics is known, but not supported yet; the rest works without it")
	f("traefik.http.routers.x.quux=1", "traefik.http.routers.x.quux: unknown label")
	f("traefik.tls.stores.default.defaultgeneratedcert.resolver=le",
		"traefik.tls.stores.default.defaultgeneratedcert.resolver: which certificates there are the configuration says alone: certs, default_cert, acme")
	f("traefik.http.services.s.loadbalancer.sticky.cookie.name=c",
		"traefik.http.services.s.loadbalancer.sticky.cookie.name: loadBalancer.sticky.cookie.name is known, but not supported yet; the rest works without it")
	f("traefik.http.services.s.loadbalancer.strategy=p2c",
		`traefik.http.services.s.loadbalancer.strategy: strategy "p2c" is not supported yet; the servers take turns`)
	f("traefik.http.services.s.loadbalancer.responseforwarding.flushinterval=100ms")
	f("traefik.http.middlewares.c.compress=true\ntraefik.http.routers.x.middlewares=c@docker",
		"traefik.http.middlewares.c.compress: compress is not supported yet; rules work without it")
	f("traefik.http.middlewares.n.inflightreq.amount=10\ntraefik.http.routers.x.middlewares=n",
		"traefik.http.middlewares.n.inflightreq.amount: inFlightReq is not supported yet; rules work without it")
	f("traefik.http.middlewares.n.inflightreq.amount=10\ntraefik.http.middlewares.n.inflightreq.sourcecriterion.requesthost=true\ntraefik.http.routers.x.middlewares=n",
		"traefik.http.middlewares.n.inflightreq.amount: inFlightReq is not supported yet; rules work without it")
}

// TestTraefik3_Refuse: what protects and cannot be given answers 503 and says why.
func TestTraefik3_Refuse(t *testing.T) {
	f := func(lines, want string) {
		t.Helper()
		w := Decode(served(lines), nil)
		require.Len(t, w.Rules, 1)
		require.Equal(t, want, w.Rules[0].Refuse)
		require.True(t, w.rejected())
	}
	use := func(name, lines string) string { return "traefik.http.routers.x.middlewares=" + name + "\n" + lines }
	f(use("auth", "traefik.http.middlewares.auth.basicauth.users=a:b"), `middleware "auth": basicAuth is not supported yet, and it protects`)
	f(use("c", "traefik.http.middlewares.c.chain.middlewares=auth\ntraefik.http.middlewares.auth.ipallowlist.sourcerange=10.0.0.0/8"),
		`middleware "auth": ipAllowList is not supported yet, and it protects`)
	byClient := `middleware "n": inFlightReq is not supported yet, and it protects`
	f(use("n", "traefik.http.middlewares.n.inflightreq.amount=10\ntraefik.http.middlewares.n.inflightreq.sourcecriterion.ipstrategy=true"), byClient)
	f(use("n", "traefik.http.middlewares.n.inflightreq.amount=10\ntraefik.http.middlewares.n.inflightreq.sourcecriterion.ipstrategi.depth=1"), byClient)
	f(use("auth", "traefik.http.middlewares.auth.basicath.users=a:b"), `middleware "auth" has the unknown type "basicath"; did you mean "basicAuth"?`)
	f(use("auht", "traefik.http.middlewares.auth.addprefix.prefix=/a"), `unknown middleware "auht"; did you mean "auth"?`)
	f(use("auth@file", ""), `middleware "auth@file" is defined outside the labels (file), which lb does not read`)
	f(use("a", "traefik.http.middlewares.a.addprefix.prefix=/a\ntraefik.http.middlewares.a.stripprefix.prefixes=/b"),
		`middleware "a" is addPrefix and stripPrefix at once; give each a name`)
	f(use("a", "traefik.http.middlewares.a.stripprefix.prefix=/b"), `middleware "a": stripPrefix.prefixes is missing or cannot be used`)
	f(use("a", "traefik.http.middlewares.a.chain.middlewares=b\ntraefik.http.middlewares.b.chain.middlewares=a"),
		`middleware "a" is a chain that leads back to itself`)
	f(use("h", "traefik.http.middlewares.h.headers.allowedhosts=a"), `middleware "h": headers.allowedHosts is not supported yet, and it protects`)
	f(use("h", "traefik.http.middlewares.h.headers.customrequestheader.X-User="),
		`middleware "h": label traefik.http.middlewares.h.headers.customrequestheader.X-User cannot be used, and it may protect`)
	f("traefik.http.routers.x.middleware=auth",
		`label traefik.http.routers.x.middleware: unknown label (did you mean "traefik.http.routers.x.middlewares"?)`)
	f("traefik.http.routers.x.auth.basic.users=a:b",
		"label traefik.http.routers.x.auth.basic.users: unknown label, which may be meant to protect")
	f("traefik.http.routers.x.ip-allow-list.sourcerange=10.0.0.0/8",
		"label traefik.http.routers.x.ip-allow-list.sourcerange: unknown label, which may be meant to protect")
	f("traefik.http.services.s.middlewares=auth@file", `middleware "auth@file" is defined outside the labels (file), which lb does not read`)
	f("traefik.http.services.s.middlewares=auth\ntraefik.http.middlewares.auth.basicauth.users=a:b", `middleware "auth": basicAuth is not supported yet, and it protects`)
	f("traefik.http.services.s.basicauth.users=a:b",
		`service "s": label traefik.http.services.s.basicauth.users: unknown label, which may be meant to protect`)
	// What Traefik 1 would protect has no frontend of its own.
	f("traefik.frontend.auth.basic.users=a:b", "basic authentication is not supported yet")
	f("traefik.frontend.basicauth=a:b", "unknown label traefik.frontend.basicauth, which may be meant to protect")
	f("lb.allow=10.0.0.0/8", "unknown label lb.allow, which may be meant to protect")
	f("traefik.http.services.s.loadbalancer.server.prot=80",
		`service "s": label traefik.http.services.s.loadbalancer.server.prot: unknown label (did you mean "traefik.http.services.s.loadBalancer.server.port"?)`)
	f("traefik.http.services.s.server.port=80",
		`service "s": label traefik.http.services.s.server.port: unknown label (did you mean "traefik.http.services.s.loadBalancer.server.port"?)`)
	f("traefik.http.services.s.loadbalancer.server.port=70000", `service "s": server.port 70000 is not a port; want 1 to 65535`)
	f("traefik.http.services.s.loadbalancer.server.scheme=h2c", `service "s": its servers speak h2c, which is not supported yet; want http or https`)
	f("traefik.http.routers.x.tls.options=mtls@file",
		`tls.options "mtls@file" are not known here, and may ask for client certificates; lb has tls.client_auth`)
}

func TestTraefik3_ChainsOfChainsEnd(t *testing.T) {
	lines := "traefik.http.routers.x.middlewares=c0\n"
	for _, c := range []string{"0.chain.middlewares=c1,c1,c1", "1.chain.middlewares=c2,c2,c2", "2.chain.middlewares=c3,c3,c3", "3.chain.middlewares=c4,c4,c4", "4.addprefix.prefix=a"} {
		lines += "traefik.http.middlewares.c" + c + "\n"
	}
	w := Decode(served(lines), nil)
	require.Equal(t, "more than 100 middlewares", w.Rules[0].Refuse)
}

func TestTraefik3_Middlewares(t *testing.T) {
	w := Decode(served(`
		traefik.http.routers.x.middlewares=all, last
		traefik.http.middlewares.all.chain.middlewares=strip,regex,add,path,pathregex,first
		traefik.http.middlewares.strip.stripprefix.prefixes=/a, /b
		traefik.http.middlewares.strip.stripprefix.forceslash=false
		traefik.http.middlewares.regex.stripprefixregex.regex=^/c+,/d
		traefik.http.middlewares.add.addprefix.prefix=e
		traefik.http.middlewares.path.replacepath.path=/f
		traefik.http.middlewares.pathregex.replacepathregex.regex=^/(g)
		traefik.http.middlewares.pathregex.replacepathregex.replacement=/h/$1
		traefik.http.middlewares.first.headers.customrequestheaders.X-One=1
		traefik.http.middlewares.first.headers.customrequestheaders.X-Gone=
		traefik.http.middlewares.first.headers.customresponseheaders.Server=first
		traefik.http.middlewares.first.headers.framedeny=true
		traefik.http.middlewares.first.headers.customframeoptionsvalue=SAMEORIGIN
		traefik.http.middlewares.first.headers.stsseconds=60
		traefik.http.middlewares.first.headers.stsincludesubdomains=true
		traefik.http.middlewares.first.headers.forcestsheader=true
		traefik.http.middlewares.last.headers.customrequestheaders.X-One=2
		traefik.http.middlewares.last.headers.customresponseheaders.Server=last`), nil)
	require.Empty(t, w.Problems)
	require.Len(t, w.Rules, 1)
	r := w.Rules[0]
	require.Equal(t, []rules.Rewrite{
		{Kind: rules.StripPrefixes, Prefixes: []string{"/a", "/b"}},
		{Kind: rules.StripPrefixRegexp, Pattern: "(?:^/c+)|(?:/d)"},
		{Kind: rules.AddPrefix, Replacement: "/e"},
		{Kind: rules.ReplacePath, Replacement: "/f"},
		{Kind: rules.ReplacePathRegexp, Pattern: "^/(g)", Replacement: "/h/$1"},
	}, r.Rewrites)
	require.Equal(t, rules.HeaderEdit{
		Set:    []rules.HeaderField{{Name: "X-One", Value: "2"}},
		Remove: []string{"X-Gone"},
	}, r.RequestHeaders, "the last middleware has the last word on requests")
	require.Equal(t, rules.HeaderEdit{Set: []rules.HeaderField{
		{Name: "X-Frame-Options", Value: "SAMEORIGIN"},
		{Name: "Strict-Transport-Security", Value: "max-age=60; includeSubDomains"},
		{Name: "Server", Value: "first"},
	}}, r.ResponseHeaders, "the first middleware has the last word on responses")
	_, wrong := rules.Compile(rules.Input{Rules: w.Rules, Services: []rules.Service{w.Groups[0].Service}}, rules.NoBackends{})
	require.Empty(t, wrong)
}

func TestTraefik3_RedirectScheme(t *testing.T) {
	f := func(scheme, port, url, want string) {
		t.Helper()
		w := Decode(served("traefik.http.routers.x.middlewares=r\ntraefik.http.middlewares.r.redirectscheme.permanent=true\n"+
			"traefik.http.middlewares.r.redirectscheme.scheme="+scheme+"\ntraefik.http.middlewares.r.redirectscheme.port="+port), nil)
		require.Empty(t, w.Problems)
		to := w.Rules[0].Redirect
		require.True(t, to.ByMethod && to.Permanent)
		require.NotEmpty(t, w.Rules[0].Service, "what is as it should be is served")
		re := regexp.MustCompile(to.Pattern)
		got := ""
		if re.MatchString(url) {
			got = re.ReplaceAllString(url, to.Replacement)
		}
		require.Equal(t, want, got)
		require.False(t, got != "" && re.MatchString(got), "%s would be redirected again", got)
	}
	f("https", "", "http://foo", "https://foo")
	f("https", "", "http://foo:8080/a?b=c", "https://foo/a?b=c")
	f("https", "443", "http://foo:443", "https://foo")
	f("https", "8443", "http://foo:8000", "https://foo:8443")
	f("https", "", "http://[::1]:80/x", "https://[::1]/x")
	f("https", "8443", "http://[::1]", "https://[::1]:8443")
	f("https", "", "https://foo/a", "")
	f("wss", "9443", "http://foo", "wss://foo:9443")
	f("http", "80", "http://foo:80", "")
	f("http", "", "https://foo/a", "http://foo/a")
	f("http", "8080", "http://foo/a", "http://foo:8080/a")
	f("http", "8080", "http://foo?a", "http://foo:8080?a")
	f("http", "8080", "http://foo:8080/a", "")
	f("http", "8080", "https://foo:8443/a", "http://foo:8080/a")
}

func TestTraefik3_RedirectOnly(t *testing.T) {
	w := Decode(served(`
		traefik.http.routers.x.service=noop@internal
		traefik.http.routers.x.middlewares=r,s
		traefik.http.middlewares.r.redirectregex.regex=^http://(.*)
		traefik.http.middlewares.r.redirectregex.replacement=https://$1
		traefik.http.middlewares.s.redirectscheme.scheme=https`), nil)
	require.Equal(t, []string{
		`traefik.http.routers.x.middlewares: "s" redirects, but an earlier middleware does already; a rule has one redirect`,
	}, problems(w))
	require.Equal(t, &rules.Redirect{Pattern: "^http://(.*)", Replacement: "https://$1", ByMethod: true}, w.Rules[0].Redirect)
	require.Empty(t, w.Rules[0].Service)
}

func TestTraefik3_HealthCheck(t *testing.T) {
	const at = "traefik.http.services.s.loadbalancer.healthcheck."
	w := Decode(served(at+"path=health\n"+at+"port=81\n"+at+"interval=10\n"+at+"timeout=2s\n"+at+"hostname=h\n"+at+"method=HEAD\n"+
		at+"status=204\n"+at+"headers.X-Quote=a \"b\" \\ #c"), nil)
	require.Empty(t, w.Problems)
	c := w.Groups[0].Service.Check
	require.Equal(t, &health.Check{
		Port: 81, RequestLine: c.RequestLine, Interval: 10 * time.Second, ResponseTimeout: 2 * time.Second,
		HealthyThreshold: 1, UnhealthyThreshold: 1, ExpectStatus: "204", Hostname: "h",
	}, c)
	probe, err := health.ParseRequestLine(c.RequestLine)
	require.NoError(t, err)
	require.Equal(t, &health.Probe{Method: "HEAD", Target: "/health", Version: "HTTP/1.1", Fields: []string{`X-Quote: a "b" \ #c`}}, probe)

	w = Decode(served("traefik.http.services.s.loadbalancer.healthcheck=true"), nil)
	require.Equal(t, &health.Check{
		RequestLine: "GET / HTTP/1.1", Interval: 30 * time.Second, ResponseTimeout: 5 * time.Second, HealthyThreshold: 1, UnhealthyThreshold: 1,
	}, w.Groups[0].Service.Check)

	without := func(lines, want string) {
		t.Helper()
		w := Decode(served(lines), nil)
		require.Nil(t, w.Groups[0].Service.Check)
		require.Contains(t, problems(w), want)
		require.Empty(t, w.Rules[0].Refuse)
	}
	without(at+"mode=grpc", at+`mode: there is no health check: mode "grpc" is not supported yet; want http`)
	without(at+"path=/\n"+at+"scheme=ftp", at+`path: there is no health check: scheme "ftp": want http or https`)
	without(at+"path=/\n"+at+"intervall=1s", at+"path: there is no health check: one of its labels cannot be used")
	without(at+"path=/\n"+at+"status=99", at+`path: there is no health check: expect_status "99": "99" is no status; want codes from 100 to 599 like 200,204,300-399`)
}

func TestTraefik3_URL(t *testing.T) {
	f := func(url, host string, port uint16) {
		t.Helper()
		w := Decode(served("traefik.http.services.s.loadbalancer.server.url="+url), nil)
		require.Empty(t, w.Problems)
		require.Equal(t, host, w.Groups[0].Host)
		require.Equal(t, port, w.Groups[0].Port)
	}
	f("http://1.2.3.4:5678", "1.2.3.4", 5678)
	f("http://example.com/", "example.com", 80)
	f("http://[::1]:81", "::1", 81)
}

func TestTraefik3_Weighted(t *testing.T) {
	const weighted = `
		traefik.http.routers.x.service=both
		traefik.http.services.both.weighted.services[0].name=old@docker
		traefik.http.services.both.weighted.services[0].weight=9
		traefik.http.services.both.weighted.services[1].name=new
		traefik.http.services.old.loadbalancer.passhostheader=true`
	w := Decode(served(weighted), nil)
	require.Empty(t, w.Problems)
	require.Len(t, w.Rules, 2)
	require.Equal(t, []string{"old", "new"}, []string{w.Rules[0].Service, w.Rules[1].Service})
	require.Equal(t, []int{9, 1}, []int{*w.Rules[0].Weight, *w.Rules[1].Weight})
	require.Len(t, w.Groups, 1, "new is on another Subject")

	refused := func(more, want string) {
		t.Helper()
		w := Decode(served(weighted+more), nil)
		require.Len(t, w.Rules, 1)
		require.Equal(t, want, w.Rules[0].Refuse)
	}
	refused("\ntraefik.http.services.both.weighted.services[3].name=c",
		`service "both": the weighted services have to be numbered from 0 without a gap, up to 63, and each needs a name`)
	refused("\ntraefik.http.services.both.loadbalancer.server.port=80", `service "both" is a load balancer and weighted services at once`)
	refused("\ntraefik.http.services.new.weighted.services[0].name=old", `service "new" is itself a weighted service; name its parts instead`)
	refused("\ntraefik.http.services.both.weighted.services[2].name=c\ntraefik.http.services.both.weighted.services[2].weight=-1",
		`service "both": the weight of "c" is negative`)
}

// Traefik knows no highest weight. The proportion is what counts.
func TestTraefik3_HighWeights(t *testing.T) {
	f := func(first, second string, want ...int) {
		t.Helper()
		w := Decode(served("traefik.http.routers.x.service=both\n"+
			"traefik.http.services.both.weighted.services[0].name=a\ntraefik.http.services.both.weighted.services[0].weight="+first+
			"\ntraefik.http.services.both.weighted.services[1].name=b\ntraefik.http.services.both.weighted.services[1].weight="+second), nil)
		require.Empty(t, w.Problems)
		require.Len(t, w.Rules, 2)
		require.Equal(t, want, []int{*w.Rules[0].Weight, *w.Rules[1].Weight})
		require.True(t, w.Rules[0].Divides && w.Rules[1].Divides)
	}
	f("900", "100", 9, 1)
	f("256", "128", 256, 128)
	f("999", "1", 256, 1)
	f("1000", "0", 1, 0)
	f("0", "0", 0, 0)
	f("1000", "999", 256, 256)

	w := Decode(served("traefik.http.services.s.loadbalancer.server.weight=1000"), nil)
	require.Equal(t, 256, *w.Groups[0].Weight)
	require.Equal(t, []string{"traefik.http.services.s.loadbalancer.server.weight: 1000 is more than 256, which counts"}, problems(w))
}

func TestTraefik3_Shared(t *testing.T) {
	other := subject("traefik.http.middlewares.strip.stripprefix.prefixes=/a\n" +
		"traefik.http.middlewares.auth.basicauth.users=a:b\n" +
		"traefik.http.services.far.loadbalancer.passhostheader=false")
	other.Origin = "container other"
	secret := subject("traefik.enable=false\ntraefik.http.middlewares.hidden.stripprefix.prefixes=/a")
	s := served("traefik.http.routers.x.middlewares=strip\ntraefik.http.routers.x.service=far")
	o := DefaultOptions
	o.Shared = Share([]*Subject{other, secret, s}, &o)
	w := Decode(s, &o)
	require.Empty(t, w.Problems)
	require.Equal(t, []string{"/a"}, w.Rules[0].Rewrites[0].Prefixes)
	require.Equal(t, "far", w.Rules[0].Service)
	require.True(t, w.Rules[0].ServerHost)

	w = Decode(served("traefik.http.routers.x.middlewares=auth"), &o)
	require.Equal(t, `middleware "auth": basicAuth is not supported yet, and it protects`, w.Rules[0].Refuse)
	w = Decode(served("traefik.http.routers.x.middlewares=hidden"), &o)
	require.Equal(t, `unknown middleware "hidden"`, w.Rules[0].Refuse)

	w = Decode(served("traefik.http.routers.x.middlewares=strip\ntraefik.http.middlewares.strip.stripprefix.prefixes=/b"), &o)
	require.Equal(t, []string{"/b"}, w.Rules[0].Rewrites[0].Prefixes)
	require.Equal(t, []string{
		`traefik.http.middlewares.strip.stripprefix.prefixes: middleware "strip" is defined otherwise by container other, whose definition counts for all but this one`,
	}, problems(w))
	require.Equal(t, "container other: label traefik.http.middlewares.strip.stripprefix.prefixes", w.Problems[0].Other)
}

// Services that nobody names are of no use, and one would not find out.
func TestTraefik3_SeveralServicesWantARouter(t *testing.T) {
	shop := subject("traefik.http.services.a.loadbalancer.server.port=80\ntraefik.http.services.b.loadbalancer.server.port=81\n" +
		"traefik.http.services.c.loadbalancer.server.port=82")
	other := subject("traefik.http.routers.x.rule=Host(`x`)\ntraefik.http.routers.x.service=a@docker\n" +
		"traefik.http.services.both.weighted.services[0].name=c")
	o := DefaultOptions
	o.Shared = Share([]*Subject{shop, other}, &o)
	require.Equal(t, []string{"traefik.http.services.b.loadbalancer.server.port: no router names service \"b\", and with several services none comes by itself; " +
		"want traefik.http.routers.b.service=b and a rule"}, problems(Decode(shop, &o)))
	require.Empty(t, problems(Decode(other, &o)))
}

func TestTraefik3_SectionsStandAlone(t *testing.T) {
	f := func(lines string, secure bool) {
		t.Helper()
		w := Decode(served(lines), nil)
		require.Empty(t, w.Problems)
		require.Equal(t, secure, w.Rules[0].Protocol == rules.HTTPS)
	}
	f("traefik.http.routers.x.tls=", true)
	f("traefik.http.routers.x.tls=\ntraefik.http.routers.x.tls.options=default", true)
	f("traefik.http.routers.x.tls=True", true)
	f("traefik.http.routers.x.tls=false\ntraefik.http.routers.x.tls.certresolver=le", false)
}

// Middlewares of a service come after those of the router.
func TestTraefik3_MiddlewaresOfServices(t *testing.T) {
	middlewares := "traefik.http.middlewares.cut.stripprefix.prefixes=/a\ntraefik.http.middlewares.add.addprefix.prefix=/b\n"
	want := []rules.Rewrite{{Kind: rules.StripPrefixes, Prefixes: []string{"/a"}}, {Kind: rules.AddPrefix, Replacement: "/b"}}
	w := Decode(served(middlewares+"traefik.http.services.s.middlewares=add\ntraefik.http.routers.x.middlewares=cut"), nil)
	require.Empty(t, w.Problems)
	require.Equal(t, want, w.Rules[0].Rewrites)

	part := "traefik.http.services.both.weighted.services[0].name=s\ntraefik.http.services.s.loadbalancer.server.port=80\ntraefik.http.routers.x.service=both\n"
	w = Decode(served(middlewares+part+"traefik.http.services.both.middlewares=cut,add"), nil)
	require.Empty(t, w.Problems)
	require.Equal(t, want, w.Rules[0].Rewrites)
	w = Decode(served(middlewares+part+"traefik.http.services.s.middlewares=cut"), nil)
	require.Equal(t, `service "s" has middlewares, which is not supported yet for a part of a weighted service`, w.Rules[0].Refuse)
}

// Stacks that know nothing of each other have the same names.
func TestTraefik3_ServicesOfTwoStacks(t *testing.T) {
	stack := func(name, router string) *Subject {
		return &Subject{Name: name, Service: name, Group: name, Origin: "container " + name, Ports: []uint16{80}, Labels: map[string]string{
			"traefik.http.routers.web.rule": router, "traefik.http.services.web.loadbalancer.server.port": "80",
			"traefik.tcp.routers.web.rule": "HostSNI(`" + name[:1] + "`)", "traefik.tcp.routers.web.tls": "true", "traefik.tcp.services.web.loadbalancer.server.port": "81",
		}}
	}
	a, b, b2, c := stack("a", "Host(`a`)"), stack("b", "Host(`b`)"), stack("b2", "Host(`b`)"), stack("c", "Host(`a`)")
	c.Labels["traefik.tcp.routers.web.rule"] = "HostSNI(`a`)"
	o := DefaultOptions
	o.Shared = Share([]*Subject{a, b, b2, c}, &o)
	f := func(s *Subject, http, tcp string, other ...string) {
		t.Helper()
		w := Decode(s, &o)
		require.Len(t, w.Rules, 2)
		require.Equal(t, []string{http, tcp}, []string{w.Rules[0].Service, w.Rules[1].Service})
		require.Equal(t, []string{http, tcp}, []string{w.Groups[0].Service.Name, w.Groups[1].Service.Name})
		var got []string
		for _, p := range w.Problems {
			require.Contains(t, p.Reason, "are defined otherwise by container a; the two are kept apart")
			got = append(got, p.Other)
		}
		require.Equal(t, other, got)
	}
	labels := []string{"container a: label traefik.http.routers.web.rule", "container a: label traefik.tcp.routers.web.rule"}
	f(a, "web", "web@tcp")
	f(b, "web@Host-b", "web@HostSNI-b@tcp", labels...)
	f(b2, "web@Host-b", "web@HostSNI-b@tcp", labels...)
	f(c, "web", "web@tcp")

	// On purpose: one service, each with routers of its own.
	delete(c.Labels, "traefik.http.routers.web.rule")
	c.Labels["traefik.http.routers.other.rule"] = "Host(`c`)"
	o.Shared = Share([]*Subject{a, c}, &o)
	f(c, "web", "web@tcp")
}

// Stacks are kept apart by every router to a service, not by the first one alone.
func TestTraefik3_StacksOfSeveralRouters(t *testing.T) {
	// f has one stack for each of the labels; want are the services of their last groups.
	f := func(want []string, lines ...string) {
		t.Helper()
		var subjects []*Subject
		for i, l := range lines {
			s := subject(strings.ReplaceAll(l, " ", "\n"))
			s.Group = string(rune('a' + i))
			s.Origin = "container " + s.Group
			subjects = append(subjects, s)
		}
		o := DefaultOptions
		o.Shared = Share(subjects, &o)
		for i, s := range subjects {
			w := Decode(s, &o)
			require.Equal(t, want[i], w.Groups[len(w.Groups)-1].Service.Name, s.Origin)
			for _, r := range w.Rules {
				if !strings.HasPrefix(r.Service, "cc") {
					require.Equal(t, want[i], r.Service, s.Origin)
				}
			}
			apart := slices.ContainsFunc(w.Problems, func(p rules.Problem) bool { return strings.Contains(p.Reason, "kept apart") })
			require.Equal(t, strings.Contains(want[i], "@"), apart, "%+v", w.Problems)
		}
	}
	const (
		service = " traefik.http.services.web.loadbalancer.server.port=80"
		catch   = " traefik.http.routers.redirect.rule=PathPrefix(`/`) traefik.http.routers.redirect.middlewares=s traefik.http.middlewares.s.redirectscheme.scheme=https"
	)
	web := func(rule string) string { return "traefik.http.routers.web.rule=" + rule + service }
	f([]string{"web", "web@Host-b-test"}, web("Host(`a.test`)")+catch, web("Host(`b.test`)")+catch)
	f([]string{"web", "web", "web@Host-b"}, web("Host(`a`)")+catch, web("Host(`a`)")+catch, web("Host(`b`)")+catch)

	// The first router of that name leads elsewhere, or the first stack has none.
	elsewhere := "traefik.http.routers.web.rule=Host(`c`) traefik.http.routers.web.service=cc traefik.http.services.cc.loadbalancer.server.port=80"
	own := " traefik.http.routers.web.service=web"
	f([]string{"cc", "web", "web@Host-b"}, elsewhere, web("Host(`a`)")+own, web("Host(`b`)")+own)
	f([]string{"web", "web", "web@Host-b"}, "traefik.http.routers.home.rule=Host(`c`)"+service, web("Host(`a`)"), web("Host(`b`)"))
	f([]string{"web", "web", "web"}, web("Host(`a`)")+own, elsewhere+service, web("Host(`a`)")+own)

	// Those that are apart from the first are apart from each other.
	other := func(rule string) string { return " traefik.http.routers.x.rule=" + rule }
	f([]string{"web", "web@Host-b", "web@Host-b@Host-z"}, web("Host(`a`)"), web("Host(`b`)")+other("Host(`y`)"), web("Host(`b`)")+other("Host(`z`)"))

	// The way may lead over a weighted service.
	weighted := func(rule string) string {
		return "traefik.http.routers.web.rule=" + rule + " traefik.http.routers.web.service=both" +
			" traefik.http.services.both.weighted.services[0].name=app traefik.http.services.app.loadbalancer.server.port=80"
	}
	f([]string{"app", "app@Host-b"}, weighted("Host(`a`)"), weighted("Host(`b`)"))
}
