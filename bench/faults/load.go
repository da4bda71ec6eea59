//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// kind is a sort of traffic: where it goes and at which rate, whatever the
// answers take. A request that has to wait for its turn counts from when it was due.
type kind struct {
	name    string
	port    int
	secure  bool
	post    bool
	each    int // requests per connection, 0: no end
	rate    int // requests per second
	clients int
}

// kinds are what lb is asked while something happens.
var kinds = []kind{
	{name: "get", port: httpPort, rate: 200, clients: 40},
	{name: "post", port: httpPort, post: true, rate: 50, clients: 20},
	{name: "https", port: httpsPort, secure: true, each: 20, rate: 60, clients: 20},
	{name: "tcp", port: tcpPort, each: 1, rate: 40, clients: 20},
	{name: "sni", port: sniPort, secure: true, each: 1, rate: 20, clients: 10},
	{name: "udp", port: udpPort, rate: 40, clients: 40},
}

// patience is how long a client waits for anything.
const patience = 10 * time.Second

// tally is what became of the requests of one kind.
type tally struct {
	sent   int
	failed map[string]int // by what the client saw
	took   []time.Duration
}

func (t *tally) lost() (n int) {
	for _, f := range t.failed {
		n += f
	}
	return n
}

// at is a percentile of how long answers took.
func (t *tally) at(percent float64) time.Duration {
	if len(t.took) == 0 {
		return 0
	}
	slices.Sort(t.took)
	return t.took[min(len(t.took)-1, int(float64(len(t.took))*percent/100))]
}

// load is traffic under way.
type load struct {
	bed     *bed
	stop    context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	tally map[string]*tally
}

// startLoad sends traffic of these kinds (all, if none is named) until end.
func (b *bed) startLoad(names ...string) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{bed: b, stop: stop, tally: map[string]*tally{}}
	for _, k := range kinds {
		if len(names) > 0 && !slices.Contains(names, k.name) {
			continue
		}
		l.tally[k.name] = &tally{failed: map[string]int{}}
		due := make(chan time.Time, 100*k.rate)
		l.running.Go(func() { // ends with ctx
			defer close(due)
			tick := time.NewTicker(time.Second / time.Duration(k.rate))
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					due <- time.Now()
				}
			}
		})
		for range k.clients {
			l.running.Go(func() { l.client(k, due) }) // ends with due
		}
	}
	return l
}

// end stops the traffic once what is under way is answered.
func (l *load) end() map[string]*tally {
	l.stop()
	l.running.Wait()
	return l.tally
}

// since is what has become of the requests so far; counting begins anew.
func (l *load) since() map[string]*tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.tally
	l.tally = map[string]*tally{}
	for name := range old {
		l.tally[name] = &tally{failed: map[string]int{}}
	}
	return old
}

func (l *load) client(k kind, due <-chan time.Time) {
	c := &client{bed: l.bed, kind: k}
	defer c.close()
	for at := range due {
		err := c.ask()
		l.mu.Lock()
		t := l.tally[k.name]
		t.sent++
		if err != nil {
			t.failed[wording(err)]++
		} else {
			t.took = append(t.took, time.Since(at))
		}
		l.mu.Unlock()
	}
}

// wording is an error without what differs from one time to the next.
func wording(err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "cut"
	case errors.As(err, &op) && op.Timeout():
		return "no answer"
	case errors.As(err, &op):
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}

// client makes one request after the other.
type client struct {
	bed  *bed
	kind kind
	conn net.Conn
	in   *bufio.Reader
	made int // requests on conn
	n    int
}

var body4k = bytes.Repeat([]byte("0123456789abcdef"), 256)

func (c *client) ask() (err error) {
	if c.conn == nil {
		if err := c.dial(); err != nil {
			return err
		}
	}
	c.n++
	c.made++
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	last := false
	if c.kind.name == "udp" {
		err = c.datagram()
	} else {
		last, err = c.exchange()
	}
	if err != nil || last || c.made == c.kind.each {
		c.close()
	}
	return err
}

func (c *client) dial() (err error) {
	network := "tcp"
	if c.kind.name == "udp" {
		network = "udp"
	}
	address := fmt.Sprintf("127.0.0.1:%d", c.kind.port)
	c.conn, err = net.DialTimeout(network, address, patience)
	if err != nil {
		c.conn = nil
		return err
	}
	if c.kind.secure {
		c.conn = tls.Client(c.conn, c.bed.tls)
	}
	c.in, c.made = bufio.NewReader(c.conn), 0
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// exchange is strict: anything but a whole 200 with the right body has failed.
func (c *client) exchange() (last bool, err error) {
	want := fmt.Sprintf("hello %d", c.n)
	head, body := fmt.Sprintf("GET /?say=hello+%d HTTP/1.1\r\nHost: %s\r\n\r\n", c.n, hostname), []byte(nil)
	if c.kind.post {
		head, body = fmt.Sprintf("POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", hostname, len(body4k)), body4k
		want = string(body4k)
	}
	if _, err := c.conn.Write(append([]byte(head), body...)); err != nil {
		return false, err
	}
	r, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return false, err
	}
	got, err := io.ReadAll(r.Body)
	switch {
	case err != nil:
		return false, err
	case r.StatusCode != http.StatusOK:
		return false, errors.New(r.Status)
	case string(got) != want:
		return false, errors.New("another's answer")
	}
	return r.Close, nil
}

// datagram may be lost once, as datagrams are.
func (c *client) datagram() error {
	want := fmt.Sprintf("datagram %p %d", c, c.n)
	var p [100]byte
	for try := 0; ; try++ {
		if _, err := io.WriteString(c.conn, want); err != nil && try > 0 {
			return err
		}
		_ = c.conn.SetReadDeadline(time.Now().Add(time.Second))
		n, err := c.conn.Read(p[:])
		if err == nil && string(p[:n]) == want {
			return nil
		}
		if try == 1 {
			return errors.Join(err, nil)
		}
	}
}

// summary is one line about tallies: of each kind what failed, of all that was sent.
func summary(ts map[string]*tally) string {
	total := 0
	var parts []string
	for _, k := range kinds {
		t := ts[k.name]
		if t == nil {
			continue
		}
		total += t.sent
		if n := t.lost(); n > 0 {
			var why []string
			for _, w := range slices.Sorted(maps.Keys(t.failed)) {
				why = append(why, fmt.Sprintf("%d %s", t.failed[w], w))
			}
			parts = append(parts, fmt.Sprintf("%s: %d of %d (%s)", k.name, n, t.sent, strings.Join(why, ", ")))
		}
	}
	if parts == nil {
		return fmt.Sprintf("0 of %d failed", total)
	}
	return fmt.Sprintf("of %d failed: %s", total, strings.Join(parts, "; "))
}

// lost is how many requests of these kinds failed; of all, if none is named.
func lost(ts map[string]*tally, names ...string) (n int) {
	for name, t := range ts {
		if len(names) == 0 || slices.Contains(names, name) {
			n += t.lost()
		}
	}
	return n
}
