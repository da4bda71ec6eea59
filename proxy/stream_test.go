package proxy

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// server accepts connections on loopback and gives each to serve, which closes it.
func server(t *testing.T, serve func(c *net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c.(*net.TCPConn)) // ends with the connection, which the engine closes at the latest
		}
	}()
	return l.Addr().String()
}

// echoServer says its name, then everything it hears, and ends when the other side has.
func echoServer(t *testing.T, name string) string {
	return server(t, func(c *net.TCPConn) {
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, name)
		_, _ = io.Copy(c, c)
	})
}

// streams makes the port of a bed one of streams.
func streams(protocol string) func(*bed) {
	return func(b *bed) { b.rule.Protocol = protocol }
}

func (b *bed) dialTCP() *net.TCPConn { return b.dial().(*net.TCPConn) }

// say sends a text, ends and returns all that comes back.
func (b *bed) say(text string) (string, error) {
	b.t.Helper()
	c := b.dialTCP()
	_, err := io.WriteString(c, text)
	require.NoError(b.t, err)
	require.NoError(b.t, c.CloseWrite())
	got, err := io.ReadAll(c)
	return string(got), err
}

// isReset expects a new connection to be reset.
func (b *bed) isReset() {
	b.t.Helper()
	c, err := net.Dial("tcp", b.addr())
	if err == nil { // else it was reset before anybody looked
		require.NoError(b.t, c.SetDeadline(time.Now().Add(eventually)))
		_, err = io.ReadAll(c)
		_ = c.Close()
	}
	require.ErrorIs(b.t, err, syscall.ECONNRESET)
}

func TestStream_TCPInStrictTurn(t *testing.T) {
	b := newBed(t, streams(rules.TCP), echoServer(t, "a"), echoServer(t, "b"), echoServer(t, "c"))
	turn := ""
	for i := range 6 {
		got, err := b.say(fmt.Sprint(i))
		require.NoError(t, err)
		turn += got
	}
	require.Equal(t, "a0b1c2a3b4c5", turn)
}

func TestStream_ServerSpeaksFirst(t *testing.T) {
	b := newBed(t, streams(rules.TCP), echoServer(t, "220 ready\r\n"))
	line, err := bufio.NewReader(b.dial()).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "220 ready\r\n", line)
}

func TestStream_RefusedGoesToTheNext(t *testing.T) {
	b := newBed(t, streams(rules.TCP), refusing(t), echoServer(t, "b"))
	dead := b.Table().Backends()[0].Backend
	for n := 0; n < 10 || dead.Ejected(now()) == 0; n++ { // which ends now and then, for one more try
		require.Less(t, n, 10_000)
		got, err := b.say("x")
		require.NoError(t, err)
		require.Equal(t, "bx", got)
	}
}

func TestStream_NobodyThereResets(t *testing.T) {
	b := newBed(t, streams(rules.TCP), refusing(t))
	b.isReset()
}

func TestStream_HalfCloseEitherWay(t *testing.T) {
	heard := make(chan string, 1)
	b := newBed(t, streams(rules.TCP), server(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "I am done")
		_ = c.CloseWrite()
		text, err := io.ReadAll(c)
		heard <- fmt.Sprint(string(text), err)
		_ = c.Close()
	}))
	c := b.dialTCP()
	got, err := io.ReadAll(c) // to the end of the server's direction
	require.NoError(t, err)
	require.Equal(t, "I am done", string(got))
	_, err = io.WriteString(c, "and so am I")
	require.NoError(t, err)
	require.NoError(t, c.CloseWrite())
	require.Equal(t, "and so am I<nil>", <-heard)
	require.Eventually(t, func() bool { return b.connections.Load() == 0 }, eventually, tick)
}

func TestStream_ResetOfAServerResetsTheClient(t *testing.T) {
	b := newBed(t, streams(rules.TCP), server(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "half of")
		_, _ = c.Read(make([]byte, 1))
		_ = c.SetLinger(0)
		_ = c.Close()
	}))
	c := b.dialTCP()
	got := make([]byte, 7)
	_, err := io.ReadFull(c, got)
	require.NoError(t, err)
	_, err = io.WriteString(c, "x")
	require.NoError(t, err)
	_, err = io.ReadAll(c)
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

// A server that refuses what it is being sent says why and leaves, over bytes that
// it has not read, which resets the connection.
func TestStream_LastWordsOfAServerThatLeavesArrive(t *testing.T) {
	b := newBed(t, streams(rules.TCP), server(t, func(c *net.TCPConn) {
		_, _ = io.ReadFull(c, make([]byte, 1000))
		_, _ = io.WriteString(c, "too large")
		_ = c.Close()
	}))
	block := make([]byte, 64<<10)
	for range 20 {
		c := b.dialTCP()
		for err := error(nil); err == nil; {
			_, err = c.Write(block)
		}
		got, _ := io.ReadAll(c)
		require.Equal(t, "too large", string(got))
		require.NoError(t, c.Close())
	}
	require.Eventually(t, func() bool { return b.connections.Load() == 0 }, eventually, tick)
}

// A client that closes over what it has not read resets the connection, right
// behind what it said.
func TestStream_LastWordsOfAClientThatLeavesArrive(t *testing.T) {
	listening, end := make(chan bool), make(chan string, 1)
	b := newBed(t, func(b *bed) { b.rule.Protocol, b.loops = rules.TCP, 1 }, server(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "hello")
		_, _ = io.ReadFull(c, make([]byte, 2))
		_, _ = io.WriteString(c, "again")
		<-listening
		got, err := io.ReadAll(c)
		end <- fmt.Sprint(string(got), errors.Is(err, syscall.ECONNRESET))
		_ = c.Close()
	}))
	c := b.dialTCP()
	_, err := io.ReadFull(c, make([]byte, 5))
	require.NoError(t, err)
	_, err = io.WriteString(c, "me")
	require.NoError(t, err)
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	var unread bool
	require.NoError(t, raw.Read(func(fd uintptr) bool { // until "again" is there
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		unread = err == nil
		return unread
	}))
	require.True(t, unread)
	busy, rest := make(chan bool), make(chan bool)
	b.cores[0].loop.Post(func() { busy <- true; <-rest })
	<-busy // the Loop finds the words and the reset at once
	_, err = io.WriteString(c, "last words")
	require.NoError(t, err)
	require.NoError(t, c.Close())
	close(rest)
	close(listening)
	require.Equal(t, "last wordstrue", <-end)
}

func TestStream_ResetOfAClientResetsTheServer(t *testing.T) {
	end := make(chan error, 1)
	b := newBed(t, streams(rules.TCP), server(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "go")
		_, err := io.ReadAll(c)
		end <- err
		_ = c.Close()
	}))
	c := b.dialTCP()
	_, err := io.ReadFull(c, make([]byte, 2))
	require.NoError(t, err)
	require.NoError(t, c.SetLinger(0))
	require.NoError(t, c.Close())
	require.ErrorIs(t, <-end, syscall.ECONNRESET)
}

func TestStream_LongOnesAreSplicedInBoundedMemory(t *testing.T) {
	const size = 100 << 20
	sum := make(chan [32]byte, 1)
	b := newBed(t, streams(rules.TCP), server(t, func(c *net.TCPConn) {
		h := sha256.New()
		_, _ = io.Copy(c, io.TeeReader(c, h)) // back again, so that both directions pour
		sum <- [32]byte(h.Sum(nil))
		_ = c.Close()
	}))
	c := b.dialTCP()
	require.NoError(t, c.SetDeadline(time.Now().Add(4*eventually)))
	block := make([]byte, 1<<20)
	_, err := rand.Read(block)
	require.NoError(t, err)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	sent := sha256.New()
	go func() { // ends with the last block, which the reader below waits for
		for range size / len(block) {
			sent.Write(block)
			if _, err := c.Write(block); err != nil {
				return
			}
		}
		_ = c.CloseWrite()
	}()
	back := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{back}, c, make([]byte, 1<<18))
	require.NoError(t, err)
	require.EqualValues(t, size, n)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20), "allocated for 200 MiB moved")
	require.Equal(t, sent.Sum(nil), back.Sum(nil))
	got := <-sum
	require.Equal(t, sent.Sum(nil), got[:])
}

func TestStream_IdleOnesEnd(t *testing.T) {
	b := newBed(t, func(b *bed) {
		b.rule.Protocol = rules.TCP
		b.opts.TunnelTimeout = time.Second // long enough for the server to say something first
	}, echoServer(t, "a"))
	got, err := io.ReadAll(b.dial())
	require.NoError(t, err)
	require.Equal(t, "a", string(got))
}

func TestStream_QueuesAtMaxConnections(t *testing.T) {
	b := newBed(t, func(b *bed) {
		b.rule.Protocol = rules.TCP
		b.service.MaxConnections, b.service.QueueLength = 1, 1
		b.loops = 1
	}, echoServer(t, "a"))
	first := b.dialTCP()
	_, err := io.ReadFull(first, make([]byte, 1))
	require.NoError(t, err)
	second := b.dialTCP()
	require.Eventually(t, func() bool { return b.scrape()["lb_queued_requests"] == 1 }, eventually, tick)
	b.isReset() // the third finds the queue full
	require.NoError(t, first.Close())
	got := make([]byte, 1)
	_, err = io.ReadFull(second, got)
	require.NoError(t, err)
	require.Equal(t, "a", string(got))
}

func TestStream_SurvivesReloadsAndDrainsAtItsEnd(t *testing.T) {
	b := newBed(t, streams(rules.TCP), echoServer(t, "a"))
	c := b.dialTCP()
	r := bufio.NewReader(c)
	said := func(text string) {
		t.Helper()
		_, err := io.WriteString(c, text)
		require.NoError(t, err)
		got := make([]byte, len(text))
		_, err = io.ReadFull(r, got)
		require.NoError(t, err)
		require.Equal(t, text, string(got))
	}
	_, err := r.Discard(1)
	require.NoError(t, err)
	said("before")
	b.service = newBedService(echoServer(t, "b"))
	b.apply()
	said("after")
	got, err := b.say("")
	require.NoError(t, err)
	require.Equal(t, "b", got)
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), eventually)
	defer cancel()
	go func() { done <- b.Drain(ctx) }()
	require.Eventually(t, func() bool { return !b.accepting() }, eventually, tick)
	said("draining")
	require.NoError(t, c.Close())
	require.NoError(t, <-done)
}

func TestStream_DrainCutsTunnelsAtItsTimeout(t *testing.T) {
	b := newBed(t, streams(rules.TCP), echoServer(t, "a"))
	c := b.dial()
	_, err := io.ReadFull(c, make([]byte, 1))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, b.Drain(ctx), context.DeadlineExceeded)
}

func TestStream_AccessLogAndMetrics(t *testing.T) {
	l := newLogged(t, "json", streams(rules.TCP), echoServer(t, "a"))
	got, err := l.say("12345")
	require.NoError(t, err)
	require.Equal(t, "a12345", got)
	require.Eventually(t, func() bool { return l.scrape()["lb_client_connections_closed_total"] == 1 }, eventually, tick)
	samples, at := l.scrape(), l.Table().Backends()[0].Backend.Addr.String()
	require.EqualValues(t, 1, samples[sample("lb_requests_total", "backend", at, "code", "200", "rule", l.Table().Entries()[0].Rule.Name, "service", "web")])
	require.Zero(t, samples["lb_tunnels"])
	lines := l.end()
	require.Len(t, lines, 1)
	for _, want := range []string{`"proto":"tcp"`, `"status":200`, `"service":"web"`, `"bytes_in":5,"bytes_out":6`, `"backend":"` + at + `"`, `"connect_us":`} {
		require.Contains(t, lines[0], want)
	}
}

func TestStream_PortThatChangesTakesNoMoreRequests(t *testing.T) {
	b := newBed(t, nil, named(t, "a"))
	c := b.dial()
	_, body := ask(t, c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.Equal(t, "a", body)
	b.rule.Protocol = rules.TCP
	b.service = newBedService(echoServer(t, "b"))
	b.apply()
	_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	got, err := io.ReadAll(c)
	require.True(t, err == nil || errors.Is(err, syscall.ECONNRESET), "%v", err)
	require.Empty(t, got)
	said, err := b.say("!")
	require.NoError(t, err)
	require.Equal(t, "b!", said)
}

func TestStream_ServerThatIsDownGetsNothing(t *testing.T) {
	b := newBed(t, streams(rules.TCP), echoServer(t, "a"), echoServer(t, "b"))
	b.Table().Backends()[0].Backend.SetDown(true, &health.Verdict{})
	for range 4 {
		got, err := b.say("")
		require.NoError(t, err)
		require.Equal(t, "b", got)
	}
}
