package rules

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRule_Claim(t *testing.T) {
	same := func(a, b Rule) {
		t.Helper()
		require.NotEmpty(t, a.Claim())
		require.Equal(t, a.Claim(), b.Claim())
	}
	other := func(a, b Rule) {
		t.Helper()
		require.NotEqual(t, a.Claim(), b.Claim())
	}
	blog := Rule{Port: 80, Hostname: "arzur.net"}
	same(blog, Rule{Port: 80, Hostname: "ARZUR.net.", Service: "other", Priority: 5})
	same(blog, Rule{Port: 80, Expr: "Host(`arzur.net`)"})
	same(Rule{Port: 80, Expr: "Method(`GET`)"}, Rule{Port: 80, Expr: " Method( `GET` ) "})
	other(blog, Rule{Port: 81, Hostname: "arzur.net"})
	other(blog, Rule{Port: 80, Hostname: "www.arzur.net"})
	other(blog, Rule{Port: 80, Hostname: "arzur.net", Path: "/x"})
	other(blog, Rule{Port: 80, Hostname: "arzur.net", Address: netip.MustParseAddr("127.0.0.1")})
	require.Empty(t, (&Rule{Port: 80, Expr: "Host("}).Claim())
}

func TestRule_Title(t *testing.T) {
	require.Equal(t, "front", (&Rule{Name: "front", Port: 80}).Title())
	require.Equal(t, "80 arzur.net/x", (&Rule{Port: 80, Hostname: "arzur.net", Path: "/x"}).Title())
	require.Equal(t, "80", (&Rule{Port: 80}).Title())
}
