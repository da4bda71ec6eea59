package discovery

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules"
	"arzur.net/lb/rules/labels"
)

// memberOf is a container with one server.
func memberOf(name string, created int, set ...string) member {
	m := member{Subject: labels.Subject{Name: name, Service: name, Group: name, Origin: "container " + name, Labels: map[string]string{}, Ports: []uint16{80}}}
	m.created = time.Unix(int64(created), 0)
	for i := 0; i+1 < len(set); i += 2 {
		m.Labels[set[i]] = set[i+1]
	}
	m.place = func(_ *labels.Wants, _ *labels.Group) placement {
		return placement{instances: []rules.Instance{instanceAt(name+".internal", 80)}}
	}
	return m
}

func TestAnnounce(t *testing.T) {
	f := func(want string, members ...member) {
		t.Helper()
		require.Equal(t, want, tell(announce(members, &labels.DefaultOptions)))
	}
	// Replicas share a rule, a service and its pool.
	f("web: a.internal:80 b.internal:80\n80 Host(`x`) -> web",
		memberOf("b", 2, "traefik.http.routers.r.rule", "Host(`x`)", "traefik.http.services.web.loadbalancer.server.port", "80"),
		memberOf("a", 1, "traefik.http.routers.r.rule", "Host(`x`)", "traefik.http.services.web.loadbalancer.server.port", "80"))
	// Equal rules in another spelling are equal.
	f("web: a.internal:80 b.internal:80\n80 Host(`x`) -> web",
		memberOf("a", 1, "lb.rule", "Host(`x`)", "lb.service", "web"),
		memberOf("b", 2, "lb.rule", "Host(`x`)", "lb.service", "web"))
	f("a: a.internal:80\nb: b.internal:80\n80 x -> a\n!container b: label lb.rule: service \"a\" gets these requests already; name the same service in both, or another match in one (container a: label lb.hostname)",
		memberOf("a", 1, "lb.hostname", "x"),
		memberOf("b", 2, "lb.rule", "Host(`X`)"))
	// One container with two rules for the same requests: the one that comes first,
	// by priority and else by name.
	f("one: a.internal:80\ntwo: a.internal:80\n80 Host(`x`) -> two\n!container a: label traefik.http.routers.p.rule: service \"two\" gets these requests already; name the same service in both, or another match in one (container a: label traefik.http.routers.q.rule)",
		memberOf("a", 1, "traefik.http.routers.p.rule", "Host(`x`)", "traefik.http.routers.p.service", "one",
			"traefik.http.routers.q.rule", "Host(`x`)", "traefik.http.routers.q.service", "two", "traefik.http.routers.q.priority", "100",
			"traefik.http.services.one.loadbalancer.server.port", "80", "traefik.http.services.two.loadbalancer.server.port", "81"))
	f("a:80: a.internal:80\na:81: a.internal:80\n80 x -> a:80\n!container a: label lb.q.hostname: service \"a:80\" gets these requests already; name the same service in both, or another match in one (container a: label lb.p.hostname)",
		memberOf("a", 1, "lb.p.hostname", "x", "lb.p.target_port", "80", "lb.q.hostname", "x", "lb.q.target_port", "81"))
	// Replicas that disagree about a weight.
	f("one: a.internal:80 b.internal:80\n80 x -> one\n?container b: label lb.r.hostname: its weight for service \"one\" is 5, that of the other not given, which counts (container a: label lb.r.hostname)",
		memberOf("a", 1, "lb.r.hostname", "x", "lb.r.service", "one"),
		memberOf("b", 2, "lb.r.hostname", "x", "lb.r.service", "one", "lb.r.weight", "5"))
	// Unless it says which share each gets.
	f("one: a.internal:80\ntwo: a.internal:80\n80 x -> one\n80 x -> two",
		memberOf("a", 1, "lb.p.hostname", "x", "lb.p.service", "one", "lb.q.hostname", "x", "lb.q.service", "two", "lb.q.weight", "3"))
	// Labels of Traefik 1 and 3 for the same requests are one wish.
	both := memberOf("a", 1, "traefik.frontend.rule", "Host:x", "traefik.http.routers.r.rule", "Host(`x`)")
	both.Group = "shop/a"
	f("shop/a: a.internal:80\na: a.internal:80\n80 Host(`x`) -> a\n80 Host(`x`) -> shop/a", both)
	// A weighted service is one rule for each of its parts, and no conflict.
	f("one: a.internal:80\ntwo: b.internal:80\n80 Host(`x`) -> one\n80 Host(`x`) -> two\n80 Host(`y`) -> two",
		memberOf("a", 1, "traefik.http.routers.r.rule", "Host(`x`)", "traefik.http.routers.r.service", "both",
			"traefik.http.services.one.loadbalancer.server.port", "80",
			"traefik.http.services.both.weighted.services[0].name", "one",
			"traefik.http.services.both.weighted.services[1].name", "two"),
		memberOf("b", 2, "traefik.http.routers.q.rule", "Host(`y`)",
			"traefik.http.services.two.loadbalancer.server.port", "80"))
}

// One that has gone keeps its requests from other rules until it has a successor,
// whose labels alone count.
func TestAnnounce_OneThatHasGone(t *testing.T) {
	f := func(want string, wantHold time.Duration, members ...member) {
		t.Helper()
		s := announce(members, &labels.DefaultOptions)
		require.Equal(t, want, tell(s))
		require.Equal(t, wantHold, *s.Services[0].Hold)
	}
	gone := func(m member) member {
		m.away, m.leaving, m.gone = true, true, true
		return m
	}
	old := gone(memberOf("old", 1, "lb.hostname", "x", "lb.service", "web"))
	f("web: \n80 x -> web", holdForNext, old)
	f("web: new.internal:80\n80 y -> web", holdForNext, old, memberOf("new", 2, "lb.hostname", "y", "lb.service", "web"))
	f("web: new.internal:80\n80 x -> web", holdForNext, old, memberOf("new", 2, "lb.hostname", "x", "lb.service", "web"))
	f("web: \n80 y -> web\n80 x -> web", holdForNext, old, gone(memberOf("other", 2, "lb.hostname", "y", "lb.service", "web")))
	f("web: \n80 x -> web\n80 y -> web", holdForNext, old,
		gone(memberOf("newer", 3, "lb.a.hostname", "x", "lb.b.hostname", "y", "lb.service", "web", "lb.a.strip_prefx", "/")))
	f("other: other.internal:80\nweb: \n80 x -> other", holdForNews, old, memberOf("other", 2, "lb.hostname", "x"))
	f("api: api.internal:80\nweb: \n80 y -> api\n80 x -> web", holdForNews, old, memberOf("api", 2, "lb.hostname", "y"))
}

// What a thousand containers ask for is put together at every event.
func BenchmarkAnnounce(b *testing.B) {
	var members []member
	for i := range 1000 {
		name := fmt.Sprint("app-", i/4)
		members = append(members, memberOf(fmt.Sprint("c", i), i, "traefik.http.routers."+name+".rule", "Host(`"+name+".test`) && PathPrefix(`/x`)",
			"traefik.http.services."+name+".loadbalancer.server.port", "80", "traefik.http.routers."+name+".middlewares", "strip",
			"traefik.http.middlewares.strip.stripprefix.prefixes", "/x"))
	}
	for b.Loop() {
		announce(members, &labels.DefaultOptions)
	}
}
