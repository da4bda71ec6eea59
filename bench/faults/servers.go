//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// usual is how long traffic flows before, and after.
const usual = 2 * time.Second

// serverFaults are harm to servers, and to the network in front of them.
var serverFaults = []experiment{
	{"restart", "each server in turn leaves the rules, ends in order, and comes back, 3 rounds", "nothing fails", rollingRestart},
	{"kill", "one of three servers is killed", "requests that can be repeated: none fails; out within 1 s", killOne},
	{"kill, no check", "likewise, without a health check", "requests that can be repeated: none fails", killUnchecked},
	{"SYN lost", "nobody answers at one server's address; no health check", "no GET fails; from 4 s on GETs have a p99 below 50 ms", blackHole},
	{"cut off", "the network to one server is cut, under connections too; write_timeout is 3 s", "no GET fails, none takes 10 s", cutOff(healthy)},
	{"cut off, no check", "likewise, without a health check", "no GET fails, none takes 10 s", cutOff("")},
	{"frozen", "one server is stopped for 6 s (SIGSTOP), response_timeout is 2 s", "what it was given, and two that try it later, are answered with 504; nothing else fails", frozen},
	{"truncated", "one server ends its answers halfway", "each is seen as cut; others lose nothing", truncated},
	{"retry storm", "all servers hang up on every request", "the servers see 1.2 times the requests at most, and the reserve", retryStorm},
	{"unwell", "all health checks fail, requests are served, when_all_down: try", "nothing fails", unwell},
	{"all down", "all servers are killed for 5 s", "answers within 50 ms; lb grows by less than 20 MiB; well 2 s after the first is back", allDown},
	{"flapping", "one server is killed and started every second, 10 times", "no GET fails", flapping},
	{"loss", "5 % of all packets are lost", "no GET fails", loss},
}

func rollingRestart(b *bed) (string, bool) {
	b.start(setting{service: healthy})
	l := b.startLoad()
	time.Sleep(usual)
	for range 3 {
		for i := range addresses {
			rest := []int{(i + 1) % 3, (i + 2) % 3}
			b.configure(setting{service: healthy, only: rest})
			b.reload(`"reloaded"`)
			b.servers[i].signal(syscall.SIGTERM)
			<-b.servers[i].ended
			b.startServer(i, "")
			b.configure(setting{service: healthy})
			b.reload(`"reloaded"`)
		}
	}
	time.Sleep(usual)
	ts := l.end()
	return summary(ts), lost(ts) == 0
}

func killOne(b *bed) (string, bool) {
	b.start(setting{service: healthy})
	l := b.startLoad()
	time.Sleep(usual)
	b.servers[2].kill()
	out := await("ejection", func() bool { return b.up() == 2 })
	time.Sleep(usual)
	ts := l.end()
	return fmt.Sprintf("%s; out after %d ms", summary(ts), out.Milliseconds()), lost(ts, "get", "https") == 0 && out < time.Second
}

// up is how many servers lb would send requests to.
func (b *bed) up() (n int) {
	var all []struct{ Address, State string }
	_ = json.Unmarshal([]byte(b.get(adminPort, "/api/backends")), &all) // nothing is no server
	for _, s := range all {
		if s.State == "up" && strings.HasSuffix(s.Address, fmt.Sprint(":", plainPort)) {
			n++
		}
	}
	return n
}

func killUnchecked(b *bed) (string, bool) {
	b.start(setting{})
	l := b.startLoad()
	time.Sleep(usual)
	b.servers[2].kill()
	time.Sleep(2 * usual)
	ts := l.end()
	return summary(ts), lost(ts, "get", "https") == 0
}

func blackHole(b *bed) (string, bool) {
	b.start(setting{})
	l := b.startLoad("get", "https")
	time.Sleep(usual)
	b.iptables("INPUT", "-d", addresses[2], "-p", "tcp", "--syn", "-j", "DROP")
	b.servers[2].kill()
	time.Sleep(4 * time.Second)
	before := l.since()
	time.Sleep(20 * time.Second)
	ts := l.end()
	return fmt.Sprintf("first 4 s: %s, p99 %d ms; next 20 s: %s, p99 %d ms, longest %d ms, %d of %d above 1 s", summary(before), before["get"].at(99).Milliseconds(),
		summary(ts), ts["get"].at(99).Milliseconds(), ts["get"].at(100).Milliseconds(), ts["get"].above(time.Second), len(ts["get"].took)), lost(before)+lost(ts) == 0 && ts["get"].at(99) < 50*time.Millisecond
}

func (t *tally) above(d time.Duration) (n int) {
	for _, took := range t.took {
		if took > d {
			n++
		}
	}
	return n
}

func cutOff(service string) func(b *bed) (string, bool) {
	return func(b *bed) (string, bool) {
		b.start(setting{service: service, defaults: "write_timeout: 3s"})
		l := b.startLoad("get", "post", "https")
		time.Sleep(usual)
		b.iptables("INPUT", "-d", addresses[2], "-j", "DROP")
		b.iptables("OUTPUT", "-s", addresses[2], "-j", "DROP")
		time.Sleep(12 * time.Second)
		ts := l.end()
		return fmt.Sprintf("%s; GET p99 %d ms, longest %d ms", summary(ts), ts["get"].at(99).Milliseconds(), ts["get"].at(100).Milliseconds()), lost(ts, "get", "https") == 0
	}
}

func frozen(b *bed) (string, bool) {
	b.start(setting{service: healthy, defaults: "response_timeout: 2s"})
	l := b.startLoad("get", "post", "https")
	time.Sleep(usual)
	b.servers[2].signal(syscall.SIGSTOP)
	time.Sleep(4 * time.Second)
	first := l.since()
	late := 0
	for _, t := range first {
		late += t.failed["504 Gateway Timeout"]
	}
	time.Sleep(usual)
	b.servers[2].signal(syscall.SIGCONT)
	await("return", func() bool { return b.up() == 3 })
	time.Sleep(usual)
	rest := l.end()
	return fmt.Sprintf("first 4 s: %s; then %s", summary(first), summary(rest)), lost(first) == late && lost(rest) <= 2
}

func truncated(b *bed) (string, bool) {
	b.start(setting{})
	b.servers[2].kill()
	b.startServer(2, "half")
	l := b.startLoad("get")
	time.Sleep(8 * time.Second)
	ts := l.end()
	cuts := ts["get"].failed["cut"]
	return fmt.Sprintf("%s; lb counts %.0f as response_cut", summary(ts), b.metric(`lb_failures_total{reason="response_cut"`)), cuts == lost(ts) && cuts > 0
}

func retryStorm(b *bed) (string, bool) {
	b.start(setting{})
	for i := range addresses {
		b.servers[i].kill()
		b.startServer(i, "hang up")
	}
	l := b.startLoad("get")
	time.Sleep(10 * time.Second)
	ts := l.end()
	seen := 0
	for _, a := range addresses {
		n, _ := strconv.Atoi(fetch(fmt.Sprintf("http://%s:%d/count", a, plainPort)))
		seen += n
	}
	sent := ts["get"].sent
	return fmt.Sprintf("%d requests, %d attempts", sent, seen), float64(seen) <= 1.2*float64(sent)+512
}

func unwell(b *bed) (string, bool) {
	for i := range addresses {
		b.servers[i].kill()
		b.startServer(i, "unwell")
	}
	b.start(setting{service: healthy + "\n    when_all_down: try"})
	await("all down", func() bool { return b.up() == 0 })
	l := b.startLoad()
	time.Sleep(2 * usual)
	ts := l.end()
	return summary(ts), lost(ts) == 0
}

func allDown(b *bed) (string, bool) {
	b.start(setting{service: healthy})
	l := b.startLoad("get", "post")
	time.Sleep(usual)
	before := b.usage()
	for _, s := range b.servers {
		s.kill()
	}
	await("all down", func() bool { return b.up() == 0 })
	l.since()
	time.Sleep(5 * time.Second)
	slowest := time.Duration(0)
	for range 20 {
		began := time.Now()
		b.get(httpPort, "/")
		slowest = max(slowest, time.Since(began))
	}
	during, grown := l.since(), b.usage().rss-before.rss
	b.startServer(0, "")
	back := await("recovery", func() bool { return b.get(httpPort, "/?say=hi") == "hi" })
	time.Sleep(100 * time.Millisecond)
	l.since()
	time.Sleep(usual)
	ts := l.end()
	return fmt.Sprintf("down: %s, answered in %d ms at most, lb grew by %d KiB; back after %d ms, then %s", summary(during), slowest.Milliseconds(), grown, back.Milliseconds(), summary(ts)),
		slowest < 50*time.Millisecond && grown < 20<<10 && back < 2*time.Second && lost(ts) == 0
}

func flapping(b *bed) (string, bool) {
	b.start(setting{service: healthy})
	l := b.startLoad()
	for range 10 {
		time.Sleep(time.Second)
		b.servers[1].kill()
		time.Sleep(time.Second)
		b.startServer(1, "")
	}
	time.Sleep(usual)
	ts := l.end()
	return fmt.Sprintf("%s; %d changes of state", summary(ts), b.lb.says("server is up")+b.lb.says("server is down")), lost(ts, "get", "https") == 0
}

func loss(b *bed) (string, bool) {
	b.start(setting{service: healthy})
	l := b.startLoad("get", "post", "https", "tcp", "sni")
	b.iptables("INPUT", "-p", "tcp", "-m", "statistic", "--mode", "random", "--probability", "0.05", "-j", "DROP")
	time.Sleep(15 * time.Second)
	ts := l.end()
	return fmt.Sprintf("%s; GET p50 %d ms, p99 %d ms", summary(ts), ts["get"].at(50).Milliseconds(), ts["get"].at(99).Milliseconds()), lost(ts, "get", "https") == 0
}
