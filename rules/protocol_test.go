package rules

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/health"
)

func TestCompile_RejectsWhatAProtocolCannotDo(t *testing.T) {
	secure, datagrams := service("secure", "10.0.0.1"), service("checked", "10.0.0.1")
	secure.TLS, secure.ProxyProtocol, datagrams.Check = &health.TLS{}, ProxyV2, &health.Check{}
	proxied := service("proxied", "10.0.0.1")
	proxied.ProxyProtocol = ProxyV1
	f := func(r Rule, want string) {
		t.Helper()
		table, problems := Compile(Input{Rules: []Rule{r}, Services: []Service{service("blog", "10.0.0.1"), secure, datagrams, proxied}}, NoBackends{})
		require.Len(t, problems, 1)
		require.Equal(t, want, problems[0].Reason)
		require.True(t, problems[0].Fatal)
		require.Empty(t, table.Entries())
	}
	f(Rule{Port: 80, Protocol: "htpp", Service: "blog"}, `protocol: unknown protocol "htpp"; want http, https, tls, sni, tcp, udp`)
	f(Rule{Port: 80, ACME: true, Service: "blog"}, "tls: acme: with protocol http lb has no use for a certificate; want https or tls")
	f(Rule{Port: 80, Protocol: SNI, ACME: true, Service: "blog"}, "tls: acme: with protocol sni lb has no use for a certificate; want https or tls")
	f(Rule{Port: 53, Protocol: UDP, ProxyIn: true, Service: "blog"}, "proxy_protocol: it stands at the beginning of a connection, and udp has none; take it out")
	f(Rule{Port: 80, Protocol: TCP, Hostname: "a.com", Service: "blog"}, "hostname: with protocol tcp nobody says which host is meant; take it out, or use sni or tls")
	f(Rule{Port: 80, Protocol: UDP, Hostname: "a.com", Service: "blog"}, "hostname: with protocol udp nobody says which host is meant; take it out, or use sni or tls")
	takeOut := ": protocol sni is passed on as it comes; take it out, or use http or https"
	f(Rule{Port: 80, Protocol: SNI, Path: "/", Service: "blog"}, "path"+takeOut)
	f(Rule{Port: 80, Protocol: SNI, Redirect: &Redirect{Scheme: "https"}}, "redirect"+takeOut)
	f(Rule{Port: 80, Protocol: SNI, StripPrefix: "/a", Service: "blog"}, "strip_prefix"+takeOut)
	f(Rule{Port: 80, Protocol: SNI, AddPrefix: "/a", Service: "blog"}, "add_prefix"+takeOut)
	f(Rule{Port: 80, Protocol: SNI, ReplacePath: "/a", Service: "blog"}, "replace_path"+takeOut)
	f(Rule{Port: 80, Protocol: SNI, Rewrites: []Rewrite{{Kind: AddPrefix, Replacement: "/a"}}, Service: "blog"}, "rewrite"+takeOut)
	f(Rule{Port: 80, Protocol: SNI, ServerHost: true, Service: "blog"}, "host header"+takeOut)
	f(Rule{Port: 80, Protocol: SNI, RequestHeaders: HeaderEdit{Remove: []string{"A"}}, Service: "blog"}, "request_headers"+takeOut)
	f(Rule{Port: 80, Protocol: SNI, ResponseHeaders: HeaderEdit{Remove: []string{"A"}}, Service: "blog"}, "response_headers"+takeOut)
	f(Rule{Port: 80, Protocol: TLS, Expr: "Host(`a.com`) && !PathPrefix(`/x`)", Service: "blog"},
		"rule: column 19: PathPrefix: protocol tls does not show it; want ClientIP, Host, HostRegexp, HostSNI, HostSNIRegexp")
	f(Rule{Port: 80, Protocol: TCP, Expr: "Host(`a.com`)", Service: "blog"}, "rule: column 1: Host: protocol tcp does not show it; want ClientIP")
	f(Rule{Port: 80, Expr: "HostSNI(`a.com`)", Service: "blog"}, "rule: column 1: HostSNI: with http and https the Host of a request counts; want Host")
	f(Rule{Port: 443, Protocol: SNI, Service: "secure"},
		`service "secure" (secure.yml:1): scheme: https, but sni passes the TLS of clients through; use protocol tls, or take scheme and tls out`)
	f(Rule{Port: 53, Protocol: UDP, Service: "secure"}, `service "secure" (secure.yml:1): scheme: https, but udp has no TLS; take scheme and tls out`)
	f(Rule{Port: 53, Protocol: UDP, Service: "proxied"},
		`service "proxied" (proxied.yml:1): proxy_protocol: it stands at the beginning of a connection, and udp has none; take it out`)
	f(Rule{Port: 53, Protocol: UDP, Service: "checked"},
		`service "checked" (checked.yml:1): health_check: a datagram tells nothing of the server's health; want health_check.port, a tcp port to check`)
}

func TestCompile_APortSpeaksOneProtocol(t *testing.T) {
	table, problems := compile(
		Rule{Name: "web", Origin: "rules.yml:3", Port: 443, Protocol: HTTPS, Service: "blog"},
		Rule{Name: "raw", Origin: "container x", Port: 443, Protocol: TCP, Service: "shop"},
		Rule{Name: "quic", Port: 443, Protocol: UDP, Service: "shop"},
		Rule{Name: "local", Port: 443, Address: netip.MustParseAddr("127.0.0.1"), Service: "shop"},
	)
	require.Equal(t, []Problem{{
		Origin: "container x", Other: "rules.yml:3", Rule: "raw", Fatal: true,
		Reason: `protocol: "tcp", but rule "web" has "https" on the same port, and a port speaks one; choose another source_port or the same protocol`,
	}}, problems)
	require.Equal(t, "*:443/https    *  -> blog: 10.0.0.1:443 10.0.0.2:443\n"+
		"*:443/udp      *  -> shop: 10.0.1.1:8080\n"+
		"127.0.0.1:443  *  -> shop: 10.0.1.1:8080\n", table.String())
}

func TestCompile_ARejectedRuleDoesNotClaimThePort(t *testing.T) {
	table, problems := compile(Rule{Port: 80, Protocol: TCP, Service: "nobody"}, Rule{Port: 80, Service: "blog"})
	require.Len(t, problems, 1)
	require.Len(t, table.Entries(), 1)
}

func TestCompile_ProxyProtocolIsForTheWholePort(t *testing.T) {
	table, problems := compile(
		Rule{Name: "a", Port: 80, Hostname: "a", ProxyIn: true, Service: "blog"}, Rule{Name: "b", Port: 80, Hostname: "b", Service: "blog"},
		Rule{Name: "c", Port: 81, Hostname: "c", Service: "blog"}, Rule{Name: "d", Port: 81, Hostname: "d", ProxyIn: true, Service: "blog"},
	)
	require.Len(t, problems, 1)
	require.Equal(t, "d", problems[0].Rule)
	require.Equal(t, `proxy_protocol: it is for the whole port, and rule "c", which comes first, has none; write it there`, problems[0].Reason)
	require.True(t, table.On(Listen{Port: 80, Protocol: HTTP}).ProxyIn())
	require.False(t, table.On(Listen{Port: 81, Protocol: HTTP}).ProxyIn())
	require.False(t, table.On(Listen{Port: 82, Protocol: HTTP}).ProxyIn(), "no such port")
}

func TestPortTable_LookupByServerName(t *testing.T) {
	table, problems := compile(
		Rule{Port: 443, Protocol: SNI, Hostname: "*.a.com", Service: "blog"},
		Rule{Port: 443, Protocol: SNI, Expr: "Host(`b.com`) || Host(`c.com`)", Service: "shop"},
		Rule{Port: 443, Protocol: SNI, Expr: "HostRegexp(`^d[0-9]+$`) && ClientIP(`10.0.0.0/8`)", Service: "shop"},
		Rule{Port: 443, Protocol: SNI, Expr: "HostSNI(`e.com`) || HostSNIRegexp(`^f`)", Service: "shop"},
		Rule{Port: 5432, Protocol: TCP, Expr: "HostSNI(`*`) && ClientIP(`10.0.0.0/8`)", Service: "blog"},
	)
	require.Empty(t, problems)
	f := func(name, client, want string) {
		t.Helper()
		e := table.On(Listen{Port: 443, Protocol: SNI}).Lookup(&Request{Host: []byte(name), Client: netip.MustParseAddr(client)})
		got := ""
		if e != nil {
			got = e.Pool.Name
		}
		require.Equal(t, want, got)
	}
	f("x.a.com", "192.0.2.1", "blog")
	f("x.y.a.com", "192.0.2.1", "blog")
	f("a.com", "192.0.2.1", "")
	f("c.com", "192.0.2.1", "shop")
	f("d1", "10.1.1.1", "shop")
	f("d1", "192.0.2.1", "")
	f("", "192.0.2.1", "")
	f("e.com", "192.0.2.1", "shop")
	f("f.com", "192.0.2.1", "shop")
	raw := table.On(Listen{Port: 5432, Protocol: TCP})
	require.NotNil(t, raw.Lookup(&Request{Client: netip.MustParseAddr("10.1.1.1")}))
	require.Nil(t, raw.Lookup(&Request{Client: netip.MustParseAddr("192.0.2.1")}))
}

func TestEntry_Hosts(t *testing.T) {
	f := func(r Rule, want ...string) {
		t.Helper()
		r.Port, r.Service = 80, "blog"
		table, problems := compile(r)
		require.Empty(t, problems)
		require.Equal(t, want, table.Entries()[0].Hosts())
	}
	f(Rule{})
	f(Rule{Hostname: "*.a.com"})
	f(Rule{Hostname: "192.0.2.1"})
	f(Rule{Hostname: "A.com.", Path: "/x"}, "a.com")
	f(Rule{Expr: "(Host(`a.com`) || Host(`b.com`) || Host(`*.c.com`)) && (Path(`/x`) || Path(`/y`))"}, "a.com", "b.com")
	f(Rule{Expr: "Host(`a.com`) && !Path(`/x`)"}, "a.com")
	f(Rule{Expr: "!Host(`a.com`)"})
}

func TestCompile_ACME(t *testing.T) {
	table, problems := compile(
		Rule{Port: 443, Protocol: HTTPS, Hostname: "a.com", Service: "blog"}, Rule{Port: 443, Protocol: HTTPS, Hostname: "a.com", ACME: true, Service: "shop"},
		Rule{Port: 443, Protocol: HTTPS, Hostname: "*.b.com", ACME: true, Service: "blog"},
	)
	require.True(t, table.Entries()[0].Rule.ACME, "one of the rules of the match wants it")
	require.Len(t, problems, 1)
	require.False(t, problems[0].Fatal)
	require.Equal(t, "asks for a certificate by ACME, but names no host in full; want a hostname without a star, or a certificate under certs", problems[0].Reason)
}

func TestCompile_BackendsSpokenToDifferentlyAreDifferent(t *testing.T) {
	bare, secure, other := service("bare", "10.0.0.1"), service("secure", "10.0.0.1"), service("other", "10.0.0.1")
	secure.TLS, other.TLS = &health.TLS{}, &health.TLS{}
	other.ProxyProtocol = ProxyV2
	table, problems := Compile(Input{
		Rules: []Rule{
			{Port: 80, Hostname: "a", Service: "bare"}, {Port: 80, Hostname: "b", Service: "secure"}, {Port: 80, Hostname: "c", Service: "other"},
			{Name: "mixed", Port: 80, Hostname: "a", Service: "secure"},
		},
		Services: []Service{bare, secure, other},
	}, health.NewRegistry())
	require.Len(t, problems, 1)
	require.Equal(t, "mixed", problems[0].Rule)
	require.Equal(t, `rule "80 a" has the same match but another tls or proxy_protocol of its service; want the same, or another match`, problems[0].Reason)
	var got []string
	for _, u := range table.Backends() {
		require.Equal(t, u.Backend.Transport, u.Transport.Key())
		got = append(got, u.Backend.Transport)
	}
	require.Equal(t, []string{"", `tls name="10.0.0.1"`, `proxy=v2 tls name="10.0.0.1"`}, got)
	require.NotNil(t, table.Pools()[1].TLS)
}

func TestService_RejectsTransport(t *testing.T) {
	s := service("blog", "10.0.0.1")
	s.TLS = &health.TLS{CA: []byte("nonsense")}
	require.EqualError(t, s.check(), "tls: ca: no certificate in it; want PEM, -----BEGIN CERTIFICATE-----")
	s.TLS, s.ProxyProtocol = nil, 3
	require.EqualError(t, s.check(), "proxy_protocol: unknown version 3; want v1 or v2")
}

func TestCompile_WarnsOfServersThatAreNotVerified(t *testing.T) {
	s := service("blog", "10.0.0.1")
	s.TLS = &health.TLS{Insecure: true}
	table, problems := Compile(Input{Rules: []Rule{{Port: 80, Service: "blog"}}, Services: []Service{s}}, NoBackends{})
	require.Len(t, table.Entries(), 1)
	require.Equal(t, []Problem{{
		Origin: "blog.yml:1", Risk: true,
		Reason: `service "blog": tls: insecure_skip_verify: whoever is on the way to its servers can pose as them, and read and change everything; want ca`,
	}}, problems)
}

func TestRule_ClaimHasTheProtocol(t *testing.T) {
	web, raw := Rule{Port: 80}, Rule{Port: 80, Protocol: TCP}
	require.NotEqual(t, web.Claim(), raw.Claim())
	a, b := Rule{Port: 80, Protocol: TCP, Hostname: "a", Order: OrderRancher}, Rule{Port: 80, Protocol: TCP, Path: "/x", Order: OrderRancher}
	require.Equal(t, a.Claim(), b.Claim(), "Rancher knows no hosts there")
}
