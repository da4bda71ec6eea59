package labels

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// streaming are options with entry points for more than HTTP.
var streaming = &Options{ExposedByDefault: true, EntryPoints: map[string]uint16{"web": 80, "websecure": 443, "db": 5432, "dns": 53}}

func TestTraefik3_Protocols(t *testing.T) {
	f := func(lines string, want ...string) {
		t.Helper()
		w := Decode(subject(lines), streaming)
		require.Empty(t, w.Problems)
		var got []string
		for _, r := range w.Rules {
			line := r.Listen().String() + " " + r.Expr + " " + r.Service
			if r.ACME {
				line += " acme"
			}
			got = append(got, line)
		}
		require.Equal(t, want, got)
	}
	router := "traefik.http.routers.x.rule=Host(`x`)\ntraefik.http.services.s.loadbalancer.server.port=80\ntraefik.http.routers.x."
	f(router+"tls=true", "*:443/https Host(`x`) s")
	f(router+"tls.certresolver=le", "*:443/https Host(`x`) s acme")
	f(router+"entrypoints=websecure", "*:443/https Host(`x`) s")
	f(router+"entrypoints=web,websecure", "*:80 Host(`x`) s", "*:443/https Host(`x`) s")
	f(router+"entrypoints=db\ntraefik.http.routers.x.tls.options=default", "*:5432/https Host(`x`) s")
	f(router+"tls=false", "*:80 Host(`x`) s")

	tcp := "traefik.tcp.services.s.loadbalancer.server.port=80\ntraefik.tcp.routers.x.rule=HostSNI(`x`)\ntraefik.tcp.routers.x."
	f(tcp+"tls=true", "*:443/tls HostSNI(`x`) s@tcp")
	f(tcp+"tls.certresolver=le", "*:443/tls HostSNI(`x`) s@tcp acme")
	f(tcp+"tls.passthrough=true\ntraefik.tcp.routers.x.entrypoints=db", "*:5432/sni HostSNI(`x`) s@tcp")
	f("traefik.tcp.routers.x.rule=HostSNI(`*`)\ntraefik.tcp.routers.x.entrypoints=db,dns\ntraefik.tcp.services.s.loadbalancer.server.port=80",
		"*:5432/tcp HostSNI(`*`) s@tcp", "*:53/tcp HostSNI(`*`) s@tcp")
	f("traefik.udp.routers.x.entrypoints=dns\ntraefik.udp.services.s.loadbalancer.server.port=5353", "*:53/udp  s@udp")
}

// What Decode makes is what Compile takes.
func TestTraefik3_StreamsCompile(t *testing.T) {
	w := Decode(subject("traefik.tcp.services.s.loadbalancer.server.port=80\n"+
		"traefik.tcp.routers.all.rule=HostSNI(`*`)\ntraefik.tcp.routers.all.entrypoints=db\n"+
		"traefik.tcp.routers.one.rule=HostSNI(`x`) || HostSNIRegexp(`^y`)\ntraefik.tcp.routers.one.tls.passthrough=true\n"+
		"traefik.udp.routers.dns.entrypoints=dns\ntraefik.udp.routers.dns.service=u\ntraefik.udp.services.u.loadbalancer.server.port=53"), streaming)
	require.Empty(t, w.Problems)
	in := rules.Input{Rules: w.Rules}
	for _, g := range w.Groups {
		in.Services = append(in.Services, g.Service)
	}
	table, problems := rules.Compile(in, rules.NoBackends{})
	require.Empty(t, problems)
	require.Equal(t, []string{"*:53/udp", "*:443/sni", "*:5432/tcp"}, strings.Fields(strings.Join(listens(table), " ")))
}

func listens(table *rules.Table) (list []string) {
	for _, l := range table.Ports() {
		list = append(list, l.String())
	}
	return list
}

func TestTraefik3_StreamServices(t *testing.T) {
	f := func(lines string, want rules.Service) {
		t.Helper()
		w := Decode(subject("traefik.tcp.services.s.loadbalancer.server.port=80\n"+lines), streaming)
		require.Empty(t, w.Problems)
		require.Len(t, w.Groups, 1)
		got := w.Groups[0].Service
		require.Equal(t, want.TLS, got.TLS)
		require.Equal(t, want.ProxyProtocol, got.ProxyProtocol)
	}
	at := "traefik.tcp.services.s.loadbalancer."
	f("", rules.Service{})
	f(at+"terminationdelay=100", rules.Service{})
	f(at+"server.tls=true", rules.Service{TLS: &health.TLS{}})
	f(at+"proxyprotocol=true", rules.Service{ProxyProtocol: rules.ProxyV2})
	f(at+"proxyprotocol.version=1", rules.Service{ProxyProtocol: rules.ProxyV1})
}

func TestTraefik3_StreamsWithoutTheirProtectionServeNothing(t *testing.T) {
	f := func(lines, want string) {
		t.Helper()
		w := Decode(subject("traefik.tcp.routers.x.rule=HostSNI(`x`)\ntraefik.tcp.routers.x.tls=true\n"+lines), streaming)
		require.Len(t, w.Rules, 1)
		require.Equal(t, want, w.Rules[0].Refuse)
		require.NotEmpty(t, w.Problems)
	}
	f("traefik.tcp.routers.x.middlewares=a\ntraefik.tcp.middlewares.a.ipallowlist.sourcerange=10.0.0.0/8",
		`middleware "a": middlewares of TCP are not supported yet, and protect`)
	f("traefik.tcp.routers.x.middleware=a", `unknown label (did you mean "traefik.tcp.routers.x.middlewares"?)`)
	f("traefik.tcp.routers.x.tls.options=mtls", `tls.options "mtls" are not known here, and may ask for client certificates; lb has tls.client_auth`)
	f("traefik.tcp.services.s.loadbalancer.server.port=70000", `service "s": server.port 70000 is not a port; want 1 to 65535`)
	f("traefik.tcp.services.s.loadbalancer.proxyprotocol.version=3", `service "s": proxyProtocol.version 3; want 1 or 2`)
	f("traefik.tcp.services.s.loadbalancer.server.prot=1",
		`service "s": traefik.tcp.services.s.loadbalancer.server.prot: unknown label (did you mean "traefik.tcp.services.s.loadBalancer.server.port"?)`)
}

func TestTraefik3_StreamHealthChecks(t *testing.T) {
	f := func(lines string, want *health.Check, problem ...string) {
		t.Helper()
		w := Decode(subject("traefik.tcp.services.s.loadbalancer.server.port=80\ntraefik.tcp.routers.x.rule=HostSNI(`x`)\ntraefik.tcp.routers.x.tls=true\n"+lines), nil)
		require.Equal(t, problem, problems(w))
		require.Len(t, w.Groups, 1)
		require.Equal(t, want, w.Groups[0].Service.Check)
	}
	const at = "traefik.tcp.services.s.loadbalancer.healthcheck"
	standard := health.Check{Interval: checkInterval, ResponseTimeout: checkTimeout, HealthyThreshold: 1, UnhealthyThreshold: 1}
	f("", nil)
	f(at+"=true", &standard)
	other := standard
	other.Port, other.Interval, other.ResponseTimeout = 81, 5*time.Second, time.Second
	f(at+".port=81\n"+at+".interval=5\n"+at+".timeout=1s", &other)
	f(at+".unhealthyinterval=1s", &standard, at+".unhealthyinterval: loadBalancer.healthCheck.unhealthyInterval is known, but not supported yet; the rest works without it")
	f(at+".send=PING\n"+at+".expect=PONG", nil, at+".expect: there is no health check: send and expect are not supported yet; without them a connection is enough")
	f(at+".port=70000", nil, at+".port: there is no health check: port 70000 is not a port; want 1 to 65535")
	f(at+".intervall=5s\n"+at+"=true", nil, at+": there is no health check: one of its labels cannot be used",
		at+`.intervall: unknown label (did you mean "traefik.tcp.services.s.loadBalancer.healthCheck.interval"?)`)
}
