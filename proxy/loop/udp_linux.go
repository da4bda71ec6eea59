package loop

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tellDestination has each datagram come with the address it was sent to: the
// answer must come from there, and a machine may have many.
func tellDestination(fd, family int) error {
	if family == unix.AF_INET {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1) // of IPv4 datagrams too
}

// datagramCall holds the arguments of recvmsg(2) and sendmsg(2).
type datagramCall struct {
	msg     unix.Msghdr
	vec     unix.Iovec
	control [8]uint64 // of 8 bytes for the alignment that a Cmsghdr wants
}

// prepare points the call at p and an address.
func (c *datagramCall) prepare(p []byte, addr *unix.RawSockaddrInet6, size uintptr) {
	c.vec.Base = unsafe.SliceData(p)
	c.vec.SetLen(len(p))
	c.msg = unix.Msghdr{Name: (*byte)(unsafe.Pointer(addr)), Namelen: uint32(size), Iov: &c.vec}
	c.msg.SetIovlen(1)
}

// done lets go of what belongs to others.
func (c *datagramCall) done() {
	c.vec.Base = nil
	c.msg = unix.Msghdr{}
}

func (s *epoll) Local(fd int) netip.AddrPort {
	s.addrLen = uint32(unsafe.Sizeof(s.addr))
	_, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&s.addr)), uintptr(unsafe.Pointer(&s.addrLen)))
	if errno != 0 {
		return netip.AddrPort{}
	}
	return addrPort(&s.addr)
}

func (s *epoll) ConnectUDP(to netip.AddrPort) (int, error) {
	family, size := encode(&s.addr, to)
	fd, _, errno := unix.RawSyscall(unix.SYS_SOCKET, uintptr(family), unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if errno != 0 {
		return -1, errno
	}
	if _, _, errno = unix.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&s.addr)), size); errno != 0 {
		s.Close(int(fd))
		return -1, errno
	}
	return int(fd), nil
}

func (s *epoll) ReceiveFrom(fd int, p []byte) (int, netip.AddrPort, netip.Addr, error) {
	c := &s.datagram
	c.prepare(p, &s.addr, unsafe.Sizeof(s.addr))
	defer c.done()
	c.msg.Control = (*byte)(unsafe.Pointer(&c.control))
	c.msg.SetControllen(int(unsafe.Sizeof(c.control)))
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&c.msg)), 0)
		switch errno {
		case 0:
			return int(n), addrPort(&s.addr), c.destination(), nil
		case unix.EINTR:
		default:
			return 0, netip.AddrPort{}, netip.Addr{}, fault(errno)
		}
	}
}

// destination is the address that the kernel wrote into control.
func (c *datagramCall) destination() netip.Addr {
	if c.msg.Controllen < unix.SizeofCmsghdr {
		return netip.Addr{}
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c.control))
	data := unsafe.Add(unsafe.Pointer(&c.control), unix.SizeofCmsghdr)
	switch {
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO:
		return netip.AddrFrom4((*unix.Inet4Pktinfo)(data).Addr)
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO:
		return netip.AddrFrom16((*unix.Inet6Pktinfo)(data).Addr).Unmap()
	}
	return netip.Addr{}
}

func (s *epoll) SendTo(fd int, p []byte, to netip.AddrPort, from netip.Addr) error {
	c := &s.datagram
	family, size := encode(&s.addr, to) // a socket of IPv6 takes one of IPv4 as it is
	c.prepare(p, &s.addr, size)
	defer c.done()
	if from.IsValid() {
		c.source(from, family)
	}
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&c.msg)), unix.MSG_NOSIGNAL)
		if errno != unix.EINTR {
			return fault(errno)
		}
	}
}

// source has the datagram come from an address of ours, which is of the family of the receiver's.
func (c *datagramCall) source(from netip.Addr, family uint16) {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c.control))
	data := unsafe.Add(unsafe.Pointer(&c.control), unix.SizeofCmsghdr)
	size := unix.SizeofInet4Pktinfo
	if family == unix.AF_INET {
		h.Level, h.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		*(*unix.Inet4Pktinfo)(data) = unix.Inet4Pktinfo{Spec_dst: from.As4()}
	} else {
		h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
		*(*unix.Inet6Pktinfo)(data) = unix.Inet6Pktinfo{Addr: from.As16()}
		size = unix.SizeofInet6Pktinfo
	}
	h.SetLen(unix.CmsgLen(size))
	c.msg.Control = (*byte)(unsafe.Pointer(&c.control))
	c.msg.SetControllen(unix.CmsgSpace(size))
}
