package labels

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// blog is container blog-1 of compose service blog in project shop.
func blog(labels map[string]string) *Subject {
	return &Subject{
		Name: "blog-1", Service: "blog-shop", Group: "shop/blog", Project: "shop", Member: "blog",
		Origin: "container blog-1", Labels: labels, Ports: []uint16{80},
	}
}

// decoded is what labels, written "key=value", ask for.
func decoded(labels ...string) Wants { return Decode(blog(labelMap(labels...)), nil) }

func labelMap(labels ...string) map[string]string {
	m := make(map[string]string)
	for _, l := range labels {
		key, value, _ := strings.Cut(l, "=")
		m[key] = value
	}
	return m
}

func TestOwn_OneLabelIsEnough(t *testing.T) {
	w := decoded("lb.hostname=arzur.net")
	require.Empty(t, w.Problems)
	require.Equal(t, []rules.Rule{{
		Origin: "container blog-1: label lb.hostname", Port: 80, Hostname: "arzur.net", Service: "shop/blog",
	}}, w.Rules)
	require.Equal(t, []Group{{Service: rules.Service{Name: "shop/blog", Origin: "container blog-1"}, Scheme: "http", PortLabel: "lb.target_port"}}, w.Groups)
}

func TestOwn_EveryKeyOfARule(t *testing.T) {
	w := decoded(
		"lb.web.name=front", "lb.web.source_port=8080", "lb.web.address=127.0.0.1", "lb.web.protocol=http",
		"lb.web.hostname=*.arzur.net", "lb.web.path=/api", "lb.web.path_match=exact", "lb.web.priority=10",
		"lb.web.service=pool", "lb.web.target_port=9000", "lb.web.weight=0", "lb.web.backend_name=b",
		"lb.web.strip_prefix=/api", "lb.web.add_prefix=/v1", "lb.web.replace_path=/x",
		"lb.web.request_headers.set.X-Site=shop", "lb.web.request_headers.add.Via= lb ", "lb.web.request_headers.remove=Cookie, X-A",
		"lb.web.response_headers.set.Server=lb", "lb.web.response_headers.add.Vary=Accept", "lb.web.response_headers.remove=X-B",
		"lb.to.hostname=old.net", "lb.to.redirect.scheme=https", "lb.to.redirect.host=arzur.net",
		"lb.to.redirect.port=8443", "lb.to.redirect.path=/new", "lb.to.redirect.code=301",
		"lb.expr.rule=Host(`a`) && Method(`GET`)",
	)
	require.Empty(t, w.Problems)
	zero := 0
	require.Equal(t, []rules.Rule{{
		Name: "expr", Origin: "container blog-1: label lb.expr.rule", Port: 80, Expr: "Host(`a`) && Method(`GET`)", Service: "shop/blog",
	}, {
		Name: "to", Origin: "container blog-1: label lb.to.hostname", Port: 80, Hostname: "old.net",
		Redirect: &rules.Redirect{Scheme: "https", Host: "arzur.net", Port: 8443, Path: "/new", Code: 301},
	}, {
		Name: "front", Origin: "container blog-1: label lb.web.hostname",
		Port: 8080, Address: netip.MustParseAddr("127.0.0.1"), Protocol: "http",
		Hostname: "*.arzur.net", Path: "/api", PathMatch: rules.PathExact, Priority: 10,
		Service: "pool", TargetPort: 9000, Weight: &zero, BackendName: "b",
		StripPrefix: "/api", AddPrefix: "/v1", ReplacePath: "/x",
		RequestHeaders: rules.HeaderEdit{
			Set: []rules.HeaderField{{Name: "X-Site", Value: "shop"}}, Add: []rules.HeaderField{{Name: "Via", Value: "lb"}},
			Remove: []string{"Cookie", "X-A"},
		},
		ResponseHeaders: rules.HeaderEdit{
			Set: []rules.HeaderField{{Name: "Server", Value: "lb"}}, Add: []rules.HeaderField{{Name: "Vary", Value: "Accept"}},
			Remove: []string{"X-B"},
		},
	}}, w.Rules)
	require.Len(t, w.Groups, 2)
	require.Equal(t, "pool", w.Groups[1].Service.Name)
	require.Equal(t, uint16(9000), w.Groups[1].Port)
}

func TestOwn_EveryKeyOfAService(t *testing.T) {
	w := decoded(
		"lb.path=/", "lb.scheme=https", "lb.tls.server_name=blog.internal", "lb.tls.insecure_skip_verify=true", "lb.proxy_protocol=v2",
		"lb.health_check.scheme=http",
		"lb.service=pool", "lb.weight=3", "lb.balance=round-robin", "lb.max_connections=10", "lb.queue_length=5",
		"lb.queue_timeout=1s", "lb.connect_timeout=2s", "lb.response_timeout=3s", "lb.retries=0", "lb.when_all_down=try", "lb.hold=0",
		"lb.health_check.port=81", "lb.health_check.request_line=GET /up HTTP/1.0", "lb.health_check.interval=500",
		"lb.health_check.response_timeout=1s", "lb.health_check.healthy_threshold=1", "lb.health_check.unhealthy_threshold=4",
		"lb.health_check.initialization_timeout=6000", "lb.health_check.reinitializing_timeout=7000", "lb.health_check.strategy=none",
		"lb.health_check.expect_status=200", "lb.health_check.hostname=up.net", "lb.health_check.initial=down",
	)
	require.Empty(t, w.Problems)
	zero, three := 0, 3
	require.Equal(t, []Group{{
		Service: rules.Service{
			Name: "pool", Origin: "container blog-1", Balance: "round-robin", MaxConnections: 10, QueueLength: 5,
			QueueTimeout: time.Second, ConnectTimeout: 2 * time.Second, ResponseTimeout: 3 * time.Second, Retries: &zero, WhenAllDown: rules.Try, Hold: new(time.Duration),
			TLS: &health.TLS{ServerName: "blog.internal", Insecure: true}, ProxyProtocol: rules.ProxyV2,
			Check: &health.Check{
				Scheme: "http", Port: 81, RequestLine: "GET /up HTTP/1.0", Interval: 500 * time.Millisecond, ResponseTimeout: time.Second,
				HealthyThreshold: 1, UnhealthyThreshold: 4, Initializing: 6 * time.Second, Reinitializing: 7 * time.Second,
				Strategy: "none", ExpectStatus: "200", Hostname: "up.net", InitialDown: true,
			},
		},
		Scheme: "https", Weight: &three, PortLabel: "lb.target_port",
	}}, w.Groups)
	require.Equal(t, "pool", w.Rules[0].Service)
}

func TestOwn_TargetPortAloneHasTheDefaultRule(t *testing.T) {
	w := decoded("lb.target_port=8080", "lb.weight=2")
	require.Empty(t, w.Problems)
	require.Equal(t, "Host(`blog-shop`)", w.Rules[0].Expr)
	require.Equal(t, uint16(8080), w.Groups[0].Port)
	require.Equal(t, 2, *w.Groups[0].Weight)
}

func TestOwn_SourcePortAloneTakesAll(t *testing.T) {
	w := decoded("lb.source_port=81")
	require.Empty(t, w.Problems)
	require.Equal(t, []rules.Rule{{Origin: "container blog-1: label lb.source_port", Port: 81, Service: "shop/blog"}}, w.Rules)
}

func TestOwn_SeveralPortsAreSeveralGroups(t *testing.T) {
	w := decoded("lb.a.path=/a", "lb.b.path=/b", "lb.b.target_port=9000", "lb.c.path=/c", "lb.c.target_port=9000")
	require.Empty(t, w.Problems)
	require.Len(t, w.Groups, 2)
	require.Equal(t, "shop/blog", w.Rules[0].Service)
	require.Equal(t, uint16(0), w.Groups[0].Port)
	for _, r := range w.Rules[1:] {
		require.Equal(t, "shop/blog:9000", r.Service)
	}
	require.Equal(t, uint16(9000), w.Groups[1].Port)
}

// TestOwn_Problems: each label that is not in force is named, with what to do;
// the rest works.
func TestOwn_Problems(t *testing.T) {
	f := func(servingRules int, problem string, labels ...string) {
		t.Helper()
		w := decoded(labels...)
		require.Len(t, w.Rules, servingRules, "%+v", w)
		require.Len(t, w.Problems, 1, "%+v", w.Problems)
		p := w.Problems[0]
		require.Equal(t, problem, strings.TrimPrefix(p.Origin, "container blog-1: label ")+": "+p.Reason)
	}
	left := "the rule is left out: "
	f(1, `lb.hostnme: unknown label; did you mean "lb.hostname"?`, "lb.hostnme=x", "lb.hostname=a")
	f(1, `lb.port: unknown label; did you mean "lb.target_port"?`, "lb.port=80", "lb.hostname=a")
	f(1, `lb.hostname: it has no value, and counts as if it were not there`, "lb.hostname=", "lb.path=/")
	f(1, `lb.web.strip_prefx: unknown label; did you mean "lb.web.strip_prefix"?`, "lb.web.path=/", "lb.web.strip_prefx=/a")
	f(1, `lb.request_header.set.X-A: unknown label; did you mean "lb.request_headers.set.X-A"?`, "lb.path=/", "lb.request_header.set.X-A=b")
	f(1, `lb.web.balance: it is not about a single rule; want "lb.balance"`, "lb.web.path=/", "lb.web.balance=round-robin")
	f(1, `lb.health_check.intervall: unknown label; did you mean "lb.health_check.interval"?`, "lb.path=/", "lb.health_check.intervall=5")
	f(1, `lb.target_port: want a number from 1 to 65535, got "web"`, "lb.path=/", "lb.target_port=web")
	f(1, `lb.retries: want a number from 0 to 100, got "-1"`, "lb.path=/", "lb.retries=-1")
	f(1, `lb.balance: want one of round-robin, got "round-robbin"; did you mean "round-robin"?`, "lb.path=/", "lb.balance=round-robbin")
	f(1, `lb.hold: want 0 or more, got "-1s"`, "lb.path=/", "lb.hold=-1s")
	f(1, `lb.queue_timeout: "5" has no unit; want 5s, 5ms, ...`, "lb.path=/", "lb.queue_timeout=5")
	f(1, `lb.strip_prefix: "api" has no leading slash; want "/api"`, "lb.path=/", "lb.strip_prefix=api")
	f(1, `lb.request_headers.set.Te: Te belongs to the connection or says where the message ends; it cannot be edited`, "lb.path=/", "lb.request_headers.set.Te=x")
	f(1, `lb.response_headers.remove: Host can only be set, and only in requests`, "lb.path=/", "lb.response_headers.remove=Host")
	f(1, `lb.path_match: there is no path to match; add path or leave path_match out`, "lb.hostname=a", "lb.path_match=exact")
	f(1, `lb.health_check: there is no health check: expect_status "x": "x" is no status; want codes from 100 to 599 like 200,204,300-399`,
		"lb.path=/", "lb.health_check.expect_status=x")
	f(1, `lb.hostname: a rule with a redirect goes to no service; its service and target_port do not count`,
		"lb.hostname=a", "lb.redirect.scheme=https", "lb.target_port=80")
	f(0, `lb.path: `+left+`rule stands instead of hostname and path; move them into the rule`, "lb.rule=Host(`a`)", "lb.path=/")
	f(0, `lb.hostname: `+left+`redirect leads to where the request came from; want at least one of scheme, host, port, path`,
		"lb.hostname=a", "lb.redirect.code=301")
}

func TestOwn_ARuleThatLostWhatDecidesIsLeftOut(t *testing.T) {
	f := func(labels ...string) {
		t.Helper()
		w := decoded(append(labels, "lb.good.path=/good")...)
		require.Len(t, w.Rules, 1, "%+v", w)
		require.Equal(t, "good", w.Rules[0].Name)
		require.Len(t, w.Problems, 2)
		require.False(t, w.Problems[0].Fatal)
		require.True(t, w.Problems[1].Fatal)
	}
	f("lb.hostnme=a")
	f("lb.bad.hostnme=a", "lb.bad.source_port=80")
	f("lb.bad.hostnme=a", "lb.bad.path=/")
	f("lb.bad.source_port=web", "lb.bad.hostname=a")
	f("lb.bad.address=localhost", "lb.bad.hostname=a")
	f("lb.bad.path=/", "lb.bad.path_match=prefixx")
	f("lb.bad.path=/", "lb.bad.redirect.code=200")
	f("lb.bad.path=/", "lb.bad.redirect.host=https://x")
}

func TestOwn_OnlyAboutAServiceThatOthersRouteTo(t *testing.T) {
	w := decoded("lb.weight=2", "traefik.frontend.rule=Host:a")
	require.Len(t, w.Rules, 1)
	require.Len(t, w.Problems, 1)
	require.Equal(t, "container blog-1: label lb.weight", w.Problems[0].Origin)
}

func FuzzDecodeOwn(f *testing.F) {
	keys := slices.Concat(ownRuleNames, ownRuleMaps, ownServiceNames)
	which := func(key string) uint8 { return uint8(slices.Index(keys, key)) }
	f.Add("hostname", "arzur.net", uint8(0), "", "name")
	f.Add("web.path", "/", which("request_headers.set."), "X", "a")
	f.Add("rule", "Host(`a`)", which("redirect.port"), "", "80")
	f.Add("path_match", "regexp", which("health_check.interval"), "", "1")
	f.Fuzz(func(t *testing.T, key, value string, known uint8, field, value2 string) {
		known2 := keys[int(known)%len(keys)] + field
		checkWants(t, blog(map[string]string{ownPrefix + key: value, ownPrefix + known2: value2}), decodeOwn)
	})
}

// checkWants holds a decoder to what its callers rely on, and returns what
// rules have to say about the result.
func checkWants(t *testing.T, s *Subject, decode func(*Subject, *Options, *Wants)) []rules.Problem {
	var w, again Wants
	decode(s, &DefaultOptions, &w)
	decode(s, &DefaultOptions, &again)
	require.Equal(t, w, again)
	for _, r := range w.Rules {
		require.NotZero(t, r.Port)
		require.True(t, strings.HasPrefix(r.Origin, s.Origin), r.Origin)
	}
	for _, p := range w.Problems {
		require.NotEmpty(t, p.Reason)
		require.True(t, strings.HasPrefix(p.Origin, s.Origin), p.Origin)
	}
	var services []rules.Service
	for _, g := range w.Groups {
		services = append(services, g.Service)
	}
	_, problems := rules.Compile(rules.Input{Rules: w.Rules, Services: services}, rules.NoBackends{})
	for _, p := range problems {
		require.NotContains(t, p.Reason, "unknown service")
	}
	return problems
}

func TestOwn_Protocols(t *testing.T) {
	f := func(want []string, labels ...string) {
		t.Helper()
		w := decoded(labels...)
		require.Empty(t, w.Problems)
		var got []string
		for _, r := range w.Rules {
			line := r.Listen().String() + " " + r.Hostname + r.Expr
			if r.Redirect != nil {
				line += " " + r.Redirect.String()
			}
			if r.ACME {
				line += " acme"
			}
			got = append(got, line)
		}
		require.Equal(t, want, got)
	}
	f([]string{"*:443/https a acme"}, "lb.hostname=a", "lb.tls=acme")
	f([]string{"*:443/https a"}, "lb.hostname=a", "lb.tls=true")
	f([]string{"*:80 a"}, "lb.hostname=a", "lb.tls=false")
	f([]string{"*:443/https a"}, "lb.hostname=a", "lb.protocol=https")
	f([]string{"*:8443/https a acme"}, "lb.hostname=a", "lb.tls=acme", "lb.source_port=8443")
	f([]string{"*:636/tls a acme"}, "lb.hostname=a", "lb.tls=acme", "lb.source_port=636", "lb.protocol=tls")
	f([]string{"*:443/https a acme", "*:80 a redirect 302/307 https://{host}{path}"}, "lb.hostname=a", "lb.tls=acme", "lb.https_redirect=true")
	f([]string{"*:8443/https a", "*:80 a redirect 302/307 https://{host}:8443{path}"},
		"lb.hostname=a", "lb.tls=true", "lb.https_redirect=true", "lb.source_port=8443")
	f([]string{"*:80 a redirect 302/307 https://{host}{path}"}, "lb.hostname=a", "lb.https_redirect=true")
	f([]string{"*:5432/tcp "}, "lb.protocol=tcp", "lb.source_port=5432")
	f([]string{"*:53/udp "}, "lb.protocol=udp", "lb.source_port=53")
	f([]string{"*:443/sni a"}, "lb.hostname=a", "lb.protocol=sni", "lb.source_port=443")
}

// proxy_protocol is a key of a rule and of a service; its values say of which.
func TestOwn_ProxyProtocolIsOfTheRuleOrOfTheService(t *testing.T) {
	f := func(in bool, out rules.ProxyProtocol, labels ...string) {
		t.Helper()
		w := decoded(labels...)
		require.Empty(t, w.Problems)
		require.Len(t, w.Rules, 1)
		require.Equal(t, in, w.Rules[0].ProxyIn)
		require.Equal(t, out, w.Groups[0].Service.ProxyProtocol)
	}
	f(true, 0, "lb.hostname=a", "lb.proxy_protocol=in")
	f(false, rules.ProxyV1, "lb.hostname=a", "lb.proxy_protocol=v1")
	f(true, rules.ProxyV2, "lb.web.hostname=a", "lb.web.proxy_protocol=in", "lb.proxy_protocol=v2")

	w := decoded("lb.web.hostname=a", "lb.web.proxy_protocol=v2")
	require.Empty(t, w.Rules)
	require.Equal(t, `want in, got "v2"; what connections to the container begin with says lb.proxy_protocol`, w.Problems[0].Reason)

	w = decoded("lb.hostname=a", "lb.tls=true", "lb.https_redirect=true", "lb.proxy_protocol=in")
	require.Len(t, w.Rules, 2)
	require.True(t, w.Rules[1].ProxyIn, "who is in front of one port is in front of the other")
}

func TestOwn_ProtocolsThatCannotBe(t *testing.T) {
	f := func(want string, labels ...string) {
		t.Helper()
		w := decoded(labels...)
		require.Empty(t, w.Rules)
		require.Len(t, w.Problems, 1)
		require.True(t, w.Problems[0].Fatal)
		require.Equal(t, want, w.Problems[0].Reason)
	}
	f("the rule is left out: with protocol http there is no use for lb.tls; want https or tls, or no protocol", "lb.hostname=a", "lb.tls=acme", "lb.protocol=http")
	f("the rule is left out: with protocol sni there is no use for lb.tls; want https or tls, or no protocol", "lb.hostname=a", "lb.tls=true", "lb.protocol=sni")
	f("the rule is left out: with protocol tcp it needs a source_port", "lb.hostname=a", "lb.protocol=tcp")
	w := decoded("lb.hostname=a", "lb.tls=acne")
	require.Empty(t, w.Rules, "it must not come without TLS")
	w = decoded("lb.hostname=a", "lb.scheme=http", "lb.tls.server_name=b")
	require.Nil(t, w.Groups[0].Service.TLS)
	require.Equal(t, "with lb.scheme=http servers are spoken to in the clear; what labels say of tls does not count", w.Problems[0].Reason)
}

// What may have been meant to keep requests out refuses the rule it may be
// about, and all others only if that is not known.
func TestOwn_ProtectsByGuess(t *testing.T) {
	f := func(labels string, refused ...bool) {
		t.Helper()
		w := decoded(strings.Fields(labels)...)
		var got []bool
		for _, r := range w.Rules {
			got = append(got, r.Refuse != "")
		}
		require.Equal(t, refused, got, "%+v", w)
		require.Len(t, w.Problems, 1)
		require.Contains(t, w.Problems[0].Reason, "unknown label")
		require.Equal(t, slices.Contains(refused, true), w.Problems[0].Fatal)
	}
	f("lb.hostname=a lb.auth=me:secret", true)
	f("lb.hostname=a lb.allow=10.0.0.0/8", true)
	f("lb.hostname=a lb.ip_whitelist=10.0.0.0/8", true)
	f("lb.hostname=a lb.basic_auth.users=me:secret", true)
	f("lb.hostname=a LB.auth=me:secret", true)
	f("lb.a.hostname=a lb.b.hostname=b lb.a.rate_limit=10", true, false)
	f("lb.a.hostname=a lb.b.hostname=b lb.deny=10.0.0.0/8", true, true)
	f("lb.auth.hostname=a lb.auth.colour=red", false)
	f("lb.hostname=a lb.colour=red", false)
	f("lb.hostname=a traefik.http.routers.x.rule=Host(`x`) lb.whitelist=10.0.0.0/8", true, true)

	// A variable that is not set leaves the value empty.
	f("lb.hostname=a lb.auth=", true)
	f("lb.a.hostname=a lb.b.hostname=b lb.a.users=", true, false)
	f("lb.a.hostname=a lb.b.hostname=b lb.allow.from=", true, true)
}

// What is known protects nobody, whatever the rule is called.
func TestOwn_EmptyAndKnown(t *testing.T) {
	f := func(label string) {
		t.Helper()
		w := decoded("lb.web.hostname=a", label)
		require.Len(t, w.Rules, 1)
		require.Empty(t, w.Rules[0].Refuse)
		require.Len(t, w.Problems, 1)
		require.Equal(t, "it has no value, and counts as if it were not there", w.Problems[0].Reason)
	}
	f("lb.auth.path=")
	f("lb.auth.balance=")
	f("lb.web.request_headers.set.Authorization=")
	f("lb.web.colour=")
}

func TestOwn_GuessedWords(t *testing.T) {
	f := func(protects bool, words ...string) {
		t.Helper()
		for _, word := range words {
			w := decoded("lb.web.hostname=a", "lb.web."+word+"=x")
			require.Len(t, w.Rules, 1, word)
			require.Equal(t, protects, w.Rules[0].Refuse != "", word)
			require.Equal(t, protects, w.Problems[0].Fatal, word)
		}
	}
	f(true, "users", "user", "requireUser", "ip_restrict", "restrict", "htpasswd", "require_login", "login", "password", "secret")
	f(true, "allow_from", "deny-all", "whitelist", "ip.blacklist", "block_ips", "acl", "ip_acl", "secure", "secured", "security")
	f(true, "basic", "basic_users", "digest", "oauth", "oauth2.issuer", "oidc", "sso", "SSO_url", "jwt", "mtls_ca", "client-cert", "tls_client_ca")
	require.Empty(t, decoded("lb.web.hostname=a", "lb.web.mtls=x").Rules, "it may be tls as well, without which there is no rule")
	f(false, "colour", "insecure", "oracle", "lessons", "logging", "reuse", "bases", "nonblocking")
}

func TestOwn_OneHostname(t *testing.T) {
	w := decoded("lb.hostname=a.test, b.test")
	require.Empty(t, w.Rules)
	require.Equal(t, "it names one host; for several want lb.rule instead: Host(`a.test`) || Host(`b.test`)", w.Problems[0].Reason)
}
