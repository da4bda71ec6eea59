//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"
)

// clientFaults are harm by clients.
var clientFaults = []experiment{
	{"files", "256 descriptors, 1,000 clients with a request each at once", "all are answered; who was there loses nothing; no server is ejected", files},
	{"idle", "10,000 idle connections, half of them under TLS", "nothing fails; 8 KiB of memory each at most; files go back", idle},
	{"slow heads", "3,000 clients send a byte of a head a second", "nothing else fails; all are gone after header_timeout, 3 s", slow("GET / HTTP/1.1\r\nHost: arzur.net\r\nX: ")},
	{"slow bodies", "3,000 clients send a byte of a body a second", "nothing else fails", slow("POST / HTTP/1.1\r\nHost: arzur.net\r\nContent-Length: 100000\r\n\r\n")},
	{"slow readers", "500 clients read 100 MB at 10 kB/s", "nothing else fails; 64 KiB of memory each at most", slowReaders},
}

func (b *bed) crowd(n int, path string) map[string]int {
	var mu sync.Mutex
	ends := map[string]int{}
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			end := "no answer"
			c, err := net.DialTimeout("tcp", "127.0.0.1:"+strconv.Itoa(httpPort), patience)
			if err == nil {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(2 * patience))
				_, _ = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: arzur.net\r\nConnection: close\r\n\r\n", path)
				r, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err == nil {
					_, err = io.Copy(io.Discard, r.Body)
					end = r.Status
				}
				if err != nil {
					end = wording(err)
				}
			}
			mu.Lock()
			ends[end]++
			mu.Unlock()
		})
	}
	all.Wait()
	return ends
}

func (b *bed) startWithFiles(n int, s setting, stderr *os.File) {
	b.configure(s)
	cmd := exec.Command("sh", "-c", fmt.Sprintf("ulimit -n %d; exec %s -config %s -log-format json", n, b.binary, b.path("lb.yml")))
	if stderr != nil {
		cmd.Stderr = stderr
	}
	b.launch(cmd)
}

func files(b *bed) (string, bool) {
	for i := range addresses {
		b.servers[i].kill()
		b.startServer(i, "slow")
	}
	b.startWithFiles(256, setting{service: healthy}, nil)
	l := b.startLoad("get")
	time.Sleep(usual)
	before := b.cpu()
	got := b.crowd(1000, "/?say=hi")
	spent := b.cpu() - before
	up := b.up()
	l2 := l.since()
	time.Sleep(usual)
	ts := l.end()
	return fmt.Sprintf("those there: %s; the crowd: %v; lb used %d ms; %d of 3 servers up; then %s; %d lines about accept", summary(l2), got, spent.Milliseconds(), up, summary(ts), b.lb.says(`"accept"`)),
		lost(l2)+lost(ts) == 0 && up == 3 && got["200 OK"] == 1000
}

func idle(b *bed) (string, bool) {
	b.start(setting{service: healthy})
	l := b.startLoad()
	time.Sleep(usual)
	before := b.usage()
	var all []*client
	for i := range 10000 {
		c := &client{bed: b, kind: kinds[i%2*2]}
		if err := c.ask(); err != nil {
			return "a client in the crowd: " + err.Error(), false
		}
		all = append(all, c)
	}
	full := b.usage()
	time.Sleep(usual)
	for _, c := range all {
		c.close()
	}
	await("the end of the idle", func() bool { return b.metric("lb_client_connections") < 500 })
	time.Sleep(5 * time.Second)
	ts := l.end()
	after := b.usage()
	return fmt.Sprintf("%s; %s before, %s with them, %s after", summary(ts), before, full, after), lost(ts) == 0 && after.files < before.files+100 && full.rss-before.rss < 10000*8
}

func slow(head string) func(b *bed) (string, bool) {
	return func(b *bed) (string, bool) {
		b.start(setting{service: healthy, defaults: "header_timeout: 3s, body_timeout: 3s"})
		l := b.startLoad()
		time.Sleep(usual)
		l.since()
		var all []net.Conn
		for range 3000 {
			c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(httpPort))
			check(err)
			_, _ = io.WriteString(c, head)
			all = append(all, c)
		}
		during := b.usage()
		for range 6 {
			time.Sleep(time.Second)
			for _, c := range all {
				_, _ = io.WriteString(c, "x")
			}
		}
		left := b.metric("lb_client_connections")
		ts := l.end()
		for _, c := range all {
			c.Close()
		}
		return fmt.Sprintf("%s; GET p99 %d ms; %s; %0.f connections left after 6 s", summary(ts), ts["get"].at(99).Milliseconds(), during, left), lost(ts) == 0
	}
}

func slowReaders(b *bed) (string, bool) {
	b.start(setting{service: healthy})
	l := b.startLoad()
	time.Sleep(usual)
	l.since()
	before := b.usage()
	var all []net.Conn
	for i := range 500 {
		c := &client{bed: b, kind: kinds[i%2*2]}
		check(c.dial())
		_, err := io.WriteString(c.conn, "GET /large HTTP/1.1\r\nHost: arzur.net\r\n\r\n")
		check(err)
		all = append(all, c.conn)
	}
	p := make([]byte, 1000)
	for range 50 {
		time.Sleep(100 * time.Millisecond)
		for _, c := range all {
			_, _ = c.Read(p)
		}
	}
	during := b.usage()
	ts := l.end()
	for _, c := range all {
		c.Close()
	}
	each := (during.rss - before.rss) / 500
	return fmt.Sprintf("%s; GET p99 %d ms; %d KiB each; %s", summary(ts), ts["get"].at(99).Milliseconds(), each, during), lost(ts) == 0 && each <= 64
}
