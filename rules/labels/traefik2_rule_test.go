package labels

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules"
)

// case2 is a case of testdata/traefik2_rules.json: what Traefik does with a rule
// in the language of its second generation.
type case2 struct {
	Suite, Name string
	Input       struct {
		Rule                   string
		Requests               []request2
		RawRequest             string
		ServerName, RemoteAddr string
	}
	Expect struct {
		RuleError bool
		Statuses  []int
		Matched   bool
	}
}

type request2 struct {
	request1
	RemoteAddr string
}

func (r *request2) request() *rules.Request {
	q := r.request1.request()
	q.Client = client(r.RemoteAddr)
	return q
}

// client is an address with a port or without; "1" is none, and no client.
func client(address string) netip.Addr {
	if at, err := netip.ParseAddrPort(address); err == nil {
		return at.Addr()
	}
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Addr{}
	}
	return addr
}

// differences2 are the cases in which we do otherwise on purpose, and why.
var differences2 = map[string]string{
	"v2-http-match-HostRegexp/004": "no host can be called so: the rule is rejected, where Traefik has it match nothing",
	"v2-http-rules/022":            "likewise",
	"v2-tcp-rules/018":             "who sends no server name has none that a pattern could match",
	"v2-tcp-rules/068":             "ALPN decides nothing in lb, and the rule is rejected",
	"v2-tcp-rules/070":             "likewise",
	"v2-tcp-rules/071":             "likewise",
	"v2-tcp-rules/072":             "likewise",
	"v2-tcp-rules/073":             "likewise",
	"v2-tcp-rules/074":             "likewise",
	"v2-tcp-rules/075":             "likewise",
}

func TestTraefik2_Cases(t *testing.T) {
	var cases []case2
	data, err := os.ReadFile("testdata/traefik2_rules.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &cases))
	for _, c := range cases {
		number, _, _ := strings.Cut(c.Name, " ")
		t.Run(number, func(t *testing.T) {
			if differences2[number] == "" {
				require.NoError(t, c.run())
			} else {
				require.Error(t, c.run(), "the case passes; take it off the list")
			}
		})
	}
	require.Len(t, cases, 132)
}

// run is an error when the case has another outcome.
func (c *case2) run() error {
	protocol, port := rules.HTTP, uint16(80)
	if strings.HasPrefix(c.Suite, "v2-tcp-") {
		protocol, port = rules.SNI, 443
	}
	expr, _, why := language(c.Input.Rule, syntax2, protocol)
	table, problems := rules.Compile(rules.Input{
		Rules:    []rules.Rule{{Port: port, Protocol: protocol, Expr: cmp.Or(expr, "none"), Service: "s"}},
		Services: []rules.Service{{Name: "s"}},
	}, rules.NoBackends{})
	if failed := why != "" || len(problems) > 0; failed || c.Expect.RuleError {
		if failed != c.Expect.RuleError {
			return fmt.Errorf("%s %v, want error: %t", why, problems, c.Expect.RuleError)
		}
		return nil
	}
	on := table.On(rules.Listen{Port: port, Protocol: protocol})
	if protocol == rules.SNI {
		e := on.Lookup(&rules.Request{Host: []byte(c.Input.ServerName), Client: client(c.Input.RemoteAddr)})
		if got := e != nil; got != c.Expect.Matched {
			return fmt.Errorf("%s: got %t, want %t", expr, got, c.Expect.Matched)
		}
		return nil
	}
	for i, want := range c.Expect.Statuses {
		r := c.Input.Requests[i]
		r.URL = cmp.Or(r.URL, "https://example.com/")
		got := http.StatusNotFound
		if on.Lookup(r.request()) != nil {
			got = http.StatusOK
		}
		if got != want {
			return fmt.Errorf("%s: %+v: got %d, want %d", expr, r, got, want)
		}
	}
	return nil
}

func TestTraefik2_WhichLanguageCounts(t *testing.T) {
	f := func(label, syntax, expr string, problem ...string) {
		t.Helper()
		lines := "traefik.http.routers.x.rule=" + label
		if syntax != "" {
			lines += "\ntraefik.http.routers.x.rulesyntax=" + syntax
		}
		w := Decode(subject(lines), nil)
		require.Equal(t, problem, problems(w))
		if expr == "" {
			require.Empty(t, w.Rules)
			return
		}
		require.Equal(t, expr, w.Rules[0].Expr)
		require.Equal(t, TraefikPriority(len(label)), w.Rules[0].Priority)
	}
	f("Host(`a`, `b`) && PathPrefix(`/x`)", "v2", "(Host(`a`) || Host(`b`)) && PathPrefix(`/x`)")
	f("!Headers(`X-A`, `1`, `X-B`, `2`)", "V2", "!((Header(`X-A`, `1`) && Header(`X-B`, `2`)))")
	f("HostRegexp(`{sub:[a-z]+}.a`) || Path(`/{id:[0-9]+}`)", "v2", "HostRegexp(`(?i)^(?:[a-z]+)\\.a$`) || PathRegexp(`^/(?:[0-9]+)$`)")
	f("Query(`a=b`, `c={x:[0-9=]+}`) && hostheader(`a`)", "v2", "(Query(`a`, `b`) && QueryRegexp(`c`, `^(?:[0-9=]+)$`)) && Host(`a`)")
	f("Host(`*.a`)", "v2", "", "! traefik.http.routers.x.rule: \"Host(`*.a`)\": column 1: Host: \"*.a\": a star is no wildcard here; want HostRegexp with {any:.+}.a; the router is left out")
	f("PathRegexp(`/a`)", "v2", "", "! traefik.http.routers.x.rule: \"PathRegexp(`/a`)\": column 1: unknown matcher \"PathRegexp\"; the router is left out")
	f("Host(`a`)", "v4", "", `! traefik.http.routers.x.rulesyntax: unknown syntax "v4"; want v3 or v2; the router is left out`)
	f("Host(`a`)", "v3", "Host(`a`)")
	f("HostRegexp(`^[a-z]{2,3}\\.a$`)", "", "HostRegexp(`^[a-z]{2,3}\\.a$`)")

	// What only one of them can mean counts.
	f("Host(`a`, `b`)", "", "(Host(`a`) || Host(`b`))",
		"traefik.http.routers.x.rule: it is in the language of Traefik 2, which Traefik 3 takes with ruleSyntax=v2 alone; here it counts as (Host(`a`) || Host(`b`))")
	f("HostRegexp(`{sub:[a-z]+}.a`)", "", "HostRegexp(`{sub:[a-z]+}.a`)",
		"traefik.http.routers.x.rule: the braces look like a pattern of Traefik 2; for Traefik 3, whose language counts, they are text; with ruleSyntax=v2 it is HostRegexp(`(?i)^(?:[a-z]+)\\.a$`)")
	f("Host:a;PathPrefix:/x", "", "",
		"! traefik.http.routers.x.rule: \"Host:a;PathPrefix:/x\" is in the language of Traefik 1, that of traefik.frontend.rule; want Host(`a`) && PathPrefix(`/x`); the router is left out")
	w := Decode(subject("traefik.frontend.rule=Host(`a`)"), nil)
	require.Equal(t, []string{"! traefik.frontend.rule: \"Host(`a`)\": it is in the language of Traefik 3; want it under traefik.http.routers.<name>.rule"}, problems(w))
}

func TestTraefik2_AsTheDefault(t *testing.T) {
	o := Options{ExposedByDefault: true, RuleSyntax: "v2", DefaultRule: "Host(`{{ .Name }}.a`, `{{ .Name }}.b`)"}
	require.NoError(t, o.Validate())
	f := func(lines, want string) {
		t.Helper()
		w := Decode(subject(lines), &o)
		require.Empty(t, w.Problems)
		require.Equal(t, want, w.Rules[0].Expr)
	}
	f("", "(Host(`blog-shop.a`) || Host(`blog-shop.b`))")
	f("traefik.http.services.s.loadbalancer.server.port=80", "(Host(`blog-shop.a`) || Host(`blog-shop.b`))")
	f("traefik.http.routers.x.rule=Path(`/{id}`)", "PathRegexp(`^/(?:[^/]+)$`)")
	f("traefik.http.routers.x.rule=PathRegexp(`/a`)\ntraefik.http.routers.x.rulesyntax=v3", "PathRegexp(`/a`)")
	f("traefik.tcp.routers.x.rule=HostSNI(`a`, `b`)\ntraefik.tcp.routers.x.tls=true", "(HostSNI(`a`) || HostSNI(`b`))")
	f("traefik.tcp.routers.x.rule=HostSNIRegexp(`{any:.+}.a`)\ntraefik.tcp.routers.x.tls=true", "HostSNIRegexp(`(?i)^(?:.+)\\.a$`)")
	require.ErrorContains(t, (&Options{RuleSyntax: "2"}).Validate(), `default_rule_syntax "2": want v3 or v2`)
}
