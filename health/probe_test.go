package health

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// probeOnce makes one check of addr and returns the reason of its failure.
func probeOnce(t *testing.T, addr netip.AddrPort, c Check) string {
	t.Helper()
	p, err := newProbe(addr, &c, &Transport{})
	require.NoError(t, err)
	if err := p.run(t.Context()); err != nil {
		return err.Error()
	}
	return ""
}

// scripted is a server that hands each connection to serve, and closes it then.
func scripted(t *testing.T, serve func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() { // ends with the listener
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// says answers any request head with text.
func says(t *testing.T, text string) netip.AddrPort {
	return scripted(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, text)
	})
}

// nowhere is an address on which nobody listens, nor will: it is taken.
func nowhere(t *testing.T) netip.AddrPort {
	t.Helper()
	_, addr := bound(t)
	return addr
}

// bound is a socket with an address of its own, which does not listen yet.
func bound(t *testing.T) (fd int, addr netip.AddrPort) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	name, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	return fd, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*syscall.SockaddrInet4).Port))
}

func TestProbe_Status(t *testing.T) {
	get := Check{RequestLine: "GET / HTTP/1.0"}
	f := func(answer string, c Check, want string) {
		t.Helper()
		require.Equal(t, want, probeOnce(t, says(t, answer), c))
	}
	f("HTTP/1.0 200 OK\r\n\r\n", get, "")
	f("HTTP/1.1 204 No Content\r\n\r\n", get, "")
	f("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", get, "")
	f("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", get, "")
	f("HTTP/1.1 500 Internal Server Error\r\n\r\n", get, "status 500, want 200-399")
	f("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\n\r\n", get, "status 503, want 200-399")
	f("HTTP/1.1 101 Switching Protocols\r\n\r\n", get, "status 101, want 200-399")
	f("HTTP/1.1 201 Created\r\n\r\n", Check{RequestLine: "/", ExpectStatus: "200,204"}, "status 201, want 200,204")
	f("HTTP/1.1 404 Not Found\r\n\r\n", Check{RequestLine: "/", ExpectStatus: "400-499"}, "")
}

func TestProbe_BadResponse(t *testing.T) {
	get := Check{RequestLine: "GET / HTTP/1.0"}
	f := func(answer, want string) {
		t.Helper()
		require.Equal(t, want, probeOnce(t, says(t, answer), get))
	}
	f("", "connection closed before a response")
	f("HTTP/1.1 200 OK\r\nA: b\r\n", "bad response: connection closed inside the head")
	f("HTTP/1.1 200 OK\r\nA: "+strings.Repeat("b", maxHead)+"\r\n\r\n", "bad response: head is longer than 16384 bytes")
	f(strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 9), "bad response: more than 8 interim responses")
	f("SSH-2.0-OpenSSH_9.2\r\n\r\n", `bad response: cannot find whitespace in the first line of response "SSH-2.0-OpenSSH_9.2\r\n\r\n"`)
	f("HTTP/2 200 OK\r\n\r\n", `bad response: unsupported http version "HTTP/2" in "HTTP/2 200 OK\r\n\r\n"`)
	f("HTTP/1.1 20 OK\r\n\r\n", `bad response: invalid response status code "20": response "HTTP/1.1 20 OK\r\n\r\n"`)
}

func TestProbe_Connect(t *testing.T) {
	open := says(t, "SSH-2.0-OpenSSH_9.2\r\n")
	require.Empty(t, probeOnce(t, open, Check{}))
	require.Equal(t, "connect: connection refused", probeOnce(t, nowhere(t), Check{}))
	require.Equal(t, "connect: connection refused", probeOnce(t, nowhere(t), Check{RequestLine: "/"}))
	require.Empty(t, probeOnce(t, nowhere(t), Check{Port: open.Port()}))
}

func TestProbe_ConnectEndsOrderly(t *testing.T) {
	ended := make(chan error, 1)
	addr := scripted(t, func(c net.Conn) {
		_, err := c.Read(make([]byte, 1))
		ended <- err
	})
	require.Empty(t, probeOnce(t, addr, Check{}))
	require.Equal(t, io.EOF, <-ended)
}

func TestProbe_ReadsTheBodyBeforeItCloses(t *testing.T) {
	ended := make(chan error, 1)
	f := func(answer string) {
		t.Helper()
		addr := scripted(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, answer)
			_, err := c.Read(make([]byte, 1))
			ended <- err
		})
		require.Empty(t, probeOnce(t, addr, Check{RequestLine: "GET / HTTP/1.1"}))
		require.Equal(t, io.EOF, <-ended)
	}
	f("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
	f("HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n" + strings.Repeat("x", 40000))
	f("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
}

func TestProbe_DoesNotWaitForAnEndlessBody(t *testing.T) {
	addr := scripted(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		for err == nil {
			_, err = c.Write(make([]byte, 4096))
		}
	})
	require.Empty(t, probeOnce(t, addr, Check{RequestLine: "/", ResponseTimeout: time.Minute}))
}

func TestProbe_NoAnswer(t *testing.T) {
	silent := func(first string) netip.AddrPort {
		return scripted(t, func(c net.Conn) {
			_, _ = io.WriteString(c, first)
			_, _ = io.Copy(io.Discard, c)
		})
	}
	c := Check{RequestLine: "/", ResponseTimeout: time.Second} // in which a busy machine connects
	require.Equal(t, "no answer in 1s", probeOnce(t, silent(""), c))
	require.Equal(t, "no answer in 1s", probeOnce(t, silent("HTTP/1.1 200 OK\r\nA: "), c))
	require.Equal(t, "no answer in 1s", probeOnce(t, silent("HTTP/1.1 100 Continue\r\n\r\n"), c))
	require.Equal(t, "connect: no answer in 1s", probeOnce(t, fullBacklog(t), c))
}

// fullBacklog is an address that neither accepts nor refuses.
func fullBacklog(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, addr := bound(t)
	require.NoError(t, syscall.Listen(fd, 0))
	for { // a backlog of 0 still takes a connection or two
		c, err := net.DialTimeout("tcp", addr.String(), time.Second)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = c.Close() })
	}
}

func TestProbe_Reset(t *testing.T) {
	addr := scripted(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_ = c.(*net.TCPConn).SetLinger(0)
	})
	require.Equal(t, "read: connection reset by peer", probeOnce(t, addr, Check{RequestLine: "/"}))
}

func TestProbe_EndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	addr := scripted(t, func(c net.Conn) {
		cancel()
		_, _ = io.Copy(io.Discard, c)
	})
	p, err := newProbe(addr, &Check{RequestLine: "/", ResponseTimeout: time.Hour}, &Transport{})
	require.NoError(t, err)
	require.Error(t, p.run(ctx))
}

func TestProbe_RealServer(t *testing.T) {
	got := make(chan *http.Request, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r
		_, _ = io.WriteString(w, "fine")
	}))
	defer s.Close()
	addr := netip.MustParseAddrPort(s.Listener.Addr().String())
	f := func(c Check, wantMethod, wantProto, wantHost string) {
		t.Helper()
		require.Empty(t, probeOnce(t, addr, c))
		r := <-got
		require.Equal(t, wantMethod, r.Method)
		require.Equal(t, wantProto, r.Proto)
		require.Equal(t, wantHost, r.Host)
	}
	f(Check{RequestLine: "/"}, "OPTIONS", "HTTP/1.0", "")
	f(Check{RequestLine: "GET / HTTP/1.0", Hostname: "arzur.net"}, "GET", "HTTP/1.0", "arzur.net")
	f(Check{RequestLine: "HEAD / HTTP/1.1"}, "HEAD", "HTTP/1.1", addr.String())
	f(Check{RequestLine: `GET / "HTTP/1.1\r\nHost:\ foo"`}, "GET", "HTTP/1.1", "foo")
}

func TestProbe_OurOwnLimitsAreNoVerdict(t *testing.T) {
	p, err := newProbe(addr1, &Check{}, &Transport{})
	require.NoError(t, err)
	require.ErrorIs(t, p.reason("connect", &net.OpError{Op: "dial", Err: syscall.EMFILE}), errOurs)
	require.EqualError(t, p.reason("connect", syscall.EMFILE), "probe not possible: connect: too many open files")
	require.NotErrorIs(t, p.reason("connect", syscall.EHOSTUNREACH), errOurs)
}
