package proxyproto

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

const (
	preamble = 16 // signature, version and command, family and transport, length

	commandLocal = 0x20 // version 2, LOCAL
	commandProxy = 0x21 // version 2, PROXY

	familyUnspecified = 0x00
	familyTCP4        = 0x11
	familyUDP4        = 0x12
	familyTCP6        = 0x21
	familyUDP6        = 0x22
	familyUnix        = 0x31

	familyUnixDatagram = 0x32

	typeChecksum = 3 // PP2_TYPE_CRC32C
)

// parseBinary reads version 2.
func parseBinary(data []byte) (h Header, ok bool, err error) {
	command := byte(commandLocal)
	if len(data) > len(signature) {
		command = data[len(signature)]
	}
	if command != commandLocal && command != commandProxy {
		return Header{}, false, errVersion
	}
	if len(data) < preamble {
		return Header{}, false, nil
	}
	h.Size = preamble + int(binary.BigEndian.Uint16(data[14:]))
	switch {
	case h.Size > MaxSize:
		return Header{}, false, errLong
	case len(data) < h.Size:
		return Header{}, false, nil
	case command == commandLocal: // all but the length is to be ignored
		return h, true, nil
	}
	additions, err := h.addresses(data[13], data[preamble:h.Size])
	if err == nil {
		err = checkTLVs(data[:h.Size], additions)
	}
	if err != nil {
		return Header{}, false, err
	}
	return h, true, nil
}

// addresses reads the addresses at the start of p, and returns what is behind them.
// Those of datagrams and of unix sockets are passed over: they are valid, and of
// no use to us (section 2.2).
func (h *Header) addresses(family byte, p []byte) (rest []byte, err error) {
	size := 0 // of one address
	switch family {
	case familyTCP4:
		size = 4
	case familyTCP6:
		size = 16
	case familyUnspecified: // nobody says what is in it
		return nil, nil
	case familyUDP4:
		return skip(p, 2*4+4)
	case familyUDP6:
		return skip(p, 2*16+4)
	case familyUnix, familyUnixDatagram:
		return skip(p, 2*108)
	default:
		return nil, errFamily
	}
	if len(p) < 2*size+4 {
		return nil, errAddresses
	}
	ports := p[2*size:]
	h.Source = binaryEnd(p[:size], ports)
	h.Destination = binaryEnd(p[size:2*size], ports[2:])
	return ports[4:], nil
}

func skip(p []byte, n int) ([]byte, error) {
	if len(p) < n {
		return nil, errAddresses
	}
	return p[n:], nil
}

func binaryEnd(address, port []byte) netip.AddrPort {
	a, _ := netip.AddrFromSlice(address)
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(port))
}

// checkTLVs judges the additions, which are the end of header: that they fill
// their space, and the checksum, if there is one.
func checkTLVs(header, additions []byte) error {
	for len(additions) > 0 {
		if len(additions) < 3 {
			return errTLV
		}
		kind, n := additions[0], int(binary.BigEndian.Uint16(additions[1:]))
		if additions = additions[3:]; len(additions) < n {
			return errTLV
		}
		if kind == typeChecksum {
			at := len(header) - len(additions)
			if n != 4 || checksum(header, at) != binary.BigEndian.Uint32(header[at:]) {
				return errChecksum
			}
		}
		additions = additions[n:]
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is that of header with zeros for the checksum at the given place.
func checksum(header []byte, at int) uint32 {
	sum := crc32.Update(0, castagnoli, header[:at])
	sum = crc32.Update(sum, castagnoli, make([]byte, 4))
	return crc32.Update(sum, castagnoli, header[at+4:])
}

// AppendBinary appends a header of version 2. Without a valid source, or
// destination, it is LOCAL.
func AppendBinary(b []byte, source, destination netip.AddrPort) []byte {
	source, destination, four := sameFamily(source, destination)
	b = append(b, signature...)
	switch {
	case !source.IsValid():
		return append(b, commandLocal, familyUnspecified, 0, 0)
	case four:
		b = append(b, commandProxy, familyTCP4, 0, 2*4+4)
	default:
		b = append(b, commandProxy, familyTCP6, 0, 2*16+4)
	}
	b = append(b, source.Addr().AsSlice()...)
	b = append(b, destination.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, source.Port())
	return binary.BigEndian.AppendUint16(b, destination.Port())
}
