//go:build darwin || freebsd

package loop

import (
	"errors"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// kqueue is macOS and FreeBSD: made to work, not to win.
type kqueue struct {
	clock  func() int64
	fd     int
	tokens []uint64 // by descriptor
	found  [batch]unix.Kevent_t
}

// Real is the operating system. now is its clock: monotonic nanoseconds, never 0.
// The other parameter is of no use here.
func Real(now func() int64, _ bool) (System, error) {
	fd, err := unix.Kqueue()
	if err != nil {
		return nil, err
	}
	unix.CloseOnExec(fd)
	s := &kqueue{clock: now, fd: fd}
	if err := s.change(0, unix.EVFILT_USER, unix.EV_ADD|unix.EV_CLEAR, 0); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return s, nil
}

func (s *kqueue) Now() int64 { return s.clock() }
func (s *kqueue) Shut()      { unix.Close(s.fd) }
func (s *kqueue) Together() (least int, why error) {
	return 0, errors.New("the system has no io_uring")
}
func (s *kqueue) SendAll(batch []Send) { sendEach(s, batch) }
func (s *kqueue) Wake()                { s.change(0, unix.EVFILT_USER, 0, unix.NOTE_TRIGGER) }

func (s *kqueue) change(fd, filter, flags int, note uint32) error {
	var k [1]unix.Kevent_t
	unix.SetKevent(&k[0], fd, filter, flags)
	k[0].Fflags = note
	_, err := unix.Kevent(s.fd, k[:], nil, nil)
	return err
}

func (s *kqueue) Add(fd int, token uint64, listener bool) error {
	for fd >= len(s.tokens) {
		s.tokens = append(s.tokens, make([]uint64, max(64, len(s.tokens)))...)
	}
	s.tokens[fd] = token
	if listener {
		return s.change(fd, unix.EVFILT_READ, unix.EV_ADD, 0)
	}
	if err := s.change(fd, unix.EVFILT_READ, unix.EV_ADD|unix.EV_CLEAR, 0); err != nil {
		return err
	}
	return s.change(fd, unix.EVFILT_WRITE, unix.EV_ADD|unix.EV_CLEAR, 0)
}

func (s *kqueue) Remove(fd int) {
	// The filter of a listener's other direction is not there, which is no harm.
	s.change(fd, unix.EVFILT_READ, unix.EV_DELETE, 0)
	s.change(fd, unix.EVFILT_WRITE, unix.EV_DELETE, 0)
}

func (s *kqueue) Wait(events []Event, timeout int64) (int, error) {
	var limit *unix.Timespec
	if timeout >= 0 {
		t := unix.NsecToTimespec(timeout)
		limit = &t
	}
	found := s.found[:min(len(events), len(s.found))]
	n, err := unix.Kevent(s.fd, nil, found, limit)
	if err != nil {
		if err == unix.EINTR {
			err = nil
		}
		return 0, err
	}
	return s.translate(events, found[:n]), nil
}

// translate leaves out the events of Wake.
func (s *kqueue) translate(events []Event, found []unix.Kevent_t) (n int) {
	for i := range found {
		k := &found[i]
		over := k.Flags&unix.EV_EOF != 0
		r := Ready(0)
		switch {
		case k.Filter == unix.EVFILT_READ && over:
			r = Readable | PeerClosed
		case k.Filter == unix.EVFILT_READ:
			r = Readable
		case k.Filter == unix.EVFILT_WRITE && over:
			r = Writable | Failed
		case k.Filter == unix.EVFILT_WRITE:
			r = Writable
		default:
			continue
		}
		events[n] = Event{Token: s.tokens[k.Ident], Ready: r}
		n++
	}
	return n
}

func (s *kqueue) Accept(fd int) (int, netip.AddrPort, error) {
	for {
		syscall.ForkLock.RLock() // see the comment there
		nfd, sa, err := unix.Accept(fd)
		if err == nil {
			err = prepare(nfd)
		}
		syscall.ForkLock.RUnlock()
		switch {
		case err == nil:
			return nfd, fromSockaddr(sa), nil
		case nfd >= 0:
			unix.Close(nfd)
		case err != unix.EINTR && err != unix.ECONNABORTED:
			return -1, netip.AddrPort{}, fault(err)
		}
	}
}

// Unheard has no counterpart that BSDs and macOS share.
func (s *kqueue) Unheard(int, int64) {}

// Quiesce cannot be done here: packet filters are not per socket.
func (s *kqueue) Quiesce(int) {}

func (s *kqueue) Connect(to netip.AddrPort) (int, error) {
	family, sa := toSockaddr(to)
	fd, err := socket(family)
	if err != nil {
		return -1, err
	}
	// An interrupted connect goes on by itself.
	if err := unix.Connect(fd, sa); err != nil && err != unix.EINPROGRESS && err != unix.EINTR {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (s *kqueue) ConnectResult(fd int) error {
	value, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if value != 0 {
		return syscall.Errno(value)
	}
	return nil
}

func (s *kqueue) Read(fd int, p []byte) (int, error) {
	return repeat(func() (int, error) { return unix.Read(fd, p) })
}

func (s *kqueue) Write(fd int, p []byte) (int, error) {
	return repeat(func() (int, error) { return unix.Write(fd, p) })
}

func (s *kqueue) Write2(fd int, a, b []byte) (int, error) {
	n, err := s.Write(fd, a)
	if err != nil || n < len(a) || len(b) == 0 {
		return n, err
	}
	m, err := s.Write(fd, b)
	if errors.Is(err, ErrAgain) { // a is written, which is what n says
		err = nil
	}
	return n + m, err
}

func (s *kqueue) Splice(int, int, int) (int, error) { return 0, unix.ENOSYS }
func (s *kqueue) Pipe() (r, w int, err error)       { return -1, -1, unix.ENOSYS }
func (s *kqueue) KeepAlive(fd int)                  { _ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1) }
func (s *kqueue) CloseWrite(fd int) error           { return fault(unix.Shutdown(fd, unix.SHUT_WR)) }
func (s *kqueue) Close(fd int)                      { unix.Close(fd) }

func (s *kqueue) Reset(fd int) {
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	unix.Close(fd)
}

// repeat runs call until no signal interrupts it.
func repeat(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err == nil {
			return n, nil
		}
		if err != unix.EINTR {
			return 0, fault(err)
		}
	}
}

// fault is err with the System's own name for EAGAIN.
func fault(err error) error {
	if err == unix.EAGAIN {
		return ErrAgain
	}
	return err
}
