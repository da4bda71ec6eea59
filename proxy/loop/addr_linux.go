package loop

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// addrPort reads a socket address of either family that the kernel wrote into
// room for the larger one. IPv4 in IPv6 is unmapped; a zone, which means nothing
// to others, is dropped.
func addrPort(a *unix.RawSockaddrInet6) netip.AddrPort {
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&a.Port))[:])
	if a.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(a)).Addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), port)
}

// encode is addrPort the other way round. It returns the family and the size.
func encode(a *unix.RawSockaddrInet6, to netip.AddrPort) (family uint16, size uintptr) {
	*a = unix.RawSockaddrInet6{}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&a.Port))[:], to.Port())
	if ip := to.Addr().Unmap(); ip.Is4() {
		a4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(a))
		a4.Family, a4.Addr = unix.AF_INET, ip.As4()
		return unix.AF_INET, unix.SizeofSockaddrInet4
	}
	a.Family, a.Addr, a.Scope_id = unix.AF_INET6, to.Addr().As16(), scope(to.Addr().Zone())
	return unix.AF_INET6, unix.SizeofSockaddrInet6
}
