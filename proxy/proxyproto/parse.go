// Package proxyproto reads and writes the header of the PROXY protocol, versions
// 1 and 2 (haproxy.org/download/2.9/doc/proxy-protocol.txt): the word of a proxy
// in front on who its client is. It works on bytes: no I/O, no goroutine, no clock.
package proxyproto

import (
	"bytes"
	"errors"
	"net/netip"
)

// Header is what a header says.
type Header struct {
	// Source and Destination are the ends of the connection that the proxy in
	// front took. Both are invalid when it spoke for itself (LOCAL: a health check
	// of its own) or does not know (UNKNOWN): the connection's own ends count then.
	// IPv4 inside IPv6 is unmapped.
	Source, Destination netip.AddrPort
	// Size is how many bytes it took; what follows is the client's.
	Size int
}

// MaxSize bounds a header, in bytes; one of version 1 has 107 at most.
const MaxSize = 4 << 10

// maxLine is the longest line that the specification allows, CRLF included.
const maxLine = 107

// signature begins a header of version 2, line one of version 1.
var (
	signature = []byte("\r\n\r\n\x00\r\nQUIT\n")
	line      = []byte("PROXY ")
)

var (
	errForeign   = errors.New("no PROXY protocol header")
	errLong      = errors.New("PROXY protocol header is too long")
	errEnd       = errors.New("PROXY line does not end in CRLF")
	errLine      = errors.New("PROXY line has not the form of its protocol")
	errAddress   = errors.New("PROXY line has an invalid address")
	errPort      = errors.New("PROXY line has an invalid port")
	errVersion   = errors.New("PROXY protocol header of an unknown version or command")
	errFamily    = errors.New("PROXY protocol header of an unknown kind of address")
	errAddresses = errors.New("PROXY protocol header is too short for its addresses")
	errTLV       = errors.New("PROXY protocol header has additions that do not fill it")
	errChecksum  = errors.New("PROXY protocol header has a wrong checksum")
)

// Parse reads the header at the start of data, which is all that has arrived.
// Without an error false means that more is needed.
func Parse(data []byte) (Header, bool, error) {
	switch {
	case len(data) == 0:
		return Header{}, false, nil
	case begins(data, line):
		return parseLine(data)
	case begins(data, signature):
		return parseBinary(data)
	}
	return Header{}, false, errForeign
}

// begins says whether data begins with p, as far as data goes.
func begins(data, p []byte) bool {
	n := min(len(data), len(p))
	return bytes.Equal(data[:n], p[:n])
}
