package rules

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ordered compiles rules in some shuffled order and lists their names as tried.
// Rules that compare by declaration alone keep their order.
func ordered(t *testing.T, shuffle bool, rules ...Rule) string {
	t.Helper()
	for i := range rules {
		rules[i].Port, rules[i].Service = 80, "blog"
		if rules[i].Name == "" {
			rules[i].Name = rules[i].Hostname + rules[i].Path + rules[i].Expr
		}
	}
	if shuffle {
		rand.Shuffle(len(rules), func(i, j int) { rules[i], rules[j] = rules[j], rules[i] })
	}
	table, problems := compile(rules...)
	for _, p := range problems {
		require.False(t, p.Fatal, p.Reason)
	}
	var names []string
	for _, e := range table.Entries() {
		names = append(names, e.Rule.Name)
	}
	return strings.Join(names, "\n")
}

func TestOrder_Default(t *testing.T) {
	want := []Rule{
		{Name: "negative", Path: "/p1", Priority: -5},
		{Name: "first", Path: "/p2", Priority: 1},
		{Name: "second", Hostname: "prio.de", Priority: 2},
		{Hostname: "a.de", Path: "/exact", PathMatch: PathExact},
		{Hostname: "a.de", Path: "/long/path"},
		{Hostname: "a.de", Path: "^/regexp", PathMatch: PathRegexp},
		{Hostname: "a.de", Path: "/raw", PathMatch: PathRaw},
		{Expr: "Host(`a.de`) && PathPrefix(`/r`) && Method(`GET`)"},
		{Hostname: "a.de", Path: "/s"},
		{Expr: "Host(`a.de`) && Header(`X-Longer`, `1`)"},
		{Expr: "Host(`a.de`) && Header(`X`, `1`)"},
		{Hostname: "a.de"},
		{Hostname: "*.sub.a.de"},
		{Expr: "Host(`*.a.de`) && Path(`/x`)"},
		{Hostname: "*.a.de", Path: "/x"},
		{Hostname: "*.a.de"},
		{Hostname: "a.*"},
		{Path: "/e", PathMatch: PathExact},
		{Expr: "Path(`/a`) || PathPrefix(`/pre`)"},
		{Path: "/p"},
		{Expr: "Host(`a.de`) || Method(`GET`)"},
		{Expr: "Method(`POST`)"},
		{Name: "default"},
	}
	var names []string
	for _, r := range want {
		if r.Name == "" {
			r.Name = r.Hostname + r.Path + r.Expr
		}
		names = append(names, r.Name)
	}
	for range 20 {
		require.Equal(t, strings.Join(names, "\n"), ordered(t, true, append([]Rule(nil), want...)...))
	}
}

func TestOrder_Rancher(t *testing.T) {
	want := []Rule{
		{Name: "first", Path: "/p", Priority: 1},
		{Name: "second", Hostname: "*.b", Priority: 2},
		{Name: "host+path, longer", Hostname: "a", Path: "/longer"},
		{Name: "host+path", Hostname: "b", Path: "/long"},
		{Name: "host", Hostname: "a"},
		{Name: "wildcard+path", Hostname: "*.a", Path: "/longest"},
		{Name: "wildcard", Hostname: "*.a"},
		{Name: "path, longer", Path: "/longer"},
		{Name: "path", Path: "/long"},
		{Name: "default", Priority: 1},
	}
	var names []string
	for i := range want {
		want[i].Order, want[i].PathMatch = OrderRancher, PathRaw
		names = append(names, want[i].Name)
	}
	for range 20 {
		require.Equal(t, strings.Join(names, "\n"), ordered(t, true, append([]Rule(nil), want...)...))
	}
}

func TestOrder_DeclarationDecidesLast(t *testing.T) {
	require.Equal(t, "b\na\n/y\n/x", ordered(t, false, Rule{Hostname: "b"}, Rule{Hostname: "a"}, Rule{Path: "/y"}, Rule{Path: "/x"}))
}

func TestOrder_OneRuleOfAnotherKindMakesAPortDefault(t *testing.T) {
	got := ordered(t, false, Rule{Path: "/p", Priority: 2, Order: OrderRancher}, Rule{Name: "all", Priority: 1, Order: OrderRancher}, Rule{Hostname: "a"})
	require.Equal(t, "all\n/p\na", got)
}
