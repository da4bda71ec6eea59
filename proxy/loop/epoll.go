//go:build linux

package loop

import (
	"errors"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// epoll is Linux. Calls that cannot block skip the Go scheduler (RawSyscall); a
// Wait that will go to sleep tells it, so that others run meanwhile.
type epoll struct {
	clock func() int64
	fd    int
	wake  int
	busy  bool // the last Wait had events: more are likely there already
	found [batch]unix.EpollEvent

	// Arguments of calls, here rather than on the stack or the heap each time.
	addr    unix.RawSockaddrInet6 // the larger of the two kinds
	addrLen uint32
	vec     [2]unix.Iovec
	msg     unix.Msghdr

	datagram datagramCall

	ring   *ring // nil: there is none
	noRing error // why
}

// pipeSize is what one Splice moves at best; more does not make it faster.
const pipeSize = 256 << 10

// Real is the operating system. now is its clock: monotonic nanoseconds, never 0.
// ring: SendAll is one call, of io_uring(7), where the kernel has it and lets us.
func Real(now func() int64, ring bool) (System, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	// Edge-triggered, every write is an event and nobody has to read the counter,
	// which 2^64 wake-ups fill.
	err = unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: -1})
	if err != nil {
		unix.Close(fd)
		unix.Close(wake)
		return nil, err
	}
	s := &epoll{clock: now, fd: fd, wake: wake}
	s.msg.Iov = &s.vec[0]
	s.msg.SetIovlen(2)
	if s.noRing = errors.New("io_uring: switched off"); ring {
		s.ring, s.noRing = newRing()
	}
	return s, nil
}

func (s *epoll) Now() int64 { return s.clock() }

func (s *epoll) Shut() {
	unix.Close(s.fd)
	unix.Close(s.wake)
	if s.ring != nil {
		s.ring.close()
	}
}

func (s *epoll) Wake() {
	one := uint64(1)
	unix.RawSyscall(unix.SYS_WRITE, uintptr(s.wake), uintptr(unsafe.Pointer(&one)), unsafe.Sizeof(one))
}

func (s *epoll) Add(fd int, token uint64, listener bool) error {
	e := unix.EpollEvent{Fd: int32(token), Pad: int32(token >> 32)}
	if listener {
		// A socket that loops share wakes one of them.
		e.Events = unix.EPOLLIN | unix.EPOLLEXCLUSIVE
	} else {
		e.Events = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET
	}
	return s.control(unix.EPOLL_CTL_ADD, fd, &e)
}

func (s *epoll) Remove(fd int) { s.control(unix.EPOLL_CTL_DEL, fd, &unix.EpollEvent{}) }

func (s *epoll) control(op, fd int, e *unix.EpollEvent) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(s.fd), uintptr(op), uintptr(fd),
		uintptr(unsafe.Pointer(e)), 0, 0)
	return fault(errno)
}

func (s *epoll) Wait(events []Event, timeout int64) (int, error) {
	limit := min(len(events), len(s.found))
	n, errno := uintptr(0), syscall.Errno(0)
	if s.busy || timeout == 0 {
		n, _, errno = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(s.fd),
			uintptr(unsafe.Pointer(&s.found)), uintptr(limit), 0, 0, 0)
	}
	if n == 0 && errno == 0 && timeout != 0 {
		n, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(s.fd),
			uintptr(unsafe.Pointer(&s.found)), uintptr(limit), uintptr(milliseconds(timeout)), 0, 0)
	}
	if errno == unix.EINTR {
		return 0, nil
	}
	if errno != 0 {
		return 0, errno
	}
	s.busy = n > 0
	return s.translate(events, s.found[:n]), nil
}

// milliseconds rounds up: waking before the time would mean a second sleep.
func milliseconds(timeout int64) int32 {
	if timeout < 0 {
		return -1
	}
	return int32(min((timeout+int64(time.Millisecond)-1)/int64(time.Millisecond), 1<<31-1))
}

// translate leaves out the events of Wake.
func (s *epoll) translate(events []Event, found []unix.EpollEvent) (n int) {
	for i := range found {
		e := &found[i]
		if e.Fd < 0 {
			continue
		}
		r := Ready(0)
		if e.Events&unix.EPOLLIN != 0 {
			r |= Readable
		}
		if e.Events&unix.EPOLLOUT != 0 {
			r |= Writable
		}
		if e.Events&unix.EPOLLRDHUP != 0 {
			r |= PeerClosed
		}
		if e.Events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			r |= Failed
		}
		events[n] = Event{Token: uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32, Ready: r}
		n++
	}
	return n
}

func (s *epoll) Accept(fd int) (int, netip.AddrPort, error) {
	for {
		s.addrLen = uint32(unsafe.Sizeof(s.addr))
		// TCP_NODELAY comes with the listener, see prepare.
		nfd, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&s.addr)),
			uintptr(unsafe.Pointer(&s.addrLen)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		switch errno {
		case 0:
			return int(nfd), addrPort(&s.addr), nil
		case unix.EINTR, unix.ECONNABORTED: // that one left, the next may be there
		default:
			return -1, netip.AddrPort{}, fault(errno)
		}
	}
}

func (s *epoll) Quiesce(fd int) { quiesce(fd) }

func (s *epoll) Connect(to netip.AddrPort) (int, error) {
	family, size := encode(&s.addr, to)
	fd, _, errno := unix.RawSyscall(unix.SYS_SOCKET, uintptr(family), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if errno != 0 {
		return -1, errno
	}
	if err := unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		s.Close(int(fd))
		return -1, err
	}
	_, _, errno = unix.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&s.addr)), size)
	// An interrupted connect goes on by itself.
	if errno != 0 && errno != unix.EINPROGRESS && errno != unix.EINTR {
		s.Close(int(fd))
		return -1, errno
	}
	return int(fd), nil
}

func (s *epoll) ConnectResult(fd int) error {
	value, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if value != 0 {
		return syscall.Errno(value)
	}
	if s.itself(fd) {
		return unix.ECONNREFUSED
	}
	return nil
}

func (s *epoll) Unheard(fd int, most int64) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(milliseconds(most))) // a socket has it
}

// itself reports a connection whose two ends are one socket. TCP makes one when
// the destination is a local port that nobody listens on and the kernel picks
// just that port for our end: a dead server would look alive.
func (s *epoll) itself(fd int) bool {
	var local, peer netip.AddrPort
	for _, end := range [...]struct {
		call uintptr
		to   *netip.AddrPort
	}{{unix.SYS_GETSOCKNAME, &local}, {unix.SYS_GETPEERNAME, &peer}} {
		s.addrLen = uint32(unsafe.Sizeof(s.addr))
		_, _, errno := unix.RawSyscall(end.call, uintptr(fd), uintptr(unsafe.Pointer(&s.addr)), uintptr(unsafe.Pointer(&s.addrLen)))
		if errno != 0 {
			return false
		}
		*end.to = addrPort(&s.addr)
	}
	return local == peer
}

func (s *epoll) Read(fd int, p []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
			uintptr(len(p)), 0, 0, 0)
		if errno == unix.ENOTSOCK { // a pipe
			n, _, errno = unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		}
		if errno != unix.EINTR {
			return count(n, errno)
		}
	}
}

// Write sends without SIGPIPE: a signal for every peer that left costs more than
// the call.
func (s *epoll) Write(fd int, p []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
			uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
		if errno != unix.EINTR {
			return count(n, errno)
		}
	}
}

func (s *epoll) Write2(fd int, a, b []byte) (int, error) {
	s.vec[0].Base, s.vec[1].Base = unsafe.SliceData(a), unsafe.SliceData(b)
	s.vec[0].SetLen(len(a))
	s.vec[1].SetLen(len(b))
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&s.msg)), unix.MSG_NOSIGNAL)
		if errno != unix.EINTR {
			s.vec[0].Base, s.vec[1].Base = nil, nil
			return count(n, errno)
		}
	}
}

func (s *epoll) Together() (least int, why error) {
	if s.ring == nil {
		return 0, s.noRing
	}
	return 2, nil
}

func (s *epoll) SendAll(batch []Send) {
	for s.ring != nil && len(batch) > 1 {
		n, err := s.ring.send(batch[:min(len(batch), sendBatch)])
		batch = batch[n:]
		if err == nil {
			continue
		}
		if n > 0 || !passes(err) {
			s.ring.close()
			s.ring, s.noRing = nil, err
		}
		break
	}
	sendEach(s, batch)
}

func (s *epoll) Splice(from, to, limit int) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0,
			uintptr(limit), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if errno != unix.EINTR {
			return count(n, errno)
		}
	}
}

func (s *epoll) Pipe() (r, w int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		return -1, -1, err
	}
	// Past the system's limit for a user the pipe stays at 64 KiB, which is fine.
	unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, pipeSize)
	return p[0], p[1], nil
}

// KeepAlive ignores errors: the connection works without it.
func (s *epoll) KeepAlive(fd int) {
	for _, option := range [...]struct{ level, name, value int }{
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 60},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	} {
		_ = unix.SetsockoptInt(fd, option.level, option.name, option.value)
	}
}

func (s *epoll) CloseWrite(fd int) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
	return fault(errno)
}

func (s *epoll) Close(fd int) { unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

func (s *epoll) Reset(fd int) {
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	s.Close(fd)
}

// fault is errno as an error, nil for none.
func fault(errno syscall.Errno) error {
	switch errno {
	case 0:
		return nil
	case unix.EAGAIN:
		return ErrAgain
	}
	return errno
}

// count is the result of a call that moves bytes.
func count(n uintptr, errno syscall.Errno) (int, error) {
	if errno != 0 {
		return 0, fault(errno)
	}
	return int(n), nil
}
