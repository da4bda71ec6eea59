package rules

import (
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func service(name string, servers ...string) Service {
	s := Service{Name: name, Origin: name + ".yml:1"}
	for _, h := range servers {
		inst := Instance{Host: h}
		if ap, err := netip.ParseAddrPort(h); err == nil {
			inst.Addr, inst.Port = ap.Addr(), ap.Port()
		} else if a, err := netip.ParseAddr(h); err == nil {
			inst.Addr = a
		}
		s.Instances = append(s.Instances, inst)
	}
	return s
}

func TestTable_String(t *testing.T) {
	blog, shop := service("blog", "10.42.27.235", "10.42.170.222", "10.42.229.184"), service("shop", "[2001:db8::1]:8080", "10.0.0.9")
	shop.Instances[1].Backup = true
	table, problems := Compile(Input{
		Rules: []Rule{
			{Port: 80, Service: "blog"},
			{Port: 80, Hostname: "arzur.net", Service: "blog", TargetPort: 8080},
			{Port: 80, Hostname: "arzur.net", Path: "/shop", Service: "shop"},
			{Port: 80, Hostname: "arzur.net", Path: "/health", PathMatch: PathExact, Service: "blog", TargetPort: 8080},
			{Port: 80, Expr: "Host(`arzur.net`) && Method(`POST`)", Service: "blog"},
			{Port: 80, Expr: "Host(`arzur.net`) && Method(`POST`)", Service: "shop", Weight: new(3)},
			{Port: 80, Hostname: "*.arzur.net", Redirect: &Redirect{Host: "arzur.net", Code: 301}},
			{Port: 80, Path: `\.php$`, PathMatch: PathRegexp, Priority: 5, Service: "none", BackendName: "php"},
			{Port: 8443, Address: netip.MustParseAddr("::1"), Path: "/x", PathMatch: PathRaw, Service: "blog"},
		},
		Services: []Service{blog, shop, service("none")},
	}, NoBackends{})
	require.Empty(t, problems)
	golden, err := os.ReadFile("testdata/table.golden")
	require.NoError(t, err)
	require.Equal(t, string(golden), table.String())
}
