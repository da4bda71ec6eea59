//go:build linux

package loop

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// stepUntil runs rounds until done, for a minute at most.
func stepUntil(t *testing.T, l *Loop, done func() bool) {
	t.Helper()
	for end := realNow() + 60*second; !done(); {
		l.Step(end - realNow())
		require.Less(t, realNow(), end, "what is waited for does not happen")
	}
}

// pair is a connection through the kernel: ours and the peer's end.
func pair(t *testing.T, l *Loop) (*script, *net.TCPConn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	fd, err := l.Sys().Connect(ln.Addr().(*net.TCPAddr).AddrPort())
	require.NoError(t, err)
	peer, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { peer.Close() })
	s, ready := &script{}, Ready(0)
	s.ready = func(r Ready) { ready |= r }
	require.NoError(t, l.Attach(&s.conn, fd, s))
	t.Cleanup(func() { l.Close(&s.conn) })
	stepUntil(t, l, func() bool { return ready&Writable != 0 })
	require.NoError(t, l.Sys().ConnectResult(fd))
	return s, peer.(*net.TCPConn)
}

func TestEpoll_AcceptedSocketIsReadyForUse(t *testing.T) {
	l := newReal(t)
	accepted, from := -1, netip.AddrPort{}
	srv := listenOn(t, l, func(fd int, peer netip.AddrPort) { accepted, from = fd, peer })
	c, err := net.Dial("tcp", srv.addr())
	require.NoError(t, err)
	defer c.Close()
	stepUntil(t, l, func() bool { return accepted >= 0 })
	defer l.Sys().Close(accepted)
	require.Equal(t, from, c.LocalAddr().(*net.TCPAddr).AddrPort())
	noDelay, err := unix.GetsockoptInt(accepted, unix.IPPROTO_TCP, unix.TCP_NODELAY)
	require.NoError(t, err)
	require.Equal(t, noDelay, 1)
	flags, err := unix.FcntlInt(uintptr(accepted), unix.F_GETFL, 0)
	require.NoError(t, err)
	require.NotZero(t, flags&unix.O_NONBLOCK)
	flags, err = unix.FcntlInt(uintptr(accepted), unix.F_GETFD, 0)
	require.NoError(t, err)
	require.NotZero(t, flags&unix.FD_CLOEXEC)
	_, err = l.Sys().Read(accepted, l.In())
	require.Equal(t, err, ErrAgain)
}

func TestEpoll_IPv4PeerOfADualStackListenerIsUnmapped(t *testing.T) {
	l := newReal(t)
	fds, err := Listen(netip.Addr{}, 0, 1)
	require.NoError(t, err)
	at, err := ListenAddr(fds[0])
	require.NoError(t, err)
	var from netip.AddrPort
	srv := &listener{serve: func(fd int, peer netip.AddrPort) {
		from = peer
		l.Sys().Close(fd)
	}}
	require.NoError(t, l.AttachListener(&srv.conn, fds[0], srv))
	defer l.Close(&srv.conn)
	f := func(to string) {
		t.Helper()
		fd, err := l.Sys().Connect(netip.AddrPortFrom(netip.MustParseAddr(to), at.Port()))
		require.NoError(t, err)
		defer l.Sys().Close(fd)
		from = netip.AddrPort{}
		stepUntil(t, l, func() bool { return from.IsValid() })
		require.Equal(t, from.Addr(), netip.MustParseAddr(to).Unmap())
	}
	f("127.0.0.1")
	f("::ffff:127.0.0.1")
	if at.Addr().Is6() {
		f("::1")
	}
}

func TestEpoll_KeepAliveAsksAfterAMinute(t *testing.T) {
	l := newReal(t)
	s, _ := pair(t, l)
	l.Sys().KeepAlive(s.conn.FD())
	for _, want := range [][3]int{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 60},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15}, {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4},
	} {
		got, err := unix.GetsockoptInt(s.conn.FD(), want[0], want[1])
		require.NoError(t, err)
		require.Equal(t, want[2], got)
	}
}

func TestEpoll_RefusedConnectionSaysSo(t *testing.T) {
	l := newReal(t)
	fds, err := Listen(localhost, 0, 1) // to have a port that nobody uses
	require.NoError(t, err)
	at, err := ListenAddr(fds[0])
	require.NoError(t, err)
	l.Sys().Close(fds[0])
	fd, err := l.Sys().Connect(at)
	if err == nil { // else it was refused at once
		var d dialer
		require.NoError(t, l.Attach(&d.conn, fd, &d))
		stepUntil(t, l, func() bool { return d.ready != 0 })
		require.NotZero(t, d.ready&Failed)
		err = d.result
		l.Close(&d.conn)
	}
	require.Equal(t, err, syscall.ECONNREFUSED)
}

// On Linux a connect to one's own port succeeds without anybody listening.
func TestEpoll_ConnectionToItselfIsRefused(t *testing.T) {
	l := newReal(t)
	fd, err := bind(netip.AddrPortFrom(localhost, 0), false)
	require.NoError(t, err)
	at, err := ListenAddr(fd)
	require.NoError(t, err)
	_, sa := toSockaddr(at)
	if err := unix.Connect(fd, sa); err != nil {
		require.Equal(t, err, syscall.EINPROGRESS)
	}
	var d dialer
	require.NoError(t, l.Attach(&d.conn, fd, &d))
	defer l.Close(&d.conn)
	stepUntil(t, l, func() bool { return d.ready != 0 })
	require.Equal(t, d.result, syscall.ECONNREFUSED)
}

func TestEpoll_PeerClosesAndResets(t *testing.T) {
	l := newReal(t)
	var heard Ready
	s, peer := pair(t, l)
	s.ready = func(r Ready) { heard |= r }
	_, err := peer.Write([]byte("bye"))
	require.NoError(t, err)
	require.NoError(t, peer.CloseWrite())
	stepUntil(t, l, func() bool { return heard&PeerClosed != 0 })
	n, err := l.Sys().Read(s.conn.FD(), l.In())
	require.NoError(t, err)
	require.Equal(t, string(l.In()[:n]), "bye")
	n, err = l.Sys().Read(s.conn.FD(), l.In())
	require.NoError(t, err)
	require.Zero(t, n)
	require.NoError(t, peer.SetLinger(0))
	require.NoError(t, peer.Close())
	stepUntil(t, l, func() bool { return heard&Failed != 0 })
	_, err = l.Sys().Write(s.conn.FD(), []byte("x"))
	require.Error(t, err)
	_, err = l.Sys().Write(s.conn.FD(), []byte("x"))
	require.Equal(t, err, syscall.EPIPE)
}

func TestEpoll_OurCloseWriteAndResetReachThePeer(t *testing.T) {
	l := newReal(t)
	s, peer := pair(t, l)
	n, err := l.Sys().Write2(s.conn.FD(), []byte("good"), []byte("bye"))
	require.NoError(t, err)
	require.Equal(t, n, 7)
	require.NoError(t, l.Sys().CloseWrite(s.conn.FD()))
	got, err := io.ReadAll(peer)
	require.NoError(t, err)
	require.Equal(t, string(got), "goodbye")
	_, err = l.Sys().Write(s.conn.FD(), []byte("x"))
	require.Equal(t, err, syscall.EPIPE)
	l.Reset(&s.conn)

	s, peer = pair(t, l)
	l.Reset(&s.conn)
	_, err = peer.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

func TestEpoll_FullSocketSaysAgainAndThenWritable(t *testing.T) {
	l := newReal(t)
	s, peer := pair(t, l)
	writable := 0
	s.ready = func(r Ready) { writable += int(r & Writable) }
	sent := 0
	for {
		n, err := l.Sys().Write(s.conn.FD(), l.In())
		if err != nil {
			require.Equal(t, err, ErrAgain)
			break
		}
		sent += n
	}
	l.Step(0)
	writable = 0
	go io.CopyN(io.Discard, peer, int64(sent)) // ends when it has read all or the test closes peer
	stepUntil(t, l, func() bool { return writable > 0 })
}

func TestEpoll_SplicesThroughAPipe(t *testing.T) {
	l := newReal(t)
	from, source := pair(t, l)
	to, sink := pair(t, l)
	r, w, err := l.Sys().Pipe()
	require.NoError(t, err)
	defer l.Sys().Close(r)
	defer l.Sys().Close(w)
	_, err = l.Sys().Splice(from.conn.FD(), w, pipeSize)
	require.Equal(t, err, ErrAgain)

	text := bytes.Repeat([]byte("0123456789"), 100_000)
	go func() { // ends when all is written
		source.Write(text)
		source.CloseWrite()
	}()
	got := make(chan []byte)
	go func() { // ends with the stream
		b, _ := io.ReadAll(sink)
		got <- b
	}()
	inPipe, ended := 0, false
	pump := func(Ready) {
		for !ended || inPipe > 0 {
			n, in := l.Sys().Splice(from.conn.FD(), w, pipeSize)
			inPipe += n
			ended = ended || in == nil && n == 0
			n, out := l.Sys().Splice(r, to.conn.FD(), pipeSize)
			inPipe -= n
			if (in != nil || ended) && out != nil && n == 0 {
				return
			}
		}
	}
	from.ready, to.ready = pump, pump
	stepUntil(t, l, func() bool { return ended && inPipe == 0 })
	require.NoError(t, l.Sys().CloseWrite(to.conn.FD()))
	require.True(t, bytes.Equal(<-got, text))

	n, err := unix.Write(w, []byte("rest"))
	require.NoError(t, err)
	require.Equal(t, n, 4)
	n, err = l.Sys().Read(r, l.In())
	require.NoError(t, err)
	require.Equal(t, string(l.In()[:n]), "rest")
}

func TestEpoll_WakeEndsAWait(t *testing.T) {
	sys, err := Real(realNow, true)
	require.NoError(t, err)
	defer sys.Shut()
	events := make([]Event, 4)
	sys.Wake()
	sys.Wake()
	n, err := sys.Wait(events, -1)
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = sys.Wait(events, 0) // both were one
	require.NoError(t, err)
	require.Zero(t, n)
	start := sys.Now()
	_, err = sys.Wait(events, 3e6)
	require.NoError(t, err)
	require.GreaterOrEqual(t, sys.Now()-start, int64(3e6))
}

// TestEpoll_AcceptWithoutADescriptorLeft runs in a process of its own, whose
// limit it lowers.
func TestEpoll_AcceptWithoutADescriptorLeft(t *testing.T) {
	const child = "LOOP_TEST_FILES"
	if os.Getenv(child) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestEpoll_AcceptWithoutADescriptorLeft$")
		cmd.Env = append(os.Environ(), child+"=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		return
	}
	l := newReal(t)
	accepted := 0
	srv := listenOn(t, l, func(fd int, _ netip.AddrPort) {
		accepted++
		l.Sys().Close(fd)
	})
	c, err := net.Dial("tcp", srv.addr())
	require.NoError(t, err)
	defer c.Close()
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 3, Max: limit.Max}))
	l.Step(-1)
	require.Equal(t, srv.err, syscall.EMFILE)
	require.Zero(t, accepted)
	l.Pause(&srv.conn)
	l.Step(0)
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
	require.NoError(t, l.Resume(&srv.conn)) // the connection that waits is announced again
	stepUntil(t, l, func() bool { return accepted == 1 })
}

// A process that takes over holds copies of the listening sockets, so that closing
// ours does not end the kernel's watch on them.
func TestEpoll_ClosedListenerIsSilentThoughACopyLives(t *testing.T) {
	l := newReal(t)
	srv := listenOn(t, l, func(fd int, _ netip.AddrPort) { t.Error("accepted after Close") })
	kept, err := unix.Dup(srv.fd)
	require.NoError(t, err)
	defer unix.Close(kept)
	l.Close(&srv.conn)
	c, err := net.Dial("tcp", srv.addr())
	require.NoError(t, err)
	defer c.Close()
	events := make([]Event, 1)
	n, err := l.Sys().Wait(events, 0)
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestEpoll_ErrorsAreErrno(t *testing.T) {
	l := newReal(t)
	sys := l.Sys()
	_, err := sys.Read(-1, l.In())
	require.Equal(t, err, syscall.EBADF)
	_, err = sys.Write(-1, l.In())
	require.Equal(t, err, syscall.EBADF)
	_, err = sys.Write2(-1, l.In(), nil)
	require.Equal(t, err, syscall.EBADF)
	_, err = sys.Splice(-1, -1, 1)
	require.Equal(t, err, syscall.EBADF)
	_, _, err = sys.Accept(-1)
	require.Equal(t, err, syscall.EBADF)
	require.Equal(t, sys.CloseWrite(-1), syscall.EBADF)
	require.Equal(t, sys.ConnectResult(-1), syscall.EBADF)
	var s script
	err = l.Attach(&s.conn, 1<<20, &s)
	require.True(t, errors.Is(err, syscall.EBADF))
	require.False(t, s.conn.Attached())
	_, err = sys.Connect(netip.MustParseAddrPort("[fe80::1%no-such-zone]:1"))
	require.Error(t, err)
}

func TestLoop_RoundTripsAllocateNothing(t *testing.T) {
	l := newReal(t)
	s, peer := pair(t, l)
	raw, err := peer.SyscallConn()
	require.NoError(t, err)
	var theirs int
	require.NoError(t, raw.Control(func(fd uintptr) { theirs = int(fd) }))
	got := 0
	s.ready = func(Ready) {
		s.conn.SetDeadline(l.Now() + 60*second)
		n, err := l.Sys().Read(s.conn.FD(), l.In())
		if err != nil {
			return
		}
		got += n
		l.Sys().Write2(s.conn.FD(), l.In()[:n], nil)
	}
	sys := l.Sys()
	p := make([]byte, 64)
	require.Zero(t, testing.AllocsPerRun(200, func() {
		sys.Write(theirs, p)
		for want := got + 64; got < want; {
			l.Step(-1)
		}
		sys.Read(theirs, p)
	}))
}
