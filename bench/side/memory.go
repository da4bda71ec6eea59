//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// memoryStarts is how often each contender is started afresh to be weighed.
const memoryStarts = 3

// warmUp is how many connections make a request before the first weighing, so
// that what a contender allocates once is not counted as a connection's.
const warmUp = 64

// memory is what idle connections cost one contender. Medians over the starts.
type memory struct {
	contender string
	before    float64 // resident bytes, warm, without connections
	with      float64 // resident bytes with all of them
	each      float64 // bytes a connection
}

func measureMemory(ctx context.Context, o options, s site, contenders []contender) ([]memory, error) {
	fmt.Printf("memory: %d idle connections, %d starts\n", o.idle, memoryStarts)
	var results []memory
	for _, c := range contenders {
		var before, with, each []float64
		for range memoryStarts {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			b, w, err := c.weigh(s, o.idle)
			if err != nil {
				return nil, fmt.Errorf("weigh %s: %w", c.name, err)
			}
			before, with = append(before, float64(b)), append(with, float64(w))
			each = append(each, float64(w-b)/float64(o.idle))
		}
		m := memory{c.name, median(before), median(with), median(each)}
		fmt.Printf("  %-14s %7.0f bytes a connection\n", c.name, m.each)
		results = append(results, m)
	}
	return results, nil
}

// weigh returns the resident memory of a fresh c without and with idle connections,
// each of which made one request.
func (c contender) weigh(s site, idle int) (before, with int, err error) {
	p, addr, err := c.start(s)
	if err != nil {
		return 0, 0, err
	}
	defer p.stop()

	warm, err := connect(s, addr, warmUp)
	closeAll(warm)
	if err != nil {
		return 0, 0, err
	}
	u, err := p.usage()
	if err != nil {
		return 0, 0, err
	}
	before = u.rss

	conns, err := connect(s, addr, idle)
	defer closeAll(conns)
	if err != nil {
		return 0, 0, err
	}
	if u, err = p.usage(); err != nil {
		return 0, 0, err
	}
	return before, u.rss, nil
}

// connect opens n connections, one after another, and has a request answered on
// each. It returns those it opened even when there is an error.
func connect(s site, addr netip.AddrPort, n int) ([]net.Conn, error) {
	var conns []net.Conn
	for range n {
		c, err := s.dial(addr)
		if err != nil {
			return conns, fmt.Errorf("connection %d: %w", len(conns)+1, err)
		}
		conns = append(conns, c)
		status, _, err := ask(c, hostname)
		if err != nil || status != http.StatusOK {
			return conns, fmt.Errorf("request on connection %d: status %d, %w", len(conns), status, err)
		}
	}
	return conns, nil
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		_ = c.Close() // it was only to be held open
	}
}

// ask makes a request on c and returns the status and the length of the body.
func ask(c net.Conn, host string) (status, length int, err error) {
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return 0, 0, err
	}
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host); err != nil {
		return 0, 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, 0, err
	}
	n, err := io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, int(n), err
}

// verify checks that c does the job that is measured: it forwards what its rule
// matches and nothing else.
func (c contender) verify(s site, addr netip.AddrPort) error {
	for host, want := range map[string]bool{hostname: true, "other.test": c.blind || s.stream} {
		conn, err := s.dial(addr)
		if err != nil {
			return err
		}
		status, length, err := ask(conn, host)
		closeAll([]net.Conn{conn})
		if err != nil {
			return fmt.Errorf("ask for host %q: %w", host, err)
		}
		if got := status == http.StatusOK && length == 128; got != want {
			return fmt.Errorf("ask for host %q: got status %d and %d bytes, forwarded %t, want %t", host, status, length, got, want)
		}
	}
	if !s.stream || !c.datagrams {
		return nil
	}
	conn, err := net.Dial("udp", addr.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	return question(conn)
}
