package rules

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// field is a Fields of one field.
type field struct{ name, value string }

func (f field) Value(name string, i int) ([]byte, bool) {
	return []byte(f.value), name == f.name && i == 0
}

func TestExplain_SaysWhyNot(t *testing.T) {
	f := func(r Rule, url, want string) {
		t.Helper()
		r.Port, r.Service = 80, "blog"
		table, problems := compile(r)
		require.Empty(t, problems)
		q := request(url)
		q.Client, q.Fields = netip.MustParseAddr("192.0.2.1"), field{"X-Canary", "no"}
		steps := table.Explain(Listen{Port: 80, Protocol: HTTP}, q)
		require.Len(t, steps, 1)
		require.Equal(t, want, steps[0].Why)
		require.Equal(t, want == "", on80(table).Lookup(q) != nil)
	}
	f(Rule{}, "arzur.net/", "")
	f(Rule{Hostname: "arzur.net"}, "ARZUR.net:8010/", "")
	f(Rule{Hostname: "arzur.net"}, "www.arzur.net/", "host www.arzur.net, want arzur.net")
	f(Rule{Hostname: "*.arzur.net"}, "arzur.net/", "host arzur.net, want *.arzur.net")
	f(Rule{Hostname: "arzur.net"}, "/", "no host, want arzur.net")
	f(Rule{Hostname: "arzur.net", Path: "/api"}, "www.arzur.net/", "host www.arzur.net, want arzur.net")
	f(Rule{Path: "/api"}, "arzur.net/apis", "path /apis, want /api or below")
	f(Rule{Path: "/api", PathMatch: PathExact}, "arzur.net/api/", "path /api/, want exactly /api")
	f(Rule{Path: "^/v[0-9]", PathMatch: PathRegexp}, "arzur.net/v", "path /v, want a match of ^/v[0-9]")
	f(Rule{Path: "/Api", PathMatch: PathRaw}, "arzur.net/x", "path /x, want /api... in any case")
	f(Rule{Path: "/api", PathMatch: PathStarts}, "arzur.net/x", "path /x, want /api...")
	f(Rule{Path: "/b"}, "arzur.net/a/../b/%41", "")

	f(Rule{Expr: "Method(`GET`) && Host(`arzur.net`)"}, "arzur.net/", "")
	f(Rule{Expr: "Host(`a.net`) || Host(`b.net`)"}, "b.net/", "")
	f(Rule{Expr: "Host(`a.net`) || Host(`b.net`)"}, "c.net/", `host c.net, want Host("a.net"); host c.net, want Host("b.net")`)
	f(Rule{Expr: "Host(`*.a.net`)"}, "x.y.a.net/", `host x.y.a.net, want Host("*.a.net")`)
	f(Rule{Expr: "HostRegexp(`^b`)"}, "a.net/", `host a.net, want HostRegexp("^b")`)
	f(Rule{Expr: "Host(`a.net`) && Method(`POST`)"}, "a.net/", `method GET, want Method("POST")`)
	f(Rule{Expr: "PathPrefix(`/a`)"}, "a.net/b", `path /b, want PathPrefix("/a")`)
	f(Rule{Expr: "Header(`X-Canary`, `yes`)"}, "a.net/", `X-Canary: no, want Header("X-Canary", "yes")`)
	f(Rule{Expr: "HeaderRegexp(`X-Other`, `.`)"}, "a.net/", `no field X-Other, want HeaderRegexp("X-Other", ".")`)
	f(Rule{Expr: "Query(`a`, `1`)"}, "a.net/?a=2", `query "a=2", want Query("a", "1")`)
	f(Rule{Expr: "ClientIP(`10.0.0.0/8`)"}, "a.net/", `client 192.0.2.1, want ClientIP("10.0.0.0/8")`)
	f(Rule{Expr: "!Host(`a.net`)"}, "a.net/", `host a.net, want !Host("a.net")`)
	f(Rule{Expr: "!(Host(`a.net`) && Method(`GET`))"}, "a.net/", `want !(Host("a.net") && Method("GET"))`)
}

func TestExplain_ListsTheRulesOfTheListenerInOrder(t *testing.T) {
	table, problems := compile(
		Rule{Port: 80, Service: "blog"},
		Rule{Port: 80, Hostname: "arzur.net", Path: "/api", Service: "blog"},
		Rule{Port: 80, Hostname: "arzur.net", Service: "blog"},
		Rule{Port: 81, Hostname: "arzur.net", Service: "blog"},
	)
	require.Empty(t, problems)
	type step struct {
		match, why string
		near       bool
	}
	f := func(url string, want ...step) {
		t.Helper()
		var got []step
		for _, s := range table.Explain(Listen{Port: 80, Protocol: HTTP}, request(url)) {
			got = append(got, step{s.Entry.Match(), s.Why, s.Near})
		}
		require.Equal(t, want, got)
	}
	f("arzur.net/x",
		step{"arzur.net/api", "path /x, want /api or below", true}, step{"arzur.net", "", true}, step{"*", "", true})
	f("b.net/",
		step{"arzur.net/api", "host b.net, want arzur.net", false}, step{"arzur.net", "host b.net, want arzur.net", false}, step{"*", "", true})
	require.Empty(t, table.Explain(Listen{Port: 82, Protocol: HTTP}, request("a.net/")))
}
