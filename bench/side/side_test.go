//go:build linux

package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/configs"
)

const wrkSays = `Running 2s test @ http://127.0.0.1:8900/
  2 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   805.13us  695.10us  14.46ms   95.55%
    Req/Sec    42.34k     3.83k   50.84k    67.50%
  Latency Distribution
     50%  674.00us
     75%    0.87ms
     90%    1.20ms
     99%    3.45ms
  168587 requests in 2.01s, 37.94MB read
`

func TestParseWrk(t *testing.T) {
	f := func(out string, want load) {
		t.Helper()
		got, err := parseWrk(out)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	rates := "Requests/sec:  83913.77\nTransfer/sec:     18.88MB\n"
	want := load{requests: 168587, perSecond: 83913.77, p50: 674 * time.Microsecond, p99: 3450 * time.Microsecond}
	f(wrkSays+rates, want)
	want.failed = 10
	f(wrkSays+"  Socket errors: connect 1, read 2, write 3, timeout 4\n"+rates, want)
	want.failed = 7
	f(wrkSays+"  Non-2xx or 3xx responses: 7\n"+rates, want)
	want.failed = 17
	f(wrkSays+"  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 7\n"+rates, want)
}

func TestParseWrk_Rejects(t *testing.T) {
	f := func(out string) {
		t.Helper()
		_, err := parseWrk(out)
		require.Error(t, err)
	}
	f("")
	f("unable to connect to 127.0.0.1:1 Connection refused\n")
	f("\n    50%    0.00us\n    99%    0.00us\n  0 requests in 2.00s, 0.00B read\nRequests/sec:      0.00\n")
}

func TestUsageOf_AddsUpDescendants(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	stat := func(pid, name, parent, user, system string) *fstest.MapFile {
		return file(pid + " (" + name + ") S " + parent + " 1 1 0 -1 4194560 1 0 0 0 " + user + " " + system + " 0 0 20 0 1 0 100 0\n")
	}
	proc := fstest.MapFS{
		"1/stat":          stat("1", "init", "0", "900", "900"),
		"10/stat":         stat("10", "nginx: master", "1", "1", "2"),
		"10/smaps_rollup": file("55-7ff ---p 00000000 00:00 0    [rollup]\nRss:    1000 kB\nPss:     10 kB\n"),
		"11/stat":         stat("11", "odd) name (", "10", "30", "40"),
		"11/smaps_rollup": file("Rss:    2000 kB\n"),
		"12/stat":         stat("12", "other", "1", "500", "500"),
		"self/stat":       file("not a process id"),
	}
	got, err := usageOf(proc, 10)
	require.NoError(t, err)
	require.Equal(t, usage{cpu: 730 * time.Millisecond, rss: 3000 << 10}, got)

	_, err = usageOf(proc, 13)
	require.ErrorContains(t, err, "it has ended")
}

func TestMedian(t *testing.T) {
	f := func(want float64, v ...float64) {
		t.Helper()
		require.InDelta(t, want, median(v), 1e-9)
	}
	f(5, 5)
	f(3, 4, 2)
	f(2, 9, 1, 2)
	f(2.5, 4, 1, 3, 2)
}

func TestReport_ComparesWithBetterPeer(t *testing.T) {
	m := func(name string, perSecond float64, p99 time.Duration, cpu float64) speed {
		return speed{contender: name, connections: 64, path: "/", rounds: []round{
			{load: load{perSecond: perSecond, p50: p99 / 2, p99: p99}, cpu: cpu},
		}}
	}
	r := report{
		options: options{connections: []int{64}, paths: []string{"/"}, rounds: 1, duration: time.Second, threads: 2, idle: 10},
		machine: []string{"a machine"},
		plain: figures{
			speed: []speed{
				m("lb", 1200, 2*time.Millisecond, 9),
				m("nginx", 1000, 4*time.Millisecond, 10),
				m("HAProxy", 800, time.Millisecond, 12),
				m("floor", 1500, time.Millisecond, 8),
			},
			memory: []memory{{contender: "lb", before: 2048, with: 4096, each: 204.8}},
		},
		secure: figures{
			speed:      []speed{m("lb", 600, 2*time.Millisecond, 9)},
			handshakes: []prices{{"lb", []float64{400, 100}}, {"nginx", []float64{500, 80}}, {"HAProxy", []float64{200, 160}}},
		},
		streams: figures{
			opened:    []prices{{"lb", []float64{50}}, {"HAProxy", []float64{100}}},
			memory:    []memory{{contender: "lb", before: 1024, with: 3072, each: 204.8}},
			datagrams: []prices{{"lb", []float64{10, 20}}, {"nginx", []float64{20, 50}}},
		},
	}
	require.Equal(t, `# lb side by side

- a machine
- backends, contenders and wrk share the machine; medians of 1 alternating rounds of 1s; 2 threads each

## /, 64 connections

| proxy | requests/s | p50, ms | p99, ms | CPU, µs/request | failed |
|---|---|---|---|---|---|
| lb | 1200 | 1.00 | 2.00 | 9.00 | 0 |
| nginx | 1000 | 2.00 | 4.00 | 10.00 | 0 |
| HAProxy | 800 | 0.50 | 1.00 | 12.00 | 0 |
| floor | 1500 | 0.50 | 1.00 | 8.00 | 0 |

| lb divided by | requests/s | p99 | CPU/request |
|---|---|---|---|
| nginx | 1.20 | 0.50 | 0.90 |
| HAProxy | 1.50 | 2.00 | 0.75 |
| floor | 0.80 | 2.00 | 1.12 |
| the better of nginx and HAProxy | 1.20 | 2.00 | 0.90 |

## 10 idle keep-alive connections

| proxy | resident before, KiB | with them, KiB | bytes/connection |
|---|---|---|---|
| lb | 2 | 4 | 205 |

## TLS: /, 64 connections

| proxy | requests/s | p50, ms | p99, ms | CPU, µs/request | failed |
|---|---|---|---|---|---|
| lb | 600 | 1.00 | 2.00 | 9.00 | 0 |

## TLS: connections for one request each

| proxy | full handshakes per CPU second | resumed |
|---|---|---|
| lb | 2500 | 10000 |
| nginx | 2000 | 12500 |
| HAProxy | 5000 | 6250 |

| lb divided by | full | resumed |
|---|---|---|
| the better of nginx and HAProxy | 0.50 | 0.80 |

## tcp: connections for one request each

| proxy | connections per CPU second |
|---|---|
| lb | 20000 |
| HAProxy | 10000 |

| lb divided by | connections |
|---|---|
| the better of nginx and HAProxy | 2.00 |

## tcp: 10 idle tunnels

| proxy | resident before, KiB | with them, KiB | bytes/connection |
|---|---|---|---|
| lb | 1 | 3 | 205 |

## udp: datagrams of 64 bytes

| proxy | answered datagrams per CPU second, of old clients | of new ones |
|---|---|---|
| lb | 100000 | 50000 |
| nginx | 50000 | 20000 |

| lb divided by | old | new |
|---|---|---|
| the better of nginx and HAProxy | 2.00 | 2.50 |
`, r.String())
	require.NoError(t, r.check())

	r.plain.speed[0].rounds[0].failed = 3
	require.EqualError(t, r.check(), "lb, /, 64 connections: 3 requests failed")
}

func TestLBCommand_WritesRulesThatLoad(t *testing.T) {
	s := site{dir: t.TempDir(), lb: "/bin/lb", threads: 2, connections: 64}
	for _, b := range []string{"127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003"} {
		s.backends = append(s.backends, netip.MustParseAddrPort(b))
	}
	id, err := newIdentity(s.dir)
	require.NoError(t, err)
	f := func(secure *identity, protocol string) {
		t.Helper()
		s := s
		s.secure = secure
		got := loadLB(t, s)
		require.Len(t, got.Rules, 1)
		require.Equal(t, protocol, got.Rules[0].Protocol)
		require.Equal(t, uint16(8000), got.Rules[0].Port)
		require.Equal(t, hostname, got.Rules[0].Hostname)
		require.Len(t, got.Services, 1)
		require.Len(t, got.Services[0].Instances, 3)
	}
	f(nil, "")
	f(id, "https")

	s.stream = true
	got := loadLB(t, s)
	require.Len(t, got.Rules, 2)
	require.Equal(t, "tcp", got.Rules[0].Protocol)
	require.Equal(t, "udp", got.Rules[1].Protocol)
}

func loadLB(t *testing.T, s site) *configs.Config {
	t.Helper()
	cmd, err := lbCommand(s, netip.MustParseAddrPort("127.0.0.1:8000"))
	require.NoError(t, err)
	path := filepath.Join(s.dir, "lb.yml")
	require.Subset(t, cmd.Args, []string{"/bin/lb", "-config", path})

	got, err := configs.Load([]string{path}, "")
	require.NoError(t, err)
	require.Empty(t, got.Problems)
	return got
}

// start tries every contender before it returns it, so this is all it takes to
// know that the configurations are right.
func TestContenders_DoTheJob(t *testing.T) {
	s := site{dir: t.TempDir(), threads: 2, connections: 64}
	require.NoError(t, build(t.Context(), s.dir, false))
	backends, err := startBackends(&s)
	require.NoError(t, err)
	defer backends.stop()

	o := options{only: "nginx,HAProxy,fasthttp proxy,floor", require: os.Getenv("LB_TEST_REQUIRE") == "all"}
	all, err := present(o)
	require.NoError(t, err)
	f := func(c contender, s site) {
		t.Helper()
		p, addr, err := c.start(s)
		require.NoError(t, err)
		defer p.stop()
		conns, err := connect(s, addr, 10)
		defer closeAll(conns)
		require.NoError(t, err, c.name)
		u, err := p.usage()
		require.NoError(t, err, c.name)
		require.Positive(t, u.rss, c.name)
	}
	secure := s
	secure.secure, err = newIdentity(s.dir)
	require.NoError(t, err)
	for _, c := range all {
		f(c, s)
		if !c.plain {
			f(c, secure)
		}
	}
	s.stream = true
	for _, c := range streamers(all) {
		f(c, s)
	}
}
