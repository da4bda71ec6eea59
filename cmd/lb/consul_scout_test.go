package main

import (
	"fmt"
	"testing"
)

// TestConsul_MoreServicesThanConnections has every kind of change seen at once,
// although most services have no query of their own.
func TestConsul_MoreServicesThanConnections(t *testing.T) {
	a := startAgent(t)
	port := freePort(t)
	tag := func(n int) string { return fmt.Sprintf("lb.hostname=s%d.example", n) }
	for n := range 10 {
		a.register(fmt.Sprint("s", n), fmt.Sprint("s", n), 1000+n, nil, tag(n))
	}
	p := start(t, "-admin", "off", "-config", write(t, "rules.yml", fmt.Sprintf(
		"sources: {consul: {address: %q, connections: 2, require: warning, entry_points: {web: %d}}}\n", a.address, port)))
	changed := func(servers ...string) { t.Helper(); p.await("rule changed", "s7.example", serversOf(servers...)) }
	a.register("s7", "s7", 2007, nil, tag(7))
	changed(local(2007))
	a.register("s7", "other", 3007, object{
		"Check": object{"CheckID": "alive", "TTL": "1h", "Status": "passing"}, "Weights": object{"Passing": 4, "Warning": 2},
	}, tag(7))
	changed(local(3007)+" weight 4", local(2007))
	a.put("/v1/agent/check/fail/alive", nil)
	changed(local(2007))
	a.put("/v1/agent/check/warn/alive", nil)
	changed(local(3007)+" weight 2", local(2007))
	a.put("/v1/agent/check/fail/alive", nil)
	changed(local(2007))
	a.put("/v1/agent/check/pass/alive", nil)
	changed(local(3007)+" weight 4", local(2007))
	a.put("/v1/agent/maintenance?enable=true", nil)
	changed()
	a.put("/v1/agent/maintenance?enable=false", nil)
	changed(local(3007)+" weight 4", local(2007))
	a.put("/v1/agent/service/deregister/other", nil)
	changed(local(2007))
	a.register("s10", "s10", 1010, nil, tag(10))
	p.await("rule added", "s10.example", serversOf(local(1010)))
	a.put("/v1/agent/service/deregister/s7", nil)
	p.await("rule removed", "s7.example")
}
