package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// newHoldBed is a bed of one Loop whose service lets requests wait.
func newHoldBed(t *testing.T, hold time.Duration, change func(*bed), backends ...string) *bed {
	t.Helper()
	return newBed(t, func(b *bed) {
		b.loops = 1
		b.service.Hold = &hold
		if change != nil {
			change(b)
		}
	}, backends...)
}

// serveAt puts one server into use and leaves the other options as they are.
func (b *bed) serveAt(at string) {
	b.t.Helper()
	b.service.Instances = newBedService(at).Instances
	b.apply()
}

// begin sends raw on a new connection, of which the engine then holds one more request.
func (b *bed) begin(raw string) net.Conn {
	b.t.Helper()
	before := b.queued()
	c := b.dial()
	_, err := io.WriteString(c, raw)
	require.NoError(b.t, err)
	require.Eventually(b.t, func() bool { return b.queued() == before+1 }, eventually, tick)
	return c
}

func rest(t *testing.T, c net.Conn) string {
	t.Helper()
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	return string(got)
}

const closingJSON = "GET / HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\nConnection: close\r\n\r\n"

func TestHold_RequestsWaitForTheNextServer(t *testing.T) {
	b := newHoldBed(t, time.Minute, nil)
	echo := backend(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprint(w, r.Method, " ", string(body))
	})
	idle := b.begin(closing)
	half := b.begin("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 8\r\n\r\nhalf")
	long := b.begin(fmt.Sprintf("PUT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", 300<<10))
	go func() { _, _ = io.WriteString(long, strings.Repeat("x", 300<<10)) }() // ends with what it writes
	b.apply()                                                                 // still nobody
	b.serveAt(echo)
	require.Contains(t, rest(t, idle), "200 OK")
	_, err := io.WriteString(half, "full")
	require.NoError(t, err)
	require.Contains(t, rest(t, half), "POST halffull")
	require.Contains(t, rest(t, long), strings.Repeat("x", 300<<10))
	require.Zero(t, b.queued())
}

// Containers are announced when they start, and listen a moment later.
func TestHold_TriesAgainWhoDoesNotListenYet(t *testing.T) {
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), freePort(t)).String()
	b := newHoldBed(t, time.Minute, nil, at)
	c := b.begin(closing)
	l, err := net.Listen("tcp", at)
	require.NoError(t, err)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "at last") })}
	go func() { _ = s.Serve(l) }() // ends with Close
	t.Cleanup(func() { _ = s.Close() })
	require.Contains(t, rest(t, c), "at last")
}

func TestHold_EndsWhenACheckBringsAServerBack(t *testing.T) {
	b := newHoldBed(t, time.Minute, nil, named(t, "here"))
	server := b.registry.All()[0]
	server.SetDown(true, &health.Verdict{At: now(), Reason: "status 500"})
	c := b.begin(closing)
	server.SetDown(false, &health.Verdict{At: now(), Reason: "ok"})
	require.Contains(t, rest(t, c), "here")
}

func TestHold_EndsWithTheTruth(t *testing.T) {
	f := func(want string, hold time.Duration, change func(*bed), backends ...string) {
		t.Helper()
		b := newHoldBed(t, hold, change, backends...)
		got := b.exchange(closingJSON)
		require.Contains(t, got, want)
		require.Zero(t, b.queued())
	}
	f(`{"status":503,"error":"no_backend"`, 100*time.Millisecond, nil)
	f(`{"status":503,"error":"no_backend"`, 0, nil)
	f(`{"status":502,"error":"connect_failed"`, 100*time.Millisecond, nil, refusing(t))
	f(`{"status":504,"error":"total_timeout"`, time.Minute, func(b *bed) { b.opts.TotalTimeout = 100 * time.Millisecond })
}

func TestHold_FailsByTheNewTableWithFewerServers(t *testing.T) {
	b := newHoldBed(t, 2*time.Second, nil, refusing(t), refusing(t), refusing(t))
	c := b.begin(closing)
	b.service.Instances = nil
	b.apply()
	require.Contains(t, rest(t, c), "502 Bad Gateway")
}

func TestHold_EndsWhenItsRuleDoes(t *testing.T) {
	f := func(change func(*bed)) {
		t.Helper()
		b := newHoldBed(t, time.Minute, func(b *bed) { b.rule.Hostname = "x.test" })
		c := b.begin(closing)
		change(b)
		b.serveAt(named(t, "not for this one"))
		require.Contains(t, rest(t, c), "503 Service Unavailable")
	}
	f(func(b *bed) { b.rule.Hostname, b.rule.Service, b.service.Name = "other.test", "other", "other" })
	f(func(b *bed) { b.rule.AddPrefix = "/added" })
	f(func(b *bed) { b.rule.Redirect, b.rule.Service = &rules.Redirect{Host: "y"}, "" })
	f(func(b *bed) { b.rule.Port = freePort(t) })
}

func TestHold_ClientsLeave(t *testing.T) {
	b := newHoldBed(t, time.Minute, nil)
	one, two, three := b.begin(closing), b.begin(closing), b.begin(closing)
	require.NoError(t, two.(*net.TCPConn).SetLinger(0))
	require.NoError(t, two.Close())
	require.Eventually(t, func() bool { return b.queued() == 2 }, eventually, tick)
	b.serveAt(named(t, "here"))
	require.Contains(t, rest(t, one), "here")
	require.Contains(t, rest(t, three), "here")
}

func TestHold_HasABound(t *testing.T) {
	b := newHoldBed(t, time.Minute, func(b *bed) { b.opts.QueueLength = 1 })
	c := b.begin(closing)
	require.Contains(t, b.exchange(closingJSON), `"error":"no_backend"`)
	b.serveAt(named(t, "here"))
	require.Contains(t, rest(t, c), "here")
}

func TestHold_EndsWithADrain(t *testing.T) {
	b := newHoldBed(t, time.Minute, nil)
	c := b.begin(closing)
	ctx, cancel := context.WithTimeout(context.Background(), eventually)
	defer cancel()
	require.NoError(t, b.Drain(ctx))
	require.Contains(t, rest(t, c), "503 Service Unavailable")
}

func TestExchange_RefusedConnectionsLeadToEveryTarget(t *testing.T) {
	f := func(retries int) {
		t.Helper()
		dead := []string{refusing(t), refusing(t), refusing(t), refusing(t), refusing(t)}
		b := newBed(t, func(b *bed) { b.opts.Retries, b.opts.RetryBudget = retries, 0 }, append(dead, named(t, "alive"))...)
		for range 3 {
			r, err := http.Post(b.url("/"), "text/plain", strings.NewReader("nothing was sent yet"))
			require.NoError(t, err)
			_ = r.Body.Close()
			require.Equal(t, 200, r.StatusCode)
		}
	}
	f(0)
	f(2)
}

func TestExchange_RetriesBoundWhatIsRepeated(t *testing.T) {
	f := func(retries, want int) {
		t.Helper()
		asked := make(chan struct{}, 10)
		die := func() string {
			return script(t, func(c net.Conn, _ string) { asked <- struct{}{}; _ = c.Close() })
		}
		b := newBed(t, func(b *bed) { b.opts.Retries = retries }, die(), refusing(t), die(), die(), die())
		require.Equal(t, "502 Bad Gateway", status(b.exchange(closing)))
		require.Len(t, asked, want)
	}
	f(0, 1)
	f(2, 3)
}
