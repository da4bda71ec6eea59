package proxyproto

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// binaryHeader is a header of version 2 with what follows its preamble.
func binaryHeader(command, family byte, rest ...byte) []byte {
	b := append(bytes.Clone(signature), command, family, byte(len(rest)>>8), byte(len(rest)))
	return append(b, rest...)
}

var four = []byte{192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x67, 0x01, 0xbb}

func TestParse_Headers(t *testing.T) {
	f := func(header, source, destination string) {
		t.Helper()
		for n := range len(header) { // no prefix is enough
			h, ok, err := Parse([]byte(header[:n]))
			require.NoError(t, err, "the first %d bytes", n)
			require.False(t, ok, "the first %d bytes", n)
			require.Zero(t, h)
		}
		h, ok, err := Parse([]byte(header + "PROXY, it says"))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, len(header), h.Size)
		if source == "" {
			require.False(t, h.Source.IsValid() || h.Destination.IsValid())
			return
		}
		require.Equal(t, source, h.Source.String())
		require.Equal(t, destination, h.Destination.String())
	}
	f("PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n", "192.0.2.1:4711", "198.51.100.2:443")
	f("PROXY TCP6 2001:db8::1 ::1 65535 0\r\n", "[2001:db8::1]:65535", "[::1]:0")
	f("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", "192.0.2.1:1", "[::1]:2")
	f("PROXY UNKNOWN\r\n", "", "")
	f("PROXY UNKNOWN ffff:f...f:ffff 65535  x\r\n", "", "")
	f("PROXY UNKNOWN "+strings.Repeat("x", maxLine-16)+"\r\n", "", "")

	f(string(binaryHeader(commandProxy, familyTCP4, four...)), "192.0.2.1:4711", "198.51.100.2:443")
	six := append(append(make([]byte, 0, 36), netip.MustParseAddr("2001:db8::1").AsSlice()...), netip.MustParseAddr("::ffff:10.0.0.1").AsSlice()...)
	f(string(binaryHeader(commandProxy, familyTCP6, append(six, 0, 1, 0, 2)...)), "[2001:db8::1]:1", "10.0.0.1:2")
	f(string(binaryHeader(commandLocal, familyUnspecified)), "", "")
	f(string(binaryHeader(commandLocal, familyTCP4, 1, 2, 3)), "", "")
	f(string(binaryHeader(commandLocal, 0xff, 1, 2, 3)), "", "")
	f(string(binaryHeader(commandProxy, familyUnspecified)), "", "")
	f(string(binaryHeader(commandProxy, familyUnspecified, 4, 0, 1, 9)), "", "")
	f(string(binaryHeader(commandProxy, familyUnspecified, 1, 2)), "", "")
	f(string(binaryHeader(commandProxy, familyUnix, make([]byte, 216)...)), "", "")
	f(string(binaryHeader(commandProxy, familyUnixDatagram, make([]byte, 216)...)), "", "")
	f(string(binaryHeader(commandProxy, familyUDP4, append(bytes.Clone(four), 4, 0, 1, 9)...)), "", "")
	f(string(binaryHeader(commandProxy, familyUDP6, make([]byte, 36)...)), "", "")
	f(string(binaryHeader(commandProxy, familyTCP4, append(bytes.Clone(four), 4, 0, 2, 0, 0, 0xea, 0, 0)...)), "192.0.2.1:4711", "198.51.100.2:443")
	f(string(binaryHeader(commandProxy, familyTCP4, append(bytes.Clone(four), append([]byte{4, 0x0f, 0xe0}, make([]byte, 0xfe0)...)...)...)),
		"192.0.2.1:4711", "198.51.100.2:443")
}

func TestParse_HAProxyWithChecksum(t *testing.T) {
	// What HAProxy 2.6 sends for "send-proxy-v2 proxy-v2-options crc32c,unique-id".
	header, err := hex.DecodeString("0d0a0d0a000d0a515549540a2111001b7f0000017f000001ecca4a2f030004e174e86b05000569642d2d2d")
	require.NoError(t, err)
	h, ok, err := Parse(header)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "127.0.0.1:60618", h.Source.String())
	require.Equal(t, "127.0.0.1:18991", h.Destination.String())
	require.Equal(t, len(header), h.Size)
	const kind = 28 // of the checksum: as an addition of another kind it is passed over
	for i := preamble; i < len(header); i++ {
		broken := bytes.Clone(header)
		broken[i] ^= 0x40
		_, ok, err := Parse(broken)
		require.Equal(t, i == kind, ok, "byte %d", i)
		require.Equal(t, i == kind, err == nil, "byte %d", i)
	}
}

func TestParse_Refuses(t *testing.T) {
	f := func(want error, header string) {
		t.Helper()
		_, ok, err := Parse([]byte(header))
		require.False(t, ok)
		require.ErrorIs(t, err, want)
	}
	f(errForeign, "GET / HTTP/1.1\r\n")
	f(errForeign, "P ")
	f(errForeign, "PROXY\r\n")
	f(errForeign, "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n")
	f(errForeign, "\x16\x03\x01")
	f(errForeign, "\r\n\r\n\x00\r\nQUIX")
	f(errLong, "PROXY UNKNOWN "+strings.Repeat("x", 200))
	f(errLong, "PROXY UNKNOWN "+strings.Repeat("x", maxLine-15)+"\r\n")
	f(errLong, "PROXY UNKNOWN "+strings.Repeat("x", maxLine-14)+"\r\n")
	f(errEnd, "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n")
	f(errEnd, "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rx")
	f(errLine, "PROXY \r\n")
	f(errLine, "PROXY UNKNOWNX\r\n")
	f(errLine, "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n")
	f(errLine, "PROXY TCP4\r\n")
	f(errLine, "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n")
	f(errLine, "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n")
	f(errLine, "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n")
	f(errLine, "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n")
	f(errLine, "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n")
	f(errAddress, "PROXY TCP4 ::1 1.2.3.4 1 2\r\n")
	f(errAddress, "PROXY TCP4 1.2.3.4 ::1 1 2\r\n")
	f(errAddress, "PROXY TCP6 1.2.3.4 ::1 1 2\r\n")
	f(errAddress, "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n")
	f(errAddress, "PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n")
	f(errAddress, "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n")
	f(errPort, "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n")
	f(errPort, "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n")
	f(errPort, "PROXY TCP4 1.2.3.4 1.2.3.4 1 -2\r\n")
	f(errPort, "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n")

	f(errVersion, string(signature)+"\x11")
	f(errVersion, string(signature)+"\x22")
	f(errLong, string(binaryHeader(commandProxy, familyTCP4))[:14]+"\x0f\xf1")
	f(errFamily, string(binaryHeader(commandProxy, 0x13, four...)))
	f(errFamily, string(binaryHeader(commandProxy, 0x41, four...)))
	f(errAddresses, string(binaryHeader(commandProxy, familyTCP4, four[:11]...)))
	f(errAddresses, string(binaryHeader(commandProxy, familyTCP6, four...)))
	f(errAddresses, string(binaryHeader(commandProxy, familyUnix, four...)))
	f(errAddresses, string(binaryHeader(commandProxy, familyUDP4, four[:11]...)))
	f(errTLV, string(binaryHeader(commandProxy, familyUDP4, append(bytes.Clone(four), 4)...)))
	f(errTLV, string(binaryHeader(commandProxy, familyTCP4, append(bytes.Clone(four), 4)...)))
	f(errTLV, string(binaryHeader(commandProxy, familyTCP4, append(bytes.Clone(four), 4, 0, 2, 0)...)))
	f(errChecksum, string(binaryHeader(commandProxy, familyTCP4, append(bytes.Clone(four), 3, 0, 2, 0, 0)...)))
}

func TestAppend(t *testing.T) {
	f := func(source, destination, wantLine, wantBinary string) {
		t.Helper()
		var s, d netip.AddrPort
		if source != "" {
			s = netip.MustParseAddrPort(source)
		}
		if destination != "" {
			d = netip.MustParseAddrPort(destination)
		}
		require.Equal(t, "before"+wantLine, string(AppendLine([]byte("before"), s, d)))
		b := AppendBinary([]byte("before"), s, d)
		require.Equal(t, "before"+string(signature), string(b[:18]))
		require.Equal(t, wantBinary, hex.EncodeToString(b[18:]))
		for _, b := range [][]byte{AppendLine(nil, s, d), AppendBinary(nil, s, d)} {
			h, ok, err := Parse(b)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, len(b), h.Size)
			if !s.IsValid() || !d.IsValid() {
				require.False(t, h.Source.IsValid())
				continue
			}
			require.Equal(t, s.Addr().Unmap().WithZone(""), h.Source.Addr())
			require.Equal(t, s.Port(), h.Source.Port())
			require.Equal(t, d.Addr().Unmap(), h.Destination.Addr())
		}
	}
	f("192.0.2.1:4711", "198.51.100.2:443", "PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n", "2111000cc0000201c6336402126701bb")
	f("[::ffff:192.0.2.1]:4711", "198.51.100.2:443", "PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n", "2111000cc0000201c6336402126701bb")
	f("[fe80::1%eth0]:1", "[::1]:2", "PROXY TCP6 fe80::1 ::1 1 2\r\n",
		"21210024fe80000000000000000000000000000100000000000000000000000000000001"+"00010002")
	f("192.0.2.1:1", "[::1]:2", "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n",
		"2121002400000000000000000000ffffc000020100000000000000000000000000000001"+"00010002")
	f("", "", "PROXY UNKNOWN\r\n", "20000000")
	f("192.0.2.1:1", "", "PROXY UNKNOWN\r\n", "20000000")
}
