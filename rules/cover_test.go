package rules

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUnreachable(t *testing.T) {
	f := func(want string, rules ...Rule) {
		t.Helper()
		for i := range rules {
			rules[i].Port, rules[i].Service, rules[i].Origin = 80, "blog", string(rune('a'+i))
		}
		table, problems := compile(rules...)
		require.Len(t, table.Entries(), len(rules), "an unreachable rule stays in the Table")
		got := ""
		for _, p := range problems {
			require.False(t, p.Fatal)
			require.Contains(t, p.Reason, "can never be reached")
			got += p.Origin + " by " + p.Other + " "
		}
		require.Equal(t, want, got)
	}
	f("")
	f("", Rule{Hostname: "x"}, Rule{Hostname: "y"}, Rule{})
	f("b by a ", Rule{Priority: 1}, Rule{Hostname: "x"})
	f("b by a ", Rule{Hostname: "*.x", Priority: 1}, Rule{Hostname: "a.x", Path: "/p"})
	f("", Rule{Hostname: "*.x", Path: "/p", Priority: 1}, Rule{Hostname: "a.x"})
	f("b by a ", Rule{Hostname: "*.x", Path: "/p", Priority: 1}, Rule{Hostname: "a.x", Path: "/p/q"})
	f("b by a ", Rule{Hostname: "*.x", Priority: 1}, Rule{Hostname: "*.a.x"})
	f("b by a ", Rule{Hostname: "x.*", Priority: 1}, Rule{Hostname: "x.de"})
	f("", Rule{Hostname: "*.x", Priority: 1}, Rule{Hostname: "x.*"})
	f("a by b ", Rule{Hostname: "x"}, Rule{Hostname: "x", Path: "/"})
	f("", Rule{Expr: "Method(`GET`)", Priority: 1}, Rule{Hostname: "x"})
	f("b by a ", Rule{Hostname: "x", Priority: 1}, Rule{Expr: "Host(`x`) && Method(`GET`)"})
	f("b by a ", Rule{Expr: "Host(`x`) || Host(`y`)", Priority: 1}, Rule{Hostname: "y", Path: "/p"})
	f("", Rule{Hostname: "x", Priority: 1}, Rule{Expr: "Host(`x`) || Host(`y`)"})
	f("c by a ", Rule{Hostname: "x", Priority: 1}, Rule{Hostname: "y", Priority: 2}, Rule{Expr: "Host(`x`) || Host(`y`)"})
	f("b by a ", Rule{Path: "/p", PathMatch: PathRaw, Priority: 1}, Rule{Path: "/PQ"})
	f("b by a ", Rule{Path: "/", Priority: 1}, Rule{Path: "x", PathMatch: PathRegexp})
}

func TestUnreachable_AmongManyPaths(t *testing.T) {
	rules := []Rule{{Port: 80, Hostname: "x", Path: "/p7", Priority: 1, Service: "blog", Origin: "first"}}
	for i := range 20 {
		rules = append(rules, Rule{Port: 80, Hostname: "x", Path: "/p" + strconv.Itoa(i) + "/q", Service: "blog"})
	}
	_, problems := compile(rules...)
	require.Len(t, problems, 1)
	require.Equal(t, Problem{
		Other: "first", Rule: "80 x/p7/q",
		Reason: `can never be reached: rule "80 x/p7" comes first and takes all of its requests`,
	}, problems[0])
}
