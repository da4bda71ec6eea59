package rules

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// traefikCase is a case of testdata/traefik_rules.json: what Traefik 3 does
// with an expression.
type traefikCase struct {
	Suite, Name string
	Input       struct {
		Rule            string
		Requests        []traefikRequest
		RawRequest      string
		KnownMatchers   []string
		CollectMatchers []string
		Path            string
		Request         traefikRequest
		Routes          []struct {
			ID, Rule, Provider string
			Priority           int
		}
		ProvidersPrecedence []string
	}
	Expect struct {
		RuleError, ParseError bool
		Statuses              []int
		Domains               []string
		RoutingPath           string
		Matched               string
		Tree                  *traefikTree
		Values                []string
	}
}

type traefikRequest struct {
	Method, URL, Path, RemoteAddr string
	Headers                       http.Header
}

type traefikTree struct {
	Matcher             string
	Value               []string
	RuleLeft, RuleRight *traefikTree
}

func TestTraefikCases(t *testing.T) {
	var cases []traefikCase
	data, err := os.ReadFile("testdata/traefik_rules.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &cases))
	require.Len(t, cases, 89)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) { c.run(t) })
	}
}

func (c *traefikCase) run(t *testing.T) {
	in, want := &c.Input, &c.Expect
	switch c.Suite {
	case "v3-http-routing-path":
		require.Equal(t, want.RoutingPath, string(routingPath(nil, []byte(in.Path))))
	case "v3-rule-tree":
		tree, err := parseExpr(in.Rule, in.KnownMatchers)
		if want.ParseError {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.Equal(t, want.Tree, toTraefik(tree))
		require.Equal(t, want.Values, values(tree, in.CollectMatchers))
	case "v3-http-parse-domains":
		tree, err := parseExpr(in.Rule, matcherNames)
		require.NoError(t, err)
		var domains []string
		for _, d := range values(tree, []string{"Host"}) {
			domains = append(domains, strings.ToLower(d))
		}
		require.Equal(t, want.Domains, domains)
	case "v3-http-priority":
		c.runPriority(t)
	default:
		c.runMatch(t)
	}
}

func (c *traefikCase) runMatch(t *testing.T) {
	rules := []Rule{{Port: 80, Expr: c.Input.Rule, Service: "s"}}
	table, problems := Compile(Input{Rules: rules, Services: []Service{service("s")}}, NoBackends{})
	if c.Expect.RuleError {
		require.Len(t, problems, 1)
		require.True(t, problems[0].Fatal)
		require.Regexp(t, `^rule: column \d+: `, problems[0].Reason)
		return
	}
	require.Empty(t, problems)
	requests := c.Input.Requests
	if c.Input.RawRequest != "" {
		raw, err := http.ReadRequest(bufio.NewReader(strings.NewReader(c.Input.RawRequest)))
		require.NoError(t, err)
		requests = append(requests, traefikRequest{Method: raw.Method, URL: raw.RequestURI})
	}
	require.NotEmpty(t, requests)
	require.Len(t, c.Expect.Statuses, len(requests))
	for i, r := range requests {
		status := http.StatusNotFound
		if table.On(Listen{Port: 80, Protocol: HTTP}).Lookup(r.request()) != nil {
			status = http.StatusOK
		}
		require.Equal(t, c.Expect.Statuses[i], status, "request %d: %+v", i, r)
	}
}

// runPriority: Traefik's priority is higher first, where ours is lower first,
// and among equals providers have an order, where ours has declaration.
func (c *traefikCase) runPriority(t *testing.T) {
	routes := c.Input.Routes
	slices.SortStableFunc(routes, func(a, b struct {
		ID, Rule, Provider string
		Priority           int
	},
	) int {
		return cmp.Compare(slices.Index(c.Input.ProvidersPrecedence, a.Provider), slices.Index(c.Input.ProvidersPrecedence, b.Provider))
	})
	in := Input{Services: []Service{service("s")}}
	for _, r := range routes {
		// A condition that holds always keeps equal matches apart.
		expr := fmt.Sprintf("%s && !Method(`%s`)", r.Rule, r.ID)
		in.Rules = append(in.Rules, Rule{Name: r.ID, Port: 80, Expr: expr, Priority: -r.Priority, Service: "s"})
	}
	table, problems := Compile(in, NoBackends{})
	require.Empty(t, problems)
	r := c.Input.Request
	r.URL = "http://example.com" + r.Path
	require.Equal(t, c.Expect.Matched, table.On(Listen{Port: 80, Protocol: HTTP}).Lookup(r.request()).Rule.Name)
}

func toTraefik(n *node) *traefikTree {
	switch n.op {
	case "":
		t := &traefikTree{Matcher: n.name}
		for _, a := range n.args {
			t.Value = append(t.Value, a.value)
		}
		return t
	case "&&":
		return &traefikTree{Matcher: "and", RuleLeft: toTraefik(n.left), RuleRight: toTraefik(n.right)}
	}
	return &traefikTree{Matcher: "or", RuleLeft: toTraefik(n.left), RuleRight: toTraefik(n.right)}
}

// values are the arguments of the named matchers, left to right.
func values(n *node, names []string) (all []string) {
	if n == nil {
		return nil
	}
	if n.op == "" && slices.Contains(names, n.name) {
		for _, a := range n.args {
			all = append(all, a.value)
		}
	}
	return append(append(all, values(n.left, names)...), values(n.right, names)...)
}

// fields is a Fields over Go's header map.
type fields http.Header

func (f fields) Value(name string, i int) ([]byte, bool) {
	values := http.Header(f).Values(name)
	if i >= len(values) {
		return nil, false
	}
	return []byte(values[i]), true
}

func (r *traefikRequest) request() *Request {
	q := request(r.URL)
	q.Method = []byte(cmp.Or(r.Method, "GET"))
	q.Fields = fields(r.Headers)
	host, err := netip.ParseAddrPort(r.RemoteAddr)
	q.Client = host.Addr()
	if err != nil {
		q.Client, _ = netip.ParseAddr(r.RemoteAddr) // "1" is no address, and no client
	}
	return q
}

// request takes a URL apart as the engine does: nothing is decoded.
func request(url string) *Request {
	_, rest, ok := strings.Cut(url, "://")
	if !ok {
		rest = url
	}
	rest, query, _ := strings.Cut(rest, "?")
	host, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	clean, _ := CleanPath(nil, []byte(path))
	return &Request{
		Method: []byte("GET"), Host: NormalizeHost(nil, []byte(host)),
		Path: clean, Query: []byte(query),
	}
}
