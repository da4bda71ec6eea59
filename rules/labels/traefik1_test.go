package labels

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

func TestParseRule1(t *testing.T) {
	f := func(rule, expr string, rewrites ...rules.Rewrite) {
		t.Helper()
		r, err := parseRule1(rule)
		require.NoError(t, err)
		require.Equal(t, expr, r.expr)
		require.Equal(t, rewrites, r.rewrites)
		require.Empty(t, r.lost)
		require.Empty(t, checkRule(rules.Rule{Expr: r.expr, Rewrites: r.rewrites, Service: "s"}))
	}
	f("Host:a.b", "Host(`a.b`)")
	f(" Host : A.b , c ;; ", "(Host(`a.b`) || Host(`c`))")
	f("Host::a:", "Host(`a`)")
	f("HostRegexp:a.{tld:(com|net)},{any}.b.c", "(HostRegexp(`(?i)^a\\.(?:(com|net))$`) || HostRegexp(`(?i)^(?:[^.]+)\\.b\\.c$`))")
	f("HostRegexp:A.b", "Host(`a.b`)")
	f("Method:get,POST", "(Method(`GET`) || Method(`POST`))")
	f("Headers:X-A,b,X-C,d", "Header(`X-A`, `b`) && Header(`X-C`, `d`)")
	f("HeadersRegexp:X-A,^b", "HeaderRegexp(`X-A`, `^b`)")
	f("Query:a=b,c=,d={x:[0-9]+}", "Query(`a`, `b`) && QueryRegexp(`c`, `.*`) && QueryRegexp(`d`, `^(?:[0-9]+)$`)")
	f("Path:/a,/b/{id:[0-9]{2}}", "(Path(`/a`) || PathRegexp(`^/b/(?:[0-9]{2})$`))")
	f("PathPrefix:/a.b/{id}/c", "PathRegexp(`^/a\\.b/(?:[^/]+)/c`)")
	f("PathStrip:/a,/abc", "(Path(`/a`) || Path(`/abc`))", rules.Rewrite{Prefixes: []string{"/abc", "/a"}})
	f("PathPrefixStrip:/a b", "PathPrefix(`/a b`)", rules.Rewrite{Prefixes: []string{"/a%20b"}})
	f("PathPrefixStrip:/a/{b}", "PathRegexp(`^/a/(?:[^/]+)`)", rules.Rewrite{Kind: rules.StripPrefixRegexp, Pattern: "^(?:/a/(?:[^/]+))"})
	f("PathPrefixStripRegex:/a,/{b}", "(PathPrefix(`/a`) || PathRegexp(`^/(?:[^/]+)`))",
		rules.Rewrite{Kind: rules.StripPrefixRegexp, Pattern: "^(?:/a|/(?:[^/]+))"})
	f("ReplacePath:/z;AddPrefix:p;PathPrefixStrip:/a;ReplacePathRegex:^/p/(.*) /q/$1", "PathPrefix(`/a`)",
		rules.Rewrite{Prefixes: []string{"/a"}},
		rules.Rewrite{Kind: rules.AddPrefix, Replacement: "/p"},
		rules.Rewrite{Kind: rules.ReplacePathRegexp, Pattern: "^/p/(.*)", Replacement: "/q/$1"},
		rules.Rewrite{Kind: rules.ReplacePath, Replacement: "/z"})
	f("AddPrefix:/a", "", rules.Rewrite{Kind: rules.AddPrefix, Replacement: "/a"})
	f("Headers:X,a`b", "Header(`X`, \"a`b\")")
}

func TestParseRule1_Errors(t *testing.T) {
	f := func(rule, reason string) {
		t.Helper()
		_, err := parseRule1(rule)
		require.EqualError(t, err, reason)
	}
	f(" ; ", "it is empty; want something like Host:example.com")
	f("Hots:a", `unknown matcher "Hots"; did you mean "Host"?`)
	f(":a", `unknown matcher "a"; known are `+strings.Join(names1, ", "))
	f("Host: ,", "Host has no argument")
	f("HostRegexp:*.a", `HostRegexp: "*.a": a star is no wildcard here; want HostRegexp with {any:.+}.a`)
	f("Host:*.a", `Host: "*.a": a star is no wildcard here; want HostRegexp with {any:.+}.a`)
	f("HostRegexp:{a", `HostRegexp: "{a": the braces are not in pairs`)
	f("HostRegexp:a}", `HostRegexp: "a}": the braces are not in pairs`)
	f("HostRegexp:{:a}", `HostRegexp: "{:a}": want {name} or {name:expression}`)
	f("Path:/{a:(}", "Path: \"/{a:(}\": error parsing regexp: missing closing ): `(`")
	f("Path:a", `Path: "a" has no leading slash; want "/a"`)
	f("Headers:a", "Headers: 1 arguments; want pairs of a name and a value")
	f("Query:a", `Query: "a"; want key=value`)
}

func TestParseRule1_EditsThatDoNotCount(t *testing.T) {
	f := func(rule, lost string) {
		t.Helper()
		r, err := parseRule1(rule)
		require.NoError(t, err)
		require.Equal(t, []string{lost}, r.lost)
	}
	f("ReplacePathRegex:a{2,3} b", `"a{2,3} b": an edit of the path has one argument, and the last one counts; a comma cannot be part of it`)
	f("ReplacePathRegex:/a", `ReplacePathRegex: "/a"; want a pattern, a blank and a replacement`)
	f("ReplacePathRegex:( b", "ReplacePathRegex: error parsing regexp: missing closing ): `(`")
}

// answers is what the labels' rules do with a request on port 80.
func answers(t *testing.T, w Wants, url string) (e *rules.Entry, location string) {
	table, problems := rules.Compile(rules.Input{Rules: w.Rules, Services: services1(w)}, rules.NoBackends{})
	require.Empty(t, problems)
	if e = table.On(rules.Listen{Port: 80, Protocol: rules.HTTP}).Lookup((&request1{URL: url}).request()); e != nil {
		location = string(e.RedirectURL([]byte(url)))
	}
	return e, location
}

func TestTraefik1_FinalSlashIsCorrected(t *testing.T) {
	f := func(rule, url, location string) {
		t.Helper()
		e, got := answers(t, decoded("traefik.frontend.rule="+rule), url)
		require.NotNil(t, e)
		require.Equal(t, location, got)
		if location != "" {
			require.Equal(t, 301, e.Rule.Redirect.Code)
		}
	}
	f("Path:/a", "http://x/a", "")
	f("Path:/a", "http://x/a/", "http://x/a")
	f("Path:/a;Method:GET", "http://x/a/?q=/", "http://x/a?q=/")
	f("Path:/a,/b/", "http://x/b", "http://x/b/")
	f("Path:/a,/b/", "http://x/b?q", "http://x/b/?q")
	f("Path:/a,/b/", "http://x/b/", "")
	f("Path:/{id:[0-9]+}", "http://x/12/", "http://x/12")
	f("PathStrip:/{id:[0-9]+}/", "http://x/12", "http://x/12/")
	f("Path:/", "http://x/", "")
	f("Path:/a,/a/", "http://x/a/", "")
}

func TestTraefik1_TheSwarmWalk(t *testing.T) {
	s := &Subject{Name: "running_cdn", Service: "running-cdn", Group: "running_cdn", Origin: "service running_cdn", Swarm: true, Labels: labelMap(
		"traefik.backend=cdn", "traefik.frontend.rule=Host:alderaan;PathPrefixStrip:/cdn/", "traefik.port=80", "com.example=x",
	)}
	w := Decode(s, &DefaultOptions)
	require.Empty(t, w.Problems)
	require.Equal(t, []rules.Rule{{
		Name: "Host-alderaan-PathPrefixStrip-cdn", Origin: "service running_cdn: label traefik.frontend.rule", Port: 80,
		Expr: "Host(`alderaan`) && PathPrefix(`/cdn/`)", Priority: TraefikPriority(35), Service: "cdn",
		Rewrites: []rules.Rewrite{{Kind: rules.StripPrefixes, Prefixes: []string{"/cdn/"}}},
	}}, w.Rules)
	require.Equal(t, []Group{{Service: rules.Service{Name: "cdn", Origin: s.Origin}, Port: 80, Scheme: "http", PortLabel: "traefik.port"}}, w.Groups)

	delete(s.Labels, "traefik.port")
	w = Decode(s, &DefaultOptions)
	require.Empty(t, w.Rules)
	require.Empty(t, w.Groups)
	require.Equal(t, "service running_cdn: label traefik.port", w.Problems[0].Origin)

	s.Labels["traefik.port"], s.Labels["traefik.backend.loadbalancer.swarm"] = "80", "true"
	w = Decode(s, &DefaultOptions)
	require.True(t, w.VIP)
	require.Empty(t, w.Problems)
}

func TestTraefik1_DefaultRule(t *testing.T) {
	f := func(o Options, labels []string, rule string) {
		t.Helper()
		o.ExposedByDefault = true
		w := Decode(blog(labelMap(append(labels, "traefik.port=80")...)), &o)
		require.Empty(t, w.Problems)
		require.Equal(t, rule, w.Rules[0].Expr)
	}
	f(Options{}, nil, "Host(`blog.shop`)")
	f(Options{Domain: "x.net"}, nil, "Host(`blog.shop.x.net`)")
	f(Options{Domain: ".x.net", DefaultRule: DefaultOptions.DefaultRule}, nil, "Host(`blog.shop.x.net`)")
	f(Options{Domain: "x.net", DefaultRule: "Host(`{{ .Name }}.y`)"}, nil, "Host(`blog-shop.y`)")
	f(Options{DefaultRule: "Host(`{{ .Name }}.y`)"}, []string{"traefik.domain=z"}, "Host(`blog.shop.z`)")
	s := subject1(labelMap("traefik.port=80"))
	require.Equal(t, "Host(`test`)", Decode(s, &DefaultOptions).Rules[0].Expr)
}

func TestTraefik1_Problems(t *testing.T) {
	f := func(problem string, labels ...string) {
		t.Helper()
		w := decoded(append(labels, "traefik.frontend.rule=Host:a")...)
		require.Len(t, w.Rules, 1, "%+v", w)
		require.Empty(t, w.Rules[0].Refuse)
		require.Len(t, w.Problems, 1, "%+v", w.Problems)
		p := w.Problems[0]
		require.False(t, p.Fatal)
		require.Equal(t, problem, strings.TrimPrefix(p.Origin, "container blog-1: label ")+": "+p.Reason)
	}
	f(`traefik.prot: unknown label; did you mean "traefik.port"?`, "traefik.prot=80")
	f(`traefik.fronted.priority: unknown label; did you mean "traefik.frontend.priority"?`, "traefik.fronted.priority=3")
	f(`traefik.frontend.entrypoints: unknown label; did you mean "traefik.frontend.entryPoints"?`, "traefik.frontend.entrypoints=http")
	f(`traefik.web.prot: unknown label; did you mean "traefik.web.port"?`, "traefik.web.prot=80")
	f(`traefik.htpp.routers.x.rule: unknown label`, "traefik.htpp.routers.x.rule=Host(`b`)")
	f(`traefik.port: want a number from 1 to 65535, got "http"`, "traefik.port=http")
	f(`traefik.weight: want a number from 1 to 256, got "-1"; 1 counts`, "traefik.weight=-1")
	f(`traefik.weight: Traefik 1 counts 0 as 1, and so does lb; lb.weight=0 takes no traffic`, "traefik.weight=0")
	f(`traefik.weight: 300 is more than 256, which counts`, "traefik.weight=300")
	f(`traefik.protocol: want one of h2c, http, https, got "htps"; did you mean "https"?`, "traefik.protocol=htps")
	f(`traefik.frontend.priority: want a number, got "x"; the length of the rule counts`, "traefik.frontend.priority=x")
	f(`traefik.frontend.priority: -1 is less than 0; the length of the rule counts`, "traefik.frontend.priority=-1")
	f(`traefik.frontend.passHostHeader: want true or false, got "no"`, "traefik.frontend.passHostHeader=no")
	f(`traefik.frontend.entryPoints: unknown entry point "htpp"; did you mean "http"?`, "traefik.frontend.entryPoints=http,htpp")
	f(`traefik.frontend.redirect.replacement: it has no effect without redirect.regex`, "traefik.frontend.redirect.replacement=x")
	f(`traefik.frontend.headers.customRequestHeaders: "X" has no colon; want Name:value`, "traefik.frontend.headers.customRequestHeaders=X")
	f(`traefik.backend.healthcheck.interval: it has no effect without healthcheck.path`, "traefik.backend.healthcheck.interval=3")
	f(`traefik.backend.healthcheck.scheme: want one of http, https, got "tcp"`, "traefik.backend.healthcheck.path=/", "traefik.backend.healthcheck.scheme=tcp")
	f(`traefik.backend.loadbalancer.method: "drr" is not supported yet; servers take turns, by weight`, "traefik.backend.loadbalancer.method=drr")
	f(`traefik.backend.loadbalancer.swarm: only a Swarm service has a virtual IP`, "traefik.backend.loadbalancer.swarm=true")
	f(`traefik.backend.loadbalancer.stickiness: not supported yet`, "traefik.backend.loadbalancer.stickiness=true")
	f(`traefik.portName: it means nothing for containers`, "traefik.portName=web")
	f(`traefik.frontend.errors.x.statuses: unknown label`, "traefik.frontend.errors.x.statuses=404")
	require.Empty(t, decoded("traefik.backend.loadbalancer.stickiness=false", "traefik.tags=a").Problems)
}

func TestTraefik1_WithoutItsProtectionARuleAnswers503(t *testing.T) {
	f := func(refuse string, labels ...string) {
		t.Helper()
		w := decoded(append(labels, "traefik.frontend.rule=Host:a")...)
		require.Len(t, w.Rules, 1, "%+v", w)
		require.Equal(t, refuse, w.Rules[0].Refuse)
		require.Nil(t, w.Rules[0].Redirect)
		require.True(t, w.rejected())
	}
	maybe := func(key string) string { return "unknown label " + key + ", which may be meant to protect" }
	f("basic authentication is not supported yet", "traefik.frontend.auth.basic=a:b")
	f("basic authentication is not supported yet", "traefik.frontend.auth.basic.users=a:b", "traefik.frontend.redirect.entryPoint=https")
	f("a list of allowed addresses is not supported yet", "traefik.frontend.whiteList.sourceRange=10.0.0.0/8")
	f("a limit of the request rate is not supported yet", "traefik.frontend.rateLimit.extractorFunc=client.ip", "traefik.frontend.rateLimit.rateSet.a.average=3")
	f("handing on client certificates is not supported yet", "traefik.frontend.passTLSCert=true")
	f("a list of allowed hosts is not supported yet", "traefik.frontend.headers.allowedHosts=a")
	f(maybe("traefik.frontend.auht.basic.users"), "traefik.frontend.auht.basic.users=a:b")
	f(maybe("traefik.frontend.auth.oauth.id"), "traefik.frontend.auth.oauth.id=x")
	f(maybe("traefik.frontend.whitelist.sourceRange"), "traefik.frontend.whitelist.sourceRange=10.0.0.0/8")
	f(maybe("traefik.web.fronted.auth.basic"), "traefik.web.fronted.auth.basic=a:b")
	f(maybe("traefik.fronted.auth.oauth.id"), "traefik.fronted.auth.oauth.id=x")
	f("h2c to servers is not supported yet", "traefik.protocol=h2c")
}

func TestTraefik1_WithoutItsLabelTheRuleIsLeftOut(t *testing.T) {
	f := func(problem string, labels ...string) {
		t.Helper()
		w := decoded(labels...)
		require.Empty(t, w.Rules)
		require.Len(t, w.Groups, 1)
		require.Len(t, w.Problems, 1, "%+v", w.Problems)
		p := w.Problems[0]
		require.True(t, p.Fatal)
		require.Equal(t, problem, strings.TrimPrefix(p.Origin, "container blog-1: label ")+": "+p.Reason)
	}
	f(`traefik.frontend.rule: "Hots:a": unknown matcher "Hots"; did you mean "Host"?`, "traefik.frontend.rule=Hots:a")
	f("traefik.frontend.rule: \"Host:a b\", which is Host(`a b`): rule: column 6: Host: bad hostname \"a b\": a space may not stand in a hostname", "traefik.frontend.rule=Host:a b")
	f(`traefik.frontend.redirect.entryPoint: unknown entry point "htps"; did you mean "https"?`, "traefik.frontend.rule=Host:a", "traefik.frontend.redirect.entryPoint=htps")
	f("traefik.frontend.redirect.regex: error parsing regexp: missing closing ): `(`",
		"traefik.frontend.rule=Host:a", "traefik.frontend.redirect.regex=(", "traefik.frontend.redirect.replacement=x")
}

func TestTraefik1_Segments(t *testing.T) {
	w := decoded(
		"traefik.web.port=80", "traefik.web.frontend.rule=Host:a", "traefik.api.port=9000", "traefik.api.frontend.rule=Host:b",
		"traefik.api.weight=2", "traefik.api.backend=pool", "traefik.frontend.priority=7", "traefik.a.b.frontend.rule=Host:c",
	)
	require.Empty(t, w.Problems)
	var got []string
	for _, r := range w.Rules {
		require.Equal(t, TraefikPriority(7), r.Priority)
		got = append(got, r.Name+" "+r.Expr+" "+r.Service)
	}
	require.Equal(t, []string{
		"a-b-shop-blog-a-b Host(`c`) shop/blog-a.b",
		"api-shop-blog-pool Host(`b`) shop/blog-pool",
		"web-shop-blog-web Host(`a`) shop/blog-web",
	}, got)
	require.Equal(t, uint16(9000), w.Groups[1].Port)
	require.Equal(t, 2, *w.Groups[1].Weight)
}

func TestTraefik1_HTTPSToServers(t *testing.T) {
	w := decoded("traefik.frontend.rule=Host:a", "traefik.protocol=https", "traefik.backend.healthcheck.path=/", "traefik.backend.healthcheck.port=81")
	require.Empty(t, w.Problems)
	require.Equal(t, &health.TLS{}, w.Groups[0].Service.TLS)
	require.Equal(t, "https", w.Groups[0].Service.Check.Scheme, "at another port, too")
}

func TestTraefik1_EntryPoints(t *testing.T) {
	o := Options{ExposedByDefault: true, EntryPoints: map[string]uint16{"web": 80, "http": 80, "api": 8080, "https": 443}, DefaultEntryPoint: "web"}
	f := func(redirect string, want string, entryPoints string) {
		t.Helper()
		w := Decode(blog(labelMap("traefik.frontend.rule=Host:a", "traefik.frontend.entryPoints="+entryPoints, "traefik.frontend.redirect.entryPoint="+redirect)), &o)
		var got []string
		for _, r := range w.Rules {
			to := r.Service
			if r.Redirect != nil {
				to = fmt.Sprintf("%s:%d", r.Redirect.Scheme, r.Redirect.Port)
			}
			got = append(got, r.Listen().String()+" "+to)
		}
		require.Equal(t, want, strings.Join(got, ", "))
	}
	f("", "*:80 shop/blog", "")
	f("", "*:80 shop/blog, *:8080 shop/blog", "web,http,api")
	f("https", "*:80 https:443, *:8080 https:443, *:443/https shop/blog", "web,api,https")
	f("api", "*:80 http:8080, *:8080 shop/blog", "web,api")
}

func TestTraefik1_Redirects(t *testing.T) {
	f := func(url, location string, labels ...string) {
		t.Helper()
		w := decoded(append(labels, "traefik.frontend.rule=PathPrefix:/")...)
		require.Empty(t, w.Problems)
		e, got := answers(t, w, url)
		require.Equal(t, location, cmp.Or(got, e.Rule.Redirect.String()))
	}
	f("http://a.net/b", "https://a.org/b", `traefik.frontend.redirect.regex=^http://(.*)\\.net/(.*)`, "traefik.frontend.redirect.replacement=https://$1.org/$2")
	f("http://a/b", "redirect 301 https://{host}{path}", "traefik.frontend.headers.SSLRedirect=true")
	f("http://a/b", "redirect 302 https://x{path}", "traefik.frontend.headers.SSLRedirect=true",
		"traefik.frontend.headers.SSLTemporaryRedirect=true", "traefik.frontend.headers.SSLHost=x")
}

func TestTraefik1_Headers(t *testing.T) {
	w := decoded("traefik.frontend.rule=Host:a",
		"traefik.frontend.headers.customRequestHeaders=x-a:1:2 || Host: h||cookie:", "traefik.frontend.headers.customResponseHeaders=server:",
		"traefik.frontend.headers.frameDeny=true", "traefik.frontend.headers.browserXSSFilter=true",
		"traefik.frontend.headers.forceSTSHeader=true", "traefik.frontend.headers.STSSeconds=60", "traefik.frontend.headers.STSPreload=true",
		"traefik.frontend.headers.STSIncludeSubdomains=true", "traefik.frontend.passHostHeader=false")
	require.Empty(t, w.Problems)
	require.Equal(t, rules.HeaderEdit{
		Set: []rules.HeaderField{{Name: "X-A", Value: "1:2"}, {Name: "Host", Value: "h"}}, Remove: []string{"Cookie"},
	}, w.Rules[0].RequestHeaders)
	require.Equal(t, rules.HeaderEdit{Set: []rules.HeaderField{
		{Name: "X-Frame-Options", Value: "DENY"}, {Name: "X-XSS-Protection", Value: "1; mode=block"},
		{Name: "Strict-Transport-Security", Value: "max-age=60; includeSubdomains; preload"},
	}, Remove: []string{"Server"}}, w.Rules[0].ResponseHeaders)
	require.True(t, w.Rules[0].ServerHost)
}

func TestTraefik1_HealthCheck(t *testing.T) {
	w := decoded("traefik.frontend.rule=Host:a", "traefik.backend.healthcheck.path=up?a=b c#d", "traefik.backend.healthcheck.interval=10s",
		"traefik.backend.healthcheck.headers=X-A: b \"c\"||X-D:e")
	require.Empty(t, w.Problems)
	c := w.Groups[0].Service.Check
	require.Equal(t, 10*time.Second, c.Interval)
	require.Equal(t, 5*time.Second, c.ResponseTimeout)
	require.Equal(t, 1, c.HealthyThreshold)
	require.Equal(t, 1, c.UnhealthyThreshold)
	p, err := health.ParseRequestLine(c.RequestLine)
	require.NoError(t, err)
	require.Equal(t, &health.Probe{Method: "GET", Target: "/up?a=b%20c", Version: "HTTP/1.1", Fields: []string{`X-A: b "c"`, "X-D: e"}}, p)
}

func TestTraefik1_NextToOtherDialects(t *testing.T) {
	f := func(wantRules, wantProblems int, labels ...string) {
		t.Helper()
		w := decoded(labels...)
		require.Len(t, w.Rules, wantRules, "%+v", w)
		require.Len(t, w.Problems, wantProblems, "%+v", w.Problems)
	}
	f(2, 0, "traefik.frontend.rule=Host:a", "lb.hostname=b")
	f(1, 1, "traefik.port=80", "lb.hostname=b")
	f(1, 1, "traefik.port=80", "traefik.http.routers.a.rule=Host(`b`)")
	f(1, 0, "com.docker.compose.project=x", "io.rancher.port=80", "traefik=80")
}

func FuzzDecodeTraefik1(f *testing.F) {
	properties := slices.Sorted(maps.Keys(meanings1))
	which := func(p string) uint8 { return uint8(slices.Index(properties, p)) }
	f.Add("Host:a;PathPrefixStrip:/b,/{c:[0-9]+}", "web.", which("frontend.headers.customRequestHeaders"), "A:b||C:")
	f.Add("Query:a=b;ReplacePathRegex:(a) /$1", "", which("frontend.priority"), "80")
	f.Add("Path:/a,/b/{c}/;Method:get", "", which("frontend.entryPoints"), "http,https")
	f.Add("AddPrefix:a", "", which("backend.healthcheck.path"), "/a b")
	f.Add("Headers:a,`;HostRegexp:{a}.{b:c{2}}", "", which("frontend.redirect.regex"), `(.*)\\.net`)
	f.Fuzz(func(t *testing.T, rule, segment string, property uint8, value string) {
		key := "traefik." + segment + properties[int(property)%len(properties)]
		s := blog(map[string]string{"traefik.frontend.rule": rule, "traefik.frontend.redirect.replacement": "$1", key: value})
		for _, p := range checkWants(t, s, decodeTraefik1) {
			require.False(t, p.Fatal, "%+v", p)
		}
	})
}
