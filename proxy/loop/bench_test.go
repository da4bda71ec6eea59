//go:build linux

package loop

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkEcho is a round trip of 128 bytes over loopback, with an echo server
// on a Loop and one with a goroutine per connection. cpu-µs/op is what the server
// spends on it.
func BenchmarkEcho(b *testing.B) {
	b.Run("loop/1", func(b *testing.B) { roundTrips(b, serveLoop(b), 1) })
	b.Run("net/1", func(b *testing.B) { roundTrips(b, serveNet(b), 1) })
	b.Run("loop/64", func(b *testing.B) { roundTrips(b, serveLoop(b), 64) })
	b.Run("net/64", func(b *testing.B) { roundTrips(b, serveNet(b), 64) })
}

// echoOnce writes what it reads, as long as the socket takes it.
type echoOnce struct{ conn Conn }

func (e *echoOnce) Ready(r Ready) {
	l := e.conn.Loop()
	if r&Readable == 0 {
		return
	}
	e.conn.SetDeadline(l.Now() + 60*second)
	n, err := l.Sys().Read(e.conn.FD(), l.In())
	if err == ErrAgain {
		return
	}
	if err != nil || n == 0 {
		l.Close(&e.conn)
		return
	}
	l.Sys().Write(e.conn.FD(), l.In()[:n])
}

func (e *echoOnce) Expired() {}

func serveLoop(b *testing.B) (addr string) {
	l := newReal(b)
	srv := listenOn(b, l, func(fd int, _ netip.AddrPort) {
		e := &echoOnce{}
		l.Attach(&e.conn, fd, e)
	})
	done := make(chan struct{})
	go func() { // ends with Stop
		defer close(done)
		runtime.LockOSThread()
		l.Run()
	}()
	b.Cleanup(func() {
		l.Stop()
		<-done
	})
	return srv.addr()
}

func serveNet(b *testing.B) (addr string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	go func() { // ends when ln is closed
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the client
				defer c.Close()
				p := make([]byte, 4096)
				for {
					c.SetReadDeadline(time.Now().Add(time.Minute))
					n, err := c.Read(p)
					if err != nil {
						return
					}
					c.Write(p[:n])
				}
			}()
		}
	}()
	b.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}

// roundTrips has a process of its own do b.N of them, so that what this one
// spends is the server's share.
func roundTrips(b *testing.B, addr string, clients int) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d", echoClient, addr, clients, b.N))
	start := cpu()
	out, err := cmd.CombinedOutput()
	require.NoError(b, err, string(out))
	b.ReportMetric(float64((cpu()-start).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
}

// echoClient names the variable that makes the test binary the client: address,
// connections, round trips.
const echoClient = "LOOP_TEST_CLIENT"

func init() {
	task := os.Getenv(echoClient)
	if task == "" {
		return
	}
	var addr string
	var clients, trips int
	if _, err := fmt.Sscan(task, &addr, &clients, &trips); err != nil {
		panic(err)
	}
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				panic(err)
			}
			p := make([]byte, 128)
			for range (trips + clients - 1) / clients {
				c.Write(p)
				if _, err := io.ReadFull(c, p); err != nil {
					panic(err)
				}
			}
		})
	}
	wg.Wait()
	os.Exit(0)
}

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSetDeadline is a deadline that moves later, as every request moves it.
func BenchmarkSetDeadline(b *testing.B) {
	l := New(NewSim(1))
	fd, err := l.Sys().(*Sim).Listen(front)
	require.NoError(b, err)
	var q quiet
	require.NoError(b, l.AttachListener(&q.conn, fd, &q))
	at := l.Now() + 60*second
	for b.Loop() {
		at += 10_000
		q.conn.SetDeadline(at)
	}
}
