package admin

import (
	"context"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// twoRules are a redirect, which comes first, and a rule with two servers, one
// of them down by its check.
func twoRules(t *testing.T) (rules.Input, netip.AddrPort, netip.AddrPort) {
	one, two := server(t), server(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	require.NoError(t, l.Close())
	local := netip.MustParseAddr("127.0.0.1")
	return rules.Input{
		Rules: []rules.Rule{
			{Name: "all", Origin: "rules.yml:9", Port: port, Address: local, Service: "blog"},
			{Name: "old", Origin: "rules.yml:2", Port: port, Address: local, Hostname: "old.example", Redirect: &rules.Redirect{Host: "new.example", Code: 301}},
		},
		Services: []rules.Service{{
			Name: "blog", Origin: "rules.yml:20", MaxConnections: 7, ConnectTimeout: time.Second, Hold: new(5 * time.Second),
			Check: &health.Check{},
			Instances: []rules.Instance{
				{Host: "127.0.0.1", Addr: one.Addr(), Port: one.Port()},
				{Host: "two.example", Addr: two.Addr(), Port: two.Port(), Weight: new(3)},
			},
		}},
	}, one, two
}

// deskOf shows twoRules, with the second server down.
func deskOf(t *testing.T, change func(*Config)) (d *desk, one, two netip.AddrPort) {
	t.Helper()
	d = newDesk(t, change)
	in, one, two := twoRules(t)
	d.use(in)
	for _, b := range d.Registry.All() {
		if b.Addr == two {
			b.SetDown(true, &health.Verdict{At: health.Now(), Reason: "status 500, want 200-399"})
		}
	}
	return d, one, two
}

func TestAPI_Rules(t *testing.T) {
	d, one, two := deskOf(t, nil)
	var got []ruleView
	d.decode("/api/rules", &got)
	require.Len(t, got, 2)
	require.Equal(t, "old", got[0].Name, "in the order in which they are tried")
	require.Equal(t, "old.example", got[0].Match)
	require.Contains(t, got[0].Redirect, "301")
	require.Empty(t, got[0].Targets)
	all := got[1]
	require.Equal(t, "all", all.Name)
	require.Equal(t, "*", all.Match)
	require.Equal(t, "blog", all.Service)
	require.Equal(t, "rules.yml:9", all.Origin)
	require.Equal(t, []targetView{
		{Address: one.String(), Host: "127.0.0.1", Service: "blog", Weight: 1, State: "up"},
		{Address: two.String(), Host: "two.example", Service: "blog", Weight: 3, State: "down", Reason: "status 500, want 200-399"},
	}, all.Targets)
}

func TestAPI_Services(t *testing.T) {
	d, _, _ := deskOf(t, nil)
	var got []serviceView
	d.decode("/api/services", &got)
	require.Len(t, got, 1)
	s := got[0]
	require.Len(t, s.Servers, 2)
	s.Servers = nil
	check := (&health.Check{}).Key()
	require.Equal(t, serviceView{
		Name: "blog", Origin: "rules.yml:20", Rules: []string{"all"}, Balance: "round-robin", Check: check,
		MaxConnections: 7, ConnectTimeout: "1s", Hold: "5s", WhenAllDown: "fail", Usable: 1,
	}, s)
}

func TestAPI_Backends(t *testing.T) {
	d, one, two := deskOf(t, nil)
	for _, b := range d.Registry.All() {
		if b.Addr != one {
			continue
		}
		for range 3 {
			require.True(t, b.TryBegin(0, health.Now()))
			b.Done(health.Refused, health.Now())
		}
		require.True(t, b.TryBegin(0, health.Now()))
	}
	gone := netip.MustParseAddrPort("192.0.2.1:80")
	d.Registry.Backend(gone, nil, "")

	var list []backendView
	d.decode("/api/backends", &list)
	got := map[string]backendView{}
	for _, b := range list {
		got[b.Address] = b
	}
	require.Len(t, got, 3)
	ejected := got[one.String()]
	require.Equal(t, "ejected", ejected.State)
	require.Equal(t, "ejected for 1s: connection refused", ejected.Reason)
	require.Equal(t, 1, ejected.InFlight)
	require.WithinDuration(t, time.Now(), *ejected.Since, time.Minute)
	require.Equal(t, time.Second, ejected.EjectedUntil.Sub(*ejected.Since))
	down := got[two.String()]
	require.Equal(t, "down", down.State)
	require.Equal(t, "status 500, want 200-399", down.Reason)
	require.Equal(t, []useView{{Name: "blog", Weight: 3}}, down.Services)
	require.Equal(t, "initializing", down.Phase)
	require.NotEmpty(t, down.Check)
	require.Nil(t, down.LastCheck, "no check has run")
	require.Equal(t, backendView{Address: gone.String(), State: "up", Services: []useView{}}, got[gone.String()])
}

func TestAPI_BackendsTellOfTheLastCheck(t *testing.T) {
	d, one, _ := deskOf(t, nil)
	var uses []health.Use
	for _, use := range d.Proxy.Table().Backends() {
		uses = append(uses, health.Use{Backend: use.Backend, Check: use.Check, Service: "blog"})
	}
	checker := health.NewChecker(zap.NewNop())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { // ends with cancel
		defer close(done)
		checker.Run(ctx)
	}()
	checker.Set(uses)
	require.Eventually(t, func() bool {
		s := uses[0].Backend.Status()
		return s != nil && s.Passed > 0
	}, time.Minute, time.Millisecond)
	cancel()
	<-done
	var list []backendView
	d.decode("/api/backends", &list)
	for _, b := range list {
		if b.Address == one.String() {
			require.Equal(t, "healthy", b.Phase)
			require.Equal(t, "ok", b.LastCheck.Result)
			require.Positive(t, b.LastCheck.Passed)
			require.Positive(t, b.LastCheck.TookMS)
			require.WithinDuration(t, time.Now(), b.LastCheck.At, time.Minute)
			return
		}
	}
	require.Fail(t, "not listed", one)
}

func TestAPI_Rejected(t *testing.T) {
	d := newDesk(t, func(c *Config) {
		c.Problems = func() []rules.Problem {
			return []rules.Problem{
				{Rule: "r", Origin: "rules.yml:3", Other: "rules.yml:1", Reason: "can never be reached", Fatal: false},
				{Origin: "rules.yml:7", Reason: "unknown service", Fatal: true},
			}
		}
	})
	var got []problemView
	d.decode("/api/rejected", &got)
	require.Equal(t, []problemView{
		{Rule: "r", Origin: "rules.yml:3", Other: "rules.yml:1", Reason: "can never be reached", InForce: true},
		{Origin: "rules.yml:7", Reason: "unknown service"},
	}, got)
}

func TestAPI_Version(t *testing.T) {
	d := newDesk(t, nil)
	var got versionView
	d.decode("/api/version", &got)
	require.Equal(t, "v1.2.3", got.Version)
	require.Equal(t, runtime.Version(), got.Go)
	require.Equal(t, os.Getpid(), got.PID)
	require.WithinDuration(t, time.Now(), got.Started, time.Minute)
}

func TestHealthz(t *testing.T) {
	ready, reason := true, ""
	d, _, _ := deskOf(t, func(c *Config) {
		c.Ready = func() (bool, string) { return ready, reason }
		c.Problems = func() []rules.Problem { return []rules.Problem{{Fatal: true}, {}} }
	})
	f := func(path string, want int, body string) {
		t.Helper()
		status, got := d.ask("GET", path)
		require.Equal(t, want, status)
		require.Equal(t, body, got)
	}
	f("/healthz", 200, "ok\n")
	f("/healthz?verbose", 200, "[+] ready\n[+] event loops\n[+] engine\n[!] rules: 1 rejected, see /api/rejected\n[+] service blog: 1 of 2 servers usable\nok\n")
	for _, b := range d.Registry.All() {
		b.SetDown(true, &health.Verdict{Reason: "test"})
	}
	f("/healthz?verbose", 200, "[+] ready\n[+] event loops\n[+] engine\n[!] rules: 1 rejected, see /api/rejected\n[!] service blog: 0 of 2 servers usable\nok\n")
	ready, reason = false, "draining"
	f("/healthz", 503, "ready: draining\n")
	ready = true
	d.Proxy.Stop()
	f("/healthz", 503, "event loops: 2 do not answer\n")
}

func TestHealth_NamesWhatHasNoAddressAndTellsOfAServiceOnce(t *testing.T) {
	d := newDesk(t, nil)
	in, one, _ := twoRules(t)
	in.Services[0].Instances[1] = rules.Instance{Host: "two.example"}
	in.Rules = append(in.Rules, rules.Rule{Port: in.Rules[0].Port, Address: in.Rules[0].Address, Path: "/x", TargetPort: one.Port(), Service: "blog"})
	d.use(in)
	_, body := d.ask("GET", "/healthz?verbose")
	require.Equal(t, "[+] ready\n[+] event loops\n[+] engine\n[+] rules\n[+] service blog: 1 of 1 servers usable; no address for two.example\nok\n", body)
}

func TestServer_MetricsAreClean(t *testing.T) {
	d, _, _ := deskOf(t, nil)
	_, body := d.ask("GET", "/metrics")
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)
}
