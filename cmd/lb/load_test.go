package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// These tests count failed requests while something happens, and want none.

// clients is how many connections the load has.
const clients = 64

// load is a run of wrk.
type load struct {
	t   *testing.T
	cmd *exec.Cmd
	out bytes.Buffer
}

// startLoad lets wrk loose on a port until stop.
func startLoad(t *testing.T, port int) *load {
	t.Helper()
	return startLoadOn(t, "http://"+local(port)+"/")
}

func startLoadOn(t *testing.T, url string, args ...string) *load {
	t.Helper()
	l := &load{t: t}
	args = append([]string{"-t2", "-c", strconv.Itoa(clients), "-d", "10m", "--timeout", "60s"}, args...)
	l.cmd = exec.Command(need(t, "wrk"), append(args, url)...)
	l.cmd.Stdout, l.cmd.Stderr = &l.out, &l.out
	require.NoError(t, l.cmd.Start())
	t.Cleanup(func() {
		if l.cmd.ProcessState == nil {
			_ = l.cmd.Process.Kill()
			_ = l.cmd.Wait()
		}
	})
	return l
}

var (
	wrkTotal  = regexp.MustCompile(`(\d+) requests in`)
	wrkErrors = regexp.MustCompile(`Socket errors: .*|Non-2xx or 3xx responses: .*`)
)

// stop ends wrk and wants all requests to have been answered with 200.
func (l *load) stop() (requests int) {
	l.t.Helper()
	require.NoError(l.t, l.cmd.Process.Signal(syscall.SIGINT))
	require.NoError(l.t, l.cmd.Wait(), "%s", &l.out)
	require.Empty(l.t, wrkErrors.FindAllString(l.out.String(), -1))
	total := wrkTotal.FindStringSubmatch(l.out.String())
	require.NotNil(l.t, total, "%s", &l.out)
	requests, err := strconv.Atoi(total[1])
	require.NoError(l.t, err)
	require.Greater(l.t, requests, 100, "was there any load?")
	l.t.Logf("%d requests, none failed", requests)
	return requests
}

// checkedRules has three servers under an eager health check.
func checkedRules(port int, servers []int) string {
	return fmt.Sprintf(`port_rules:
- {source_port: %d, address: 127.0.0.1, service: blog}
services:
  blog:
    servers: ["127.0.0.1:%d", "127.0.0.1:%d", "127.0.0.1:%d"]
    health_check: {request_line: GET / HTTP/1.0, interval: 50ms, response_timeout: 5s, healthy_threshold: 1, unhealthy_threshold: 1}
admin: "off"
`, port, servers[0], servers[1], servers[2])
}

func TestLoad_ServersKilledAndRestarted(t *testing.T) {
	port := freePort(t)
	servers := make([]*process, 3)
	at := make([]int, 3)
	for i := range servers {
		at[i] = freePort(t)
		servers[i] = startServer(t, fmt.Sprint("server-", i), at[i])
	}
	p := start(t, "-config", write(t, "rules.yml", checkedRules(port, at)))
	l := startLoad(t, port)
	for range 10 {
		for i := range servers {
			require.NoError(t, servers[i].Process.Kill())
			p.await("server is down", local(at[i]))
			servers[i] = startServer(t, fmt.Sprint("server-", i), at[i])
			p.await("server is up", local(at[i]))
		}
	}
	l.stop()
}

func TestLoad_TwoHundredReloads(t *testing.T) {
	port := freePort(t)
	other := freePort(t)
	servers := []string{namedServer(t, "one"), namedServer(t, "two"), namedServer(t, "three")}
	file := write(t, "rules.yml", rulesFor(port, servers...))
	p := start(t, "-config", file)
	l := startLoad(t, port)
	for i := range 200 {
		// A server leaves and comes back, and so does a listener.
		text := rulesFor(port, servers[i%3], servers[(i+1)%3])
		if i%2 == 0 {
			text = strings.Replace(rulesFor(port, servers...), "services:",
				fmt.Sprintf("- {source_port: %d, address: 127.0.0.1, service: blog}\nservices:", other), 1)
		}
		write(t, file, text)
		p.signal(syscall.SIGHUP)
		p.await(`"reloaded"`)
	}
	l.stop()
}

func TestLoad_HandOver(t *testing.T) {
	port := freePort(t)
	file := write(t, "rules.yml", rulesFor(port, namedServer(t, "one"), namedServer(t, "two")))
	p := start(t, "-config", file)
	l := startLoad(t, port)
	pid := handOver(t, p)
	require.Zero(t, p.exit())
	for range 4 { // a successor has successors
		pid = handOverFrom(t, p, pid)
	}
	l.stop()
	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	awaitEnd(t, pid)
}

// counting is a client that knows of each of its requests how it ended. wrk does
// not tell a refused connection from a cut one.
type counting struct {
	address  string
	tls      *tls.Config // nil: in the clear
	answered atomic.Int64
	closing  atomic.Bool // new connections may be refused from now on

	mu     sync.Mutex
	failed []error
}

// askers is how many such clients ask at once: few enough for each to ask again
// within the second that a draining lb keeps its connection for, on a busy machine too.
const askers = 16

// run asks until it is refused or ctx ends.
func (c *counting) run(ctx context.Context) {
	for ctx.Err() == nil {
		conn, err := net.Dial("tcp", c.address)
		if err != nil {
			if !c.closing.Load() || !errors.Is(err, syscall.ECONNREFUSED) {
				c.fail(err)
			}
			return
		}
		if c.tls != nil {
			conn = tls.Client(conn, c.tls)
		}
		err = c.ask(ctx, conn)
		conn.Close()
		if err != nil {
			c.fail(err)
			return
		}
	}
}

// ask sends requests over one connection until it is told that one was the last.
func (c *counting) ask(ctx context.Context, conn net.Conn) error {
	in := bufio.NewReader(conn)
	for ctx.Err() == nil {
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: arzur.net\r\n\r\n"); err != nil {
			return err
		}
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r.Body)
		switch {
		case err != nil:
			return err
		case r.StatusCode != http.StatusOK:
			return errors.New(r.Status)
		}
		c.answered.Add(1)
		if r.Close {
			return nil
		}
	}
	return nil
}

func (c *counting) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = append(c.failed, err)
}

func TestLoad_SIGTERM(t *testing.T) {
	servers := []string{namedServer(t, "one"), namedServer(t, "two")}
	total := int64(0)
	for range 5 {
		port := freePort(t)
		p := start(t, "-config", write(t, "rules.yml", rulesFor(port, servers...)))
		c := &counting{address: local(port)}
		var running sync.WaitGroup
		for range askers {
			running.Go(func() { c.run(t.Context()) })
		}
		require.Eventually(t, func() bool { return c.answered.Load() > 100*askers }, patience, millisecond)
		c.closing.Store(true)
		p.signal(syscall.SIGTERM)
		running.Wait()
		require.Zero(t, p.exit())
		require.Empty(t, c.failed)
		total += c.answered.Load()
	}
	t.Logf("%d requests, none failed", total)
}
