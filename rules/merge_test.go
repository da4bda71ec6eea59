package rules

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMerge_JoinsPools(t *testing.T) {
	f := func(want string, rules ...Rule) {
		t.Helper()
		table, problems := compile(rules...)
		require.Empty(t, problems)
		require.Len(t, table.Entries(), 1)
		got := ""
		for _, target := range table.Entries()[0].Pool.Targets {
			got += fmt.Sprintf("%s %d, ", target.Host, target.Weight)
		}
		require.Equal(t, want, got)
	}
	rule := func(service string, weight *int) Rule {
		return Rule{Port: 80, Hostname: "a", Service: service, Weight: weight}
	}
	f("10.0.0.1 1, 10.0.0.2 1, 10.0.1.1:8080 1, ", rule("blog", nil), rule("shop", nil))
	f("10.0.0.1 1, 10.0.0.2 1, 10.0.1.1:8080 1, ", rule("blog", new(5)), rule("shop", new(5)))
	f("10.0.0.1 1, 10.0.0.2 1, 10.0.1.1:8080 4, ", rule("blog", nil), rule("shop", new(2)))
	divides := rule("blog", new(5))
	divides.Divides = true
	f("10.0.0.1 1, 10.0.0.2 1, 10.0.1.1:8080 2, ", divides, rule("shop", new(5)))
	f("10.0.0.1 3, 10.0.0.2 3, 10.0.1.1:8080 4, ", rule("blog", new(3)), rule("shop", new(2)))
	f("10.0.0.1 0, 10.0.0.2 0, 10.0.1.1:8080 1, ", rule("blog", new(0)), rule("shop", nil))
	f("10.0.0.1 0, 10.0.0.2 0, ", rule("blog", new(0)))
	f("10.0.0.1 1, 10.0.0.2 1, ", rule("blog", nil), rule("blog", nil))
	f("10.0.0.1 1, 10.0.0.2 1, 10.0.1.1:8080 1, ", Rule{Port: 80, Hostname: "A.", Service: "blog"}, Rule{Port: 80, Expr: "Host(`a`)", Service: "shop"})
	f("10.0.0.1 1, 10.0.0.2 1, 10.0.1.1:8080 1, ", Rule{Port: 80, Expr: "Host(`a`) || Host(`b`)", Service: "blog"}, Rule{Port: 80, Expr: `host("B")||host("a")`, Service: "shop"})
	f("10.0.0.1 1, 10.0.0.2 1, 10.0.1.1:8080 1, ", Rule{Port: 80, Expr: "!Host(`a`)", Service: "blog"}, Rule{Port: 80, Expr: `! HOST("a")`, Service: "shop"})
}

func TestMerge_ServersWithWeightsAndBackups(t *testing.T) {
	a, b := service("a", "10.0.0.1", "10.0.0.2", "10.0.0.3"), service("b", "10.0.1.1")
	a.Instances[0].Weight = new(2)
	a.Instances[2].Backup = true
	table, problems := Compile(Input{
		Rules: []Rule{
			{Port: 80, Hostname: "a", Service: "a", Weight: new(1)}, {Port: 80, Hostname: "a", Service: "b", Weight: new(2)},
		},
		Services: []Service{a, b},
	}, NoBackends{})
	require.Empty(t, problems)
	require.Equal(t, "*:80  a  -> a: 10.0.0.1:80 weight 2 10.0.0.2:80 weight 1 10.0.0.3:80 backup 10.0.1.1:80 weight 6\n", table.String())
}

func TestMerge_ManyOddWeightsDoNotOverflow(t *testing.T) {
	in := Input{}
	for i := range 60 {
		s := service(fmt.Sprint("s", i))
		for j := range i + 1 {
			s.Instances = append(s.Instances, service("", fmt.Sprintf("10.0.%d.%d", i, j)).Instances...)
		}
		in.Services = append(in.Services, s)
		in.Rules = append(in.Rules, Rule{Port: 80, Service: s.Name, Weight: new(1 + i%2)})
	}
	table, problems := Compile(in, NoBackends{})
	require.Empty(t, problems)
	share := map[string]int{}
	for _, target := range table.Pools()[0].Targets {
		require.Positive(t, target.Weight)
		share[target.Service] += target.Weight
	}
	require.InEpsilon(t, share["s58"]*2, share["s59"], 0.01)
}

func TestMerge_RejectsOtherOptions(t *testing.T) {
	f := func(a, b Rule, option string) {
		t.Helper()
		a.Port, b.Port, a.Hostname, b.Hostname, a.Origin, b.Origin = 80, 80, "a", "a", "x.yml:1", "x.yml:9"
		table, problems := compile(a, b)
		require.Equal(t, []Problem{{
			Origin: "x.yml:9", Other: "x.yml:1", Rule: "80 a", Fatal: true,
			Reason: `rule "80 a" has the same match but another ` + option + `; want the same, or another match`,
		}}, problems)
		require.Len(t, table.Entries(), 1)
	}
	edit := HeaderEdit{Set: []HeaderField{{"A", "1"}}}
	f(Rule{Service: "blog"}, Rule{Service: "blog", StripPrefix: "/x"}, "strip_prefix")
	f(Rule{Service: "blog"}, Rule{Service: "blog", AddPrefix: "/x"}, "add_prefix")
	f(Rule{Service: "blog"}, Rule{Service: "blog", ReplacePath: "/x"}, "replace_path")
	f(Rule{Service: "blog"}, Rule{Service: "blog", RequestHeaders: edit}, "request_headers")
	f(Rule{Service: "blog", ResponseHeaders: edit}, Rule{Service: "blog"}, "response_headers")
	f(Rule{Service: "blog"}, Rule{Redirect: &Redirect{Host: "b"}}, "redirect")
	f(Rule{Redirect: &Redirect{Host: "b"}}, Rule{Redirect: &Redirect{Host: "c"}}, "redirect")
}

func TestMerge_SameRedirectTwiceIsOne(t *testing.T) {
	table, problems := compile(Rule{Port: 80, Redirect: &Redirect{Host: "b"}}, Rule{Port: 80, Redirect: &Redirect{Host: "b", Code: 302}})
	require.Empty(t, problems)
	require.Len(t, table.Entries(), 1)
}
