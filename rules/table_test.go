package rules

import (
	"net/netip"
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
	table, problems := Compile(Input{
		Rules: []Rule{
			{Port: 80, Service: "blog"},
			{Port: 80, Hostname: "arzur.net", Service: "blog", TargetPort: 8080},
			{Port: 80, Expr: "Host(`arzur.net`) && Method(`POST`)", Service: "blog", TargetPort: 8080},
		},
		Services: []Service{service("blog", "10.42.27.235", "10.42.170.222")},
	}, NoBackends{})
	require.Empty(t, problems)
	require.Equal(t, "*:80  Host(`arzur.net`) && Method(`POST`)  -> blog: 10.42.27.235:8080 10.42.170.222:8080\n"+
		"*:80  arzur.net                            -> blog: 10.42.27.235:8080 10.42.170.222:8080\n"+
		"*:80  *                                    -> blog: 10.42.27.235:80 10.42.170.222:80\n", table.String())
}
