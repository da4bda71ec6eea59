//go:build darwin || freebsd

package loop

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// tellDestination cannot be done in one way on these systems: answers come from
// the address that the route to the client suggests.
func tellDestination(int, int) error { return nil }

func (s *kqueue) Local(fd int) netip.AddrPort {
	at, _ := ListenAddr(fd) // an error leaves it invalid
	return at
}

func (s *kqueue) ConnectUDP(to netip.AddrPort) (int, error) {
	family, sa := toSockaddr(to)
	fd, err := openSocket(family, unix.SOCK_DGRAM)
	if err != nil {
		return -1, err
	}
	if err = unix.SetNonblock(fd, true); err == nil {
		err = unix.Connect(fd, sa)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (s *kqueue) ReceiveFrom(fd int, p []byte) (n int, from netip.AddrPort, to netip.Addr, err error) {
	n, err = repeat(func() (int, error) {
		n, sa, err := unix.Recvfrom(fd, p, 0)
		if err == nil {
			from = fromSockaddr(sa)
		}
		return n, err
	})
	return n, from, netip.Addr{}, err
}

func (s *kqueue) SendTo(fd int, p []byte, to netip.AddrPort, _ netip.Addr) error {
	_, sa := toSockaddr(to)
	if local, err := unix.Getsockname(fd); err == nil {
		if _, six := local.(*unix.SockaddrInet6); six && to.Addr().Is4() {
			sa = &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
		}
	}
	_, err := repeat(func() (int, error) { return len(p), unix.Sendto(fd, p, 0, sa) })
	return err
}
