package proxyproto

import (
	"bytes"
	"net/netip"
	"strconv"
)

// parseLine reads version 1: "PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n".
func parseLine(data []byte) (h Header, ok bool, err error) {
	seen := data[:min(len(data), maxLine)]
	end := bytes.IndexAny(seen, "\r\n")
	switch {
	case end < 0 && len(seen) < maxLine, end == len(seen)-1 && seen[end] == '\r' && len(seen) < maxLine:
		return Header{}, false, nil
	case end < 0, end == maxLine-1 && seen[end] == '\r':
		return Header{}, false, errLong
	case !bytes.HasPrefix(seen[end:], []byte("\r\n")):
		return Header{}, false, errEnd
	}
	h.Size = end + 2
	words := bytes.Split(seen[len(line):end], []byte(" "))
	switch string(words[0]) {
	case "UNKNOWN": // what follows is to be ignored
		return h, true, nil
	case "TCP4", "TCP6":
	default:
		return Header{}, false, errLine
	}
	if len(words) != 5 {
		return Header{}, false, errLine
	}
	four := words[0][3] == '4'
	if h.Source, err = parseEnd(words[1], words[3], four); err != nil {
		return Header{}, false, err
	}
	if h.Destination, err = parseEnd(words[2], words[4], four); err != nil {
		return Header{}, false, err
	}
	return h, true, nil
}

func parseEnd(address, port []byte, four bool) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(string(address))
	if err != nil || a.Is4() != four || a.Zone() != "" {
		return netip.AddrPort{}, errAddress
	}
	n, err := strconv.ParseUint(string(port), 10, 16)
	if err != nil || len(port) > 1 && port[0] == '0' {
		return netip.AddrPort{}, errPort
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), nil
}

// AppendLine appends a header of version 1. Without a valid source, or
// destination, it says UNKNOWN.
func AppendLine(b []byte, source, destination netip.AddrPort) []byte {
	source, destination, four := sameFamily(source, destination)
	switch {
	case !source.IsValid():
		return append(b, "PROXY UNKNOWN\r\n"...)
	case four:
		b = append(b, "PROXY TCP4 "...)
	default:
		b = append(b, "PROXY TCP6 "...)
	}
	b = append(source.Addr().AppendTo(b), ' ')
	b = append(destination.Addr().AppendTo(b), ' ')
	b = append(strconv.AppendUint(b, uint64(source.Port()), 10), ' ')
	return append(strconv.AppendUint(b, uint64(destination.Port()), 10), "\r\n"...)
}

// sameFamily makes both ends IPv4 or both IPv6, as a header has one family for
// the two. The ends are invalid if one of them was.
func sameFamily(a, b netip.AddrPort) (_, _ netip.AddrPort, four bool) {
	if !a.IsValid() || !b.IsValid() {
		return netip.AddrPort{}, netip.AddrPort{}, false
	}
	x, y := a.Addr().Unmap().WithZone(""), b.Addr().Unmap().WithZone("")
	if four = x.Is4() && y.Is4(); !four {
		x, y = netip.AddrFrom16(x.As16()), netip.AddrFrom16(y.As16())
	}
	return netip.AddrPortFrom(x, a.Port()), netip.AddrPortFrom(y, b.Port()), four
}
