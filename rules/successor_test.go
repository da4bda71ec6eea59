package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPortTable_Successor(t *testing.T) {
	blog, shop := service("blog", "10.0.0.1"), service("shop", "10.0.0.2")
	blog.Hold, shop.Hold = new(time.Second), new(time.Second)
	table := func(rs ...Rule) *PortTable {
		table, problems := Compile(Input{Rules: rs, Services: []Service{blog, shop}}, NoBackends{})
		require.Empty(t, problems)
		return table.On(Listen{Port: 80, Protocol: HTTP})
	}
	f := func(want string, next ...Rule) {
		t.Helper()
		before := table(Rule{Port: 80, Hostname: "arzur.net", Path: "/a", StripPrefix: "/a", Service: "blog"})
		req := Request{Host: []byte("arzur.net"), Path: []byte("/a")}
		e := table(next...).Successor(before.Lookup(&req))
		got := ""
		if e != nil {
			got = e.Match() + " -> " + e.Pool.Name
		}
		require.Equal(t, want, got)
	}
	f("arzur.net/a -> blog", Rule{Port: 80, Hostname: "ARZUR.net", Path: "/a", StripPrefix: "/a", Service: "blog"})
	f("arzur.net/a -> shop", Rule{Port: 80, Hostname: "arzur.net", Path: "/a", StripPrefix: "/a", Service: "shop", Priority: 1})
	f("", Rule{Port: 80, Hostname: "arzur.net", Path: "/a", Service: "blog"})
	f("foo.com -> blog", Rule{Port: 80, StripPrefix: "/a", Service: "shop"}, Rule{Port: 80, Hostname: "foo.com", StripPrefix: "/a", Service: "blog"})
	f("", Rule{Port: 80, Hostname: "foo.com", Service: "blog"})
	f("", Rule{Port: 80, Hostname: "foo.com", StripPrefix: "/a", Service: "shop"})
	f("", Rule{Port: 81, Hostname: "arzur.net", Path: "/a", StripPrefix: "/a", Service: "blog"})
}
