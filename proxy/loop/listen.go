//go:build linux || darwin || freebsd

package loop

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// backlog is how many connections the kernel keeps until they are accepted; it
// caps this at net.core.somaxconn.
const backlog = 4096

// Listen opens n sockets that listen on addr:port, among which the kernel spreads
// connections. The zero addr is every address of the machine, IPv6 included if
// the machine has it. Port 0 is a free port, the same for all n.
//
// If another program has the address, even one that shares it as these n do, that
// is an error. Errors name the address and say what to do.
func Listen(addr netip.Addr, port uint16, n int) ([]int, error) {
	return listenAt(addr, port, func(at netip.AddrPort) ([]int, error) { return open(at, n) })
}

// listenAt opens sockets at addr, or at every address of the machine.
func listenAt(addr netip.Addr, port uint16, open func(netip.AddrPort) ([]int, error)) ([]int, error) {
	if addr.IsValid() {
		at := netip.AddrPortFrom(addr, port)
		fds, err := open(at)
		return fds, explain(at, err)
	}
	all4 := netip.AddrPortFrom(netip.IPv4Unspecified(), port)
	fds, err := open(netip.AddrPortFrom(netip.IPv6Unspecified(), port))
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) { // no IPv6 here
		fds, err = open(all4)
	}
	return fds, explain(all4, err)
}

// explain adds to err what its reader can do about it.
func explain(at netip.AddrPort, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("listen: address %s is in use by another program; stop it or choose another source_port: %w", at, err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("listen: address %s needs root, CAP_NET_BIND_SERVICE (setcap cap_net_bind_service=+ep lb) "+
			"or net.ipv4.ip_unprivileged_port_start: %w", at, err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("listen: address %s is not one of this machine's; choose another address: %w", at, err)
	}
	return fmt.Errorf("listen: address %s: %w", at, err)
}

// open opens the n sockets that share at. Meanwhile, where the system allows it,
// a socket that does not share stands there too: it cannot be bound when anybody
// else is there, and keeps others from coming.
func open(at netip.AddrPort, n int) ([]int, error) {
	probe, err := bind(at, false)
	if err != nil {
		return nil, err
	}
	if at, err = ListenAddr(probe); err != nil { // port 0 has become a number
		unix.Close(probe)
		return nil, err
	}
	if mayHold {
		defer unix.Close(probe)
	} else {
		unix.Close(probe)
	}
	fds := make([]int, 0, n)
	for range n {
		fd, err := bind(at, true)
		if err == nil {
			fds = append(fds, fd)
			err = unix.Listen(fd, backlog)
		}
		if err != nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
			return nil, err
		}
	}
	return fds, nil
}

// bind opens a socket at the given address.
func bind(at netip.AddrPort, share bool) (int, error) {
	family, sa := toSockaddr(at)
	fd, err := socket(family)
	if err != nil {
		return -1, err
	}
	// Connections of an earlier run that still wind down do not count as in use.
	reuse := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err := errors.Join(reuse, setFamily(fd, family, at), setShared(fd, share), unix.Bind(fd, sa)); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// setFamily has a socket that is to be bound to all addresses take both families.
func setFamily(fd, family int, at netip.AddrPort) error {
	if family != unix.AF_INET6 {
		return nil
	}
	only := 1
	if at.Addr().IsUnspecified() {
		only = 0
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only)
}

// setShared lets Loops have a socket each at one address, if share is set.
func setShared(fd int, share bool) error {
	if !share {
		return nil
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, soShare, 1)
}

// SetListenOptions makes a listening socket that somebody else opened (systemd,
// the program that this one replaces) into one that a Loop can use. It is an
// error if fd is no listening TCP socket.
func SetListenOptions(fd int) error {
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return fmt.Errorf("take over descriptor %d: %w", fd, err)
	}
	if listening == 0 {
		return fmt.Errorf("take over descriptor %d: not a listening socket: %w", fd, unix.EINVAL)
	}
	if err := prepare(fd); err != nil {
		return fmt.Errorf("take over descriptor %d: %w", fd, err)
	}
	return nil
}

// ListenAddr is the address that fd is bound to.
func ListenAddr(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address of descriptor %d: %w", fd, err)
	}
	return fromSockaddr(sa), nil
}
