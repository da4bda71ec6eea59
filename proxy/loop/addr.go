//go:build linux || darwin || freebsd

package loop

import (
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// socket opens a TCP socket as Loops use them: it never blocks, is closed on exec
// and sends without delay.
func socket(family int) (int, error) {
	fd, err := openSocket(family, unix.SOCK_STREAM)
	if err != nil {
		return -1, err
	}
	if err := prepare(fd); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// openSocket opens a socket that is closed on exec.
func openSocket(family, kind int) (int, error) {
	syscall.ForkLock.RLock() // no child may be started between the two
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Socket(family, kind, 0)
	if err != nil {
		return -1, err
	}
	unix.CloseOnExec(fd)
	return fd, nil
}

// prepare sets what every socket of a Loop has. A connection gets TCP_NODELAY
// from its listener: all of our systems hand it down, which saves a call for each.
func prepare(fd int) error {
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
}

// toSockaddr is an address as calls outside the hot path want it. IPv4 in IPv6 is
// unmapped.
func toSockaddr(at netip.AddrPort) (family int, sa unix.Sockaddr) {
	if ip := at.Addr().Unmap(); ip.Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(at.Port()), Addr: ip.As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16(), ZoneId: scope(at.Addr().Zone())}
}

// fromSockaddr is toSockaddr the other way round; the zero AddrPort for what is
// no IP address. A zone, which means nothing to others, is dropped.
func fromSockaddr(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// scope is the interface that a zone names, by number or by name.
func scope(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	return 0
}
