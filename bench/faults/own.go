//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// ownFaults are harm to lb itself.
var ownFaults = []experiment{
	{"reloads", "1,000 reloads, each with another rule", "nothing fails; no websocket ends; memory, files and goroutines stay", reloads},
	{"hand-overs", "50 hand-overs to a new process", "nothing fails", handOvers},
	{"broken files", "100 broken configurations", "all are rejected; nothing fails", brokenFiles},
	{"port taken", "a reload wants a port that is taken", "it is rejected; nothing fails", portTaken},
	{"killed", "lb is killed and started again, 5 times", "serves again in 1 s; no connection loses more than the request that was on it", killed},
	{"stopped", "lb is stopped for 5 s (SIGSTOP) with 2,000 requests under way", "nothing fails; no server is ejected", stopped},
}

// tunnels are websockets through lb, which send and want to hear the same.
type tunnels struct {
	stop  atomic.Bool
	lost  atomic.Int64
	going sync.WaitGroup
}

func (b *bed) openTunnels(n int) *tunnels {
	t := &tunnels{}
	for i := range n {
		port := []int{httpPort, httpsPort}[i%2]
		c := &client{bed: b, kind: kind{port: port, secure: port == httpsPort}}
		check(c.dial())
		_, err := io.WriteString(c.conn, "GET /echo HTTP/1.1\r\nHost: arzur.net\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		check(err)
		r, err := http.ReadResponse(c.in, nil)
		check(err)
		if r.StatusCode != 101 {
			check(errors.New(r.Status))
		}
		t.going.Go(func() { // ends with stop
			defer c.close()
			for p := make([]byte, 5); !t.stop.Load(); time.Sleep(100 * time.Millisecond) {
				_ = c.conn.SetDeadline(time.Now().Add(patience))
				_, err := io.WriteString(c.conn, "hello")
				if err == nil {
					_, err = io.ReadFull(c.in, p)
				}
				if err != nil || string(p) != "hello" {
					t.lost.Add(1)
					return
				}
			}
		})
	}
	return t
}

func (t *tunnels) end() int64 {
	t.stop.Store(true)
	t.going.Wait()
	return t.lost.Load()
}

func reloads(b *bed) (string, bool) {
	b.start(setting{service: healthy})
	l, ws := b.startLoad(), b.openTunnels(20)
	time.Sleep(usual)
	for range 50 { // what a first reload leaves behind is not a leak
		b.reload(`"reloaded"`)
	}
	before, calm := b.usage(), l.since()
	began := time.Now()
	for i := range 1000 {
		b.configure(setting{service: healthy, rules: fmt.Sprintf("- {source_port: %d, address: 127.0.0.1, path: /other%d, service: web}\n", httpPort, i)})
		b.reload(`"reloaded"`)
	}
	took, during := time.Since(began), l.since()
	time.Sleep(usual)
	after := b.usage()
	rest := l.end()
	cut := ws.end()
	return fmt.Sprintf("%s, in %s; websockets lost: %d; GET p99 %d ms, then %d ms; %s before, %s after", summary(during), took.Round(time.Second), cut,
			calm["get"].at(99).Milliseconds(), during["get"].at(99).Milliseconds(), before, after),
		lost(calm)+lost(during)+lost(rest) == 0 && cut == 0 && after.goroutines < before.goroutines+20 && after.rss < before.rss+8<<10
}

func handOvers(b *bed) (string, bool) {
	b.start(setting{service: healthy, defaults: "drain_timeout: 3s"})
	first := b.lb
	defer func() { b.lb = first }()
	l := b.startLoad()
	time.Sleep(usual)
	pid := first.Process.Pid
	b.later(func() { _ = syscall.Kill(pid, syscall.SIGKILL) }) // the newest; those before end by themselves
	slowest := time.Duration(0)
	for range 50 {
		check(syscall.Kill(pid, syscall.SIGUSR2))
		old := pid
		slowest = max(slowest, await("successor", func() bool {
			_, rest, _ := strings.Cut(b.get(adminPort, "/api/version"), `"pid": `)
			_, _ = fmt.Sscan(rest, &pid)
			return pid != old
		}))
	}
	time.Sleep(usual)
	ts := l.end()
	check(syscall.Kill(pid, syscall.SIGTERM))
	return fmt.Sprintf("%s; slowest %d ms", summary(ts), slowest.Milliseconds()), lost(ts) == 0
}

func brokenFiles(b *bed) (string, bool) {
	good := setting{service: healthy}
	b.start(good)
	l := b.startLoad()
	time.Sleep(usual)
	text, err := os.ReadFile(b.path("lb.yml"))
	check(err)
	breaks := []func(string) string{
		func(s string) string { return s[:len(s)/2] + "\n\t{" },
		func(s string) string { return strings.Replace(s, "service: web", "servic: web", 1) },
		func(s string) string { return strings.Replace(s, "port_rules:", "port_rules: 1", 1) },
		func(s string) string { return strings.Replace(s, "service: web", "service: none", 1) },
		func(s string) string { return strings.Replace(s, "8001", "70000", 1) },
		func(s string) string { return strings.Replace(s, "interval: 500ms", "interval: soon", 1) },
		func(s string) string { return strings.Replace(s, "8001", "8000", 1) }, // two protocols on a port
		func(string) string { return "" },
		func(string) string { return "\x00\xff" },
		func(s string) string { return s + s },
	}
	generation := b.metric("lb_table_generation")
	unseen := 0
	for i := range 100 {
		b.write("lb.yml", breaks[i%len(breaks)](string(text)))
		if i%10 == 0 {
			check(os.Remove(b.path("lb.yml")))
		}
		rejected := b.metric(`lb_reloads_total{result="rejected"}`)
		b.lb.signal(syscall.SIGHUP)
		wait := time.Now().Add(3 * time.Second)
		for b.metric(`lb_reloads_total{result="rejected"}`) == rejected {
			if time.Now().After(wait) {
				unseen++
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	changed := b.metric("lb_table_generation") - generation
	b.configure(good)
	b.reload(`"reloaded"`)
	time.Sleep(usual)
	ts := l.end()
	return fmt.Sprintf("%d of 100 were not rejected, %.0f changes of the table; %s", unseen, changed, summary(ts)), unseen == 0 && changed == 0 && lost(ts) == 0
}

func portTaken(b *bed) (string, bool) {
	b.start(setting{service: healthy})
	taken, err := net.Listen("tcp", "127.0.0.1:8123")
	check(err)
	defer taken.Close()
	l := b.startLoad()
	time.Sleep(usual)
	b.configure(setting{service: healthy, rules: "- {source_port: [8124, 8123], address: 127.0.0.1, service: web}\n"})
	b.reload("in use by another program")
	_, err = net.Dial("tcp", "127.0.0.1:8124")
	time.Sleep(usual)
	ts := l.end()
	return fmt.Sprintf("%s; the other new port: %v", summary(ts), err), lost(ts) == 0 && err != nil
}

func killed(b *bed) (string, bool) {
	s := setting{service: healthy}
	b.start(s)
	l := b.startLoad("get", "post", "https")
	slowest := time.Duration(0)
	for range 5 {
		time.Sleep(usual)
		b.lb.kill()
		began := time.Now()
		b.lb = run(exec.Command(b.binary, "-config", b.path("lb.yml")))
		await("lb", func() bool { return b.get(httpPort, "/?say=hi") == "hi" })
		slowest = max(slowest, time.Since(began))
		l.since()
	}
	time.Sleep(usual)
	ts := l.end()
	return fmt.Sprintf("serves after %d ms at most; then %s", slowest.Milliseconds(), summary(ts)), slowest < time.Second && lost(ts) <= 80
}

// crowd has n clients at once ask for something, and counts how it ended.
func stopped(b *bed) (string, bool) {
	for i := range addresses {
		b.servers[i].kill()
		b.startServer(i, "slow")
	}
	b.start(setting{service: healthy, defaults: "response_timeout: 3s"})
	ends := make(chan map[string]int)
	go func() { ends <- b.crowd(2000, "/?say=hi") }()
	await("the crowd", func() bool { return b.metric("lb_client_connections") > 1000 })
	b.lb.signal(syscall.SIGSTOP)
	time.Sleep(5 * time.Second)
	b.lb.signal(syscall.SIGCONT)
	got := <-ends
	return fmt.Sprintf("%v; %d of 3 servers up", got, b.up()), got["200 OK"] == 2000 && b.up() == 3
}

// stuck is a pipe that is full.
