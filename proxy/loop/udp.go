//go:build linux || darwin || freebsd

package loop

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// MaxDatagram is what one UDP datagram carries at most, in bytes.
const MaxDatagram = 65507

// udpBuffer is how many bytes of datagrams the kernel is asked to keep until a
// Loop takes them: a burst must not be lost because a round takes a moment.
const udpBuffer = 1 << 20

// ListenUDP is Listen for UDP: n sockets on addr:port, among which the kernel
// spreads clients. Datagrams of one client go to the same socket.
func ListenUDP(addr netip.Addr, port uint16, n int) ([]int, error) {
	return listenAt(addr, port, func(at netip.AddrPort) ([]int, error) { return openUDP(at, n) })
}

// openUDP opens the n sockets that share at. Before that one stands there that
// does not share: it cannot be bound when anybody else is there.
func openUDP(at netip.AddrPort, n int) ([]int, error) {
	probe, err := bindUDP(at, false)
	if err != nil {
		return nil, err
	}
	at, err = ListenAddr(probe) // port 0 has become a number
	unix.Close(probe)
	if err != nil {
		return nil, err
	}
	fds := make([]int, 0, n)
	for range n {
		fd, err := bindUDP(at, true)
		if err != nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
			return nil, err
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

func bindUDP(at netip.AddrPort, share bool) (int, error) {
	family, sa := toSockaddr(at)
	fd, err := openSocket(family, unix.SOCK_DGRAM)
	if err != nil {
		return -1, err
	}
	errs := []error{setFamily(fd, family, at), setShared(fd, share)}
	if at.Addr().IsUnspecified() {
		errs = append(errs, tellDestination(fd, family))
	}
	errs = append(errs, unix.SetNonblock(fd, true))
	// Past the system's limit it stays smaller, which is fine.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, udpBuffer)
	if err := errors.Join(append(errs, unix.Bind(fd, sa))...); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// IsUDP says whether the socket fd is for datagrams.
func IsUDP(fd int) bool {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	return err == nil && kind == unix.SOCK_DGRAM
}
