package rules

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExpr_Errors(t *testing.T) {
	f := func(expr, want string) {
		t.Helper()
		_, err := newMatch(&Rule{Expr: expr})
		require.EqualError(t, err, want)
	}
	f("Host(`a`) || Hosst(`b`)", `rule: column 14: unknown matcher "Hosst"; did you mean "Host"?`)
	f("Frobnicate(`b`)", `rule: column 1: unknown matcher "Frobnicate"; known are ClientIP, Header, HeaderRegexp, Host, HostRegexp, HostSNI, HostSNIRegexp, Method, Path, PathPrefix, PathRegexp, Query, QueryRegexp`)
	f("hOST(`a`)", `rule: column 1: unknown matcher "hOST"; did you mean "Host"?`)
	f("Host", "rule: column 5: nothing after Host; want its argument in parentheses")
	f("Host(`a`", "rule: column 9: nothing in the arguments of Host; want a comma or the closing parenthesis")
	f("Host(`a`,)", `rule: column 10: ")" where a string in backquotes or double quotes should be`)
	f("Host(`a)", "rule: column 6: this string does not end, or holds an escape that Go does not know")
	f(`Host("\q")`, "rule: column 6: this string does not end, or holds an escape that Go does not know")
	f("Host('a')", "rule: column 6: single quotes; put strings in backquotes or double quotes")
	f("Host(a)", `rule: column 6: "a" where a string in backquotes or double quotes should be`)
	f("Host(`a`) &&", "rule: column 13: the expression ends where a matcher should be, such as Host(`example.com`)")
	f("Host(`a`) Path(`/`)", `rule: column 11: "Path" after the end of the expression; want && or ||`)
	f("Host(`a`) & Path(`/`)", `rule: column 11: "&" after the end of the expression; want && or ||`)
	f("(Host(`a`)", "rule: column 11: nothing where the closing parenthesis should be")
	f("Host(`a`))", `rule: column 10: ")" after the end of the expression; want && or ||`)
	f("   ", "rule: column 4: the expression ends where a matcher should be, such as Host(`example.com`)")
	f("Path(`/ü`) && Host(`a`, `b`)", "rule: column 15: Host has 2 arguments; want 1")
	f("Query()", "rule: column 1: Query has 0 arguments; want 1 or 2")
	f("Header(`a`, ``)", "rule: column 13: Header has an empty argument")
	f("Path(`css`)", `rule: column 6: Path: "css" has no leading slash; want "/css"`)
	f("Host(`ü.de`)", `rule: column 6: Host "ü.de" is not ASCII; write internationalised names in punycode`)
	f("Host(`a.*`)", "rule: column 6: Host \"a.*\": a star may stand only for a whole first label (*.example.com); want HostRegexp")
	f("Host(`a..b`)", `rule: column 6: Host: bad hostname "a..b": nothing between two dots, or before the first`)
	f("PathRegexp(`a(`)", "rule: column 12: PathRegexp: bad regexp \"a(\": column 1: missing closing ): \"a(\"")
	f("ClientIP(`10.0.0.0/33`)", `rule: column 10: ClientIP "10.0.0.0/33" is neither an IP address nor a range such as 10.0.0.0/8`)
	f(strings.Repeat("!", 200)+"Host(`a`)", "rule: column 101: more than 100 nested parentheses and negations")
}

func TestExpr_ExcludesHostnameAndPath(t *testing.T) {
	_, err := newMatch(&Rule{Expr: "Host(`a`)", Path: "/b"})
	require.EqualError(t, err, "rule: it stands instead of hostname and path; move them into the rule")
}

func TestExpr_Holds(t *testing.T) {
	f := func(expr string, r *Request, want bool) {
		t.Helper()
		m, err := newMatch(&Rule{Expr: expr})
		require.NoError(t, err)
		r.route()
		c := m.cond
		if c == nil {
			tree, err := parseExpr(expr, matcherNames)
			require.NoError(t, err)
			c, err = newCondition(tree)
			require.NoError(t, err)
		}
		require.Equal(t, want, c.holds(r))
	}
	f("Host(`*.a.de`)", request("x.a.de/"), true)
	f("Host(`*.a.de`)", request("x.y.a.de/"), false)
	f("Host(`*.a.de`)", request("a.de/"), false)
	f("Host(`a.de.`)", request("a.de/"), true)
	f("Host(`*`)", request("/"), true)
	f("HostRegexp(`.*`)", request("/"), false)
	f("Path(`/foo bar`)", request("a/foo%20bar"), true)
	f("Path(`/`)", request("a"), true)
	f("PathPrefix(`/products`)", request("a/products-old"), true)
	f("Query(`a b`, `c&d`)", request("a/?x&a+b=c%26d"), true)
	f("Query(`a`, `2`)", request("a/?a=1;a=2"), true)
	f("Query(`a`)", request("a/?a="), true)
	f("Query(`a`)", request("a/?a=1"), false)
	f("Query(`a`, `%zz`)", request("a/?a=%zz"), false)
	f("Query(`a`, `1`)", request("a/?%zz=1&%61=1"), true)
	f("Query(`a`, `1`)", request("a/?=1&a=&b=1"), false)
	f("QueryRegexp(`a`, `^x y$`)", request("a/?a=x+y"), true)
	f("QueryRegexp(`a`)", request("a/?a"), true)
	f("Header(`X-A`, `1`)", request("a/"), false) // no Fields at all
	f("ClientIP(`10.0.0.0/8`)", (&traefikRequest{URL: "a/", RemoteAddr: "[::ffff:10.1.2.3]:99"}).request(), true)
	f("ClientIP(`::ffff:10.0.0.0/104`)", (&traefikRequest{URL: "a/", RemoteAddr: "10.1.2.3:99"}).request(), true)
	f("ClientIP(`fe80::/10`)", (&traefikRequest{URL: "a/", RemoteAddr: "[fe80::1%eth0]:99"}).request(), true)
	f("ClientIP(`10.1.2.3`)", (&traefikRequest{URL: "a/", RemoteAddr: "10.1.2.4:99"}).request(), false)
	f("!Method(`POST`) && (Path(`/a`) || Path(`/b`))", request("a/b"), true)
	f("\n\tHost(`a`)\n\t&& Path(`/b`)\n", request("a/b"), true)
}

func TestAlternatives(t *testing.T) {
	f := func(expr string, exact bool, want ...string) {
		t.Helper()
		m, err := newMatch(&Rule{Expr: expr})
		require.NoError(t, err)
		var got []string
		for i := range m.alternatives {
			got = append(got, m.alternatives[i].String())
		}
		require.Equal(t, want, got)
		require.Equal(t, exact, m.cond == nil)
	}
	f("Host(`a`)", true, "a")
	f("Host(`a`) && Path(`/p`)", true, "a=/p")
	f("Path(`/p`) && Host(`a`)", true, "a=/p")
	f("Host(`a`) || Host(`b`)", true, "a", "b")
	f("(Host(`a`) || Host(`b`)) && (PathPrefix(`/p`) || Path(`/q`))", true, "a/p", "a=/q", "b/p", "b=/q")
	f("Host(`a`) && Header(`X`, `1`)", false, "a")
	f("Host(`a`) || Header(`X`, `1`)", false, "a", "*")
	f("Host(`*.a`)", false, "*.a")
	f("!Host(`a`)", false, "*")
	f("Host(`a`) && !Path(`/p`)", false, "a")
	f("Host(`a`) && Host(`b`)", false, "a")
	f("PathPrefix(`/p`) && PathPrefix(`/p/q`)", true, "*/p/q")
	f("PathRegexp(`x`) && PathPrefix(`/p`)", false, "*~x")
}

func TestAlternatives_DoNotExplode(t *testing.T) {
	pair := "(Host(`a`) || Host(`b`)) && (Path(`/a`) || Path(`/b`))"
	expr := pair
	for range 6 {
		expr = "(" + expr + " || Host(`c`)) && " + pair
	}
	m, err := newMatch(&Rule{Expr: expr})
	require.NoError(t, err)
	require.LessOrEqual(t, len(m.alternatives), mostAlternatives)
	require.NotNil(t, m.cond)
}
