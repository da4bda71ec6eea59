//go:build linux

package main

import (
	"fmt"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// loop owns a listening socket, the connections it accepted from it and the
// upstream connections it made for them.
type loop struct {
	epoll    int
	listener int
	conns    []*conn // by file descriptor
	backends []*unix.SockaddrInet4
	idle     [][]*conn // per backend
	turn     *atomic.Uint32
	buf      [64 << 10]byte
}

// conn is a connection of a client, or one to a backend.
type conn struct {
	fd      int
	backend int   // index of the backend; -1 for a client
	peer    *conn // other side of the latest request
	// answered says of an upstream connection that bytes came back since the
	// last ones went out. What its client sends then is the next request.
	answered bool
	pending  []byte // what the socket did not take yet; the peer is not read until it has
}

func newLoop(addr *unix.SockaddrInet4, backends []*unix.SockaddrInet4, turn *atomic.Uint32) (*loop, error) {
	l := &loop{backends: backends, idle: make([][]*conn, len(backends)), turn: turn}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	if l.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("create socket: %w", err)
	}
	if err := unix.SetsockoptInt(l.listener, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return nil, fmt.Errorf("set SO_REUSEPORT: %w", err)
	}
	if err := unix.Bind(l.listener, addr); err != nil {
		return nil, fmt.Errorf("bind port %d: %w", addr.Port, err)
	}
	if err := unix.Listen(l.listener, unix.SOMAXCONN); err != nil {
		return nil, fmt.Errorf("listen on port %d: %w", addr.Port, err)
	}
	return l, l.watch(unix.EPOLL_CTL_ADD, l.listener, unix.EPOLLIN)
}

func (l *loop) watch(op, fd int, events uint32) error {
	return unix.EpollCtl(l.epoll, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

// run serves until waiting for events is no longer possible.
func (l *loop) run() error {
	runtime.LockOSThread()
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := unix.EpollWait(l.epoll, events, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for events: %w", err)
		}
		for _, e := range events[:n] {
			fd := int(e.Fd)
			if fd == l.listener {
				l.accept()
				continue
			}
			// An earlier event of the same wake-up may have closed it.
			if fd >= len(l.conns) || l.conns[fd] == nil {
				continue
			}
			if c := l.conns[fd]; len(c.pending) > 0 {
				l.flush(c)
			} else {
				l.readable(c)
			}
		}
	}
}

func (l *loop) accept() {
	for {
		fd, _, err := unix.Accept4(l.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		l.add(fd, -1)
	}
}

func (l *loop) add(fd, backend int) *conn {
	// The only error is a socket that is gone already, which the first read finds.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	for fd >= len(l.conns) {
		l.conns = append(l.conns, nil)
	}
	c := &conn{fd: fd, backend: backend}
	l.conns[fd] = c
	if l.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN) != nil {
		l.close(c)
	}
	return c
}

func (l *loop) readable(c *conn) {
	n, err := unix.Read(c.fd, l.buf[:])
	if err == unix.EAGAIN {
		return
	}
	if n <= 0 || err != nil {
		l.close(c)
		return
	}
	if c.backend >= 0 {
		c.answered = true
	} else if !l.upstream(c) {
		l.close(c)
		return
	}
	if c.peer == nil {
		l.close(c) // an idle upstream connection has nothing to say
		return
	}
	l.forward(c, c.peer, l.buf[:n])
}

// upstream sees to it that the client c has an upstream connection for the bytes
// that it sent: the same one while a request goes out, a new one for the next.
func (l *loop) upstream(c *conn) bool {
	if c.peer != nil && !c.peer.answered {
		return true
	}
	if u := c.peer; u != nil {
		u.peer, c.peer = nil, nil
		l.idle[u.backend] = append(l.idle[u.backend], u)
	}
	u := l.take(int(l.turn.Add(1) % uint32(len(l.backends))))
	if u == nil {
		return false
	}
	u.answered = false
	u.peer, c.peer = c, u
	return true
}

// take returns an idle connection to the backend, or a new one; nil if none can be had.
func (l *loop) take(backend int) *conn {
	idle := l.idle[backend]
	for n := len(idle); n > 0; n = len(idle) {
		u := idle[n-1]
		idle = idle[:n-1]
		l.idle[backend] = idle
		if l.conns[u.fd] == u {
			return u
		}
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	// On loopback a connect does not wait, so it need not be an event.
	if unix.Connect(fd, l.backends[backend]) != nil || unix.SetNonblock(fd, true) != nil {
		unix.Close(fd)
		return nil
	}
	return l.add(fd, backend)
}

// forward writes b to dst. What does not fit waits there, and src with it.
func (l *loop) forward(src, dst *conn, b []byte) {
	n, err := unix.Write(dst.fd, b)
	if err != nil && err != unix.EAGAIN {
		l.close(dst)
		return
	}
	if n = max(n, 0); n == len(b) {
		return
	}
	dst.pending = append(dst.pending, b[n:]...)
	if l.watch(unix.EPOLL_CTL_MOD, src.fd, 0) != nil || l.watch(unix.EPOLL_CTL_MOD, dst.fd, unix.EPOLLOUT) != nil {
		l.close(dst)
	}
}

func (l *loop) flush(c *conn) {
	n, err := unix.Write(c.fd, c.pending)
	if err == unix.EAGAIN {
		return
	}
	if err != nil {
		l.close(c)
		return
	}
	c.pending = c.pending[:copy(c.pending, c.pending[n:])]
	if len(c.pending) > 0 {
		return
	}
	if l.watch(unix.EPOLL_CTL_MOD, c.fd, unix.EPOLLIN) != nil ||
		c.peer != nil && l.watch(unix.EPOLL_CTL_MOD, c.peer.fd, unix.EPOLLIN) != nil {
		l.close(c)
	}
}

// close closes c and the other side of its request.
func (l *loop) close(c *conn) {
	peer := c.peer
	c.peer = nil
	l.conns[c.fd] = nil
	unix.Close(c.fd)
	if peer != nil {
		peer.peer = nil
		l.close(peer)
	}
}
