package discovery

import (
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules"
)

func TestMerge_FirstSourceHasTheRequests(t *testing.T) {
	rule := func(origin, host, service string, weight *int) rules.Rule {
		return rules.Rule{Port: 80, Origin: origin, Hostname: host, Service: service, Weight: weight}
	}
	f := func(want string, snapshots ...*Snapshot) {
		t.Helper()
		m := &merger{last: snapshots}
		in, problems := m.view()
		require.Equal(t, want, tell(Snapshot{Rules: in.Rules, Warnings: problems}))
	}
	file := func(list ...rules.Rule) *Snapshot { return &Snapshot{Rules: list} }
	shop := rule("rules.yml:1", "a.test", "shop", nil)
	label := rule("container x: label lb.hostname", "A.test", "x", nil)
	const conflict = `!container x: label lb.hostname: service "shop" gets these requests already; name the same service in both, or another match in one (rules.yml:1)`

	f("80 a.test -> shop\n"+conflict, file(shop), file(label))
	f("80 a.test -> shop\n80 b.test -> x\n"+conflict, file(shop), nil, file(label, rule("container x", "b.test", "x", nil)))
	f("80 a.test -> shop\n80 a.test -> shop", file(shop), file(rule("container y", "a.test", "shop", nil)))
	f("80 a.test -> shop\n80 a.test -> x", file(shop, rule("rules.yml:2", "a.test", "x", nil)))
	f("80 a.test -> shop\n80 A.test -> x", file(rule("rules.yml:1", "a.test", "shop", new(9))), file(label))
	f("80 A.test -> x", file(), file(label))
	broken := rules.Rule{Port: 80, Origin: "rules.yml:3", Expr: "Host("}
	f("80 Host( -> \n80 Host( -> ", file(broken), file(broken))
}
