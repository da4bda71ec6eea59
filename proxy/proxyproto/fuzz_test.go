package proxyproto

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func FuzzParse(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\nGET /"))
	f.Add([]byte("PROXY TCP6 2001:db8::1 ::ffff:1.2.3.4 1 2\r\n"))
	f.Add([]byte("PROXY UNKNOWN all that follows\r\n"))
	f.Add(binaryHeader(commandProxy, familyTCP4, append(append([]byte{}, four...), 4, 0, 1, 9)...))
	f.Add(binaryHeader(commandProxy, familyTCP6, make([]byte, 36)...))
	f.Add(binaryHeader(commandProxy, familyUnix, make([]byte, 216)...))
	f.Add(binaryHeader(commandLocal, familyUnspecified, 3, 0, 4, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, ok, err := Parse(data)
		require.False(t, ok && err != nil)
		for n := range min(len(data), 300) { // in pieces it comes to the same
			part, partOK, partErr := Parse(data[:n])
			switch {
			case partErr != nil:
				require.Equal(t, err, partErr, "the first %d bytes", n)
			case partOK:
				require.Equal(t, h, part, "the first %d bytes", n)
				require.GreaterOrEqual(t, n, h.Size)
			}
		}
		if !ok {
			require.Zero(t, h)
			require.False(t, err == nil && len(data) >= MaxSize, "no end in sight")
			return
		}
		require.True(t, h.Size > 0 && h.Size <= MaxSize && h.Size <= len(data))
		require.Equal(t, h.Source.IsValid(), h.Destination.IsValid())
		for _, b := range [][]byte{AppendLine(nil, h.Source, h.Destination), AppendBinary(nil, h.Source, h.Destination)} {
			again, ok, err := Parse(b)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, h.Source, again.Source)
			require.Equal(t, h.Destination, again.Destination)
			require.Equal(t, len(b), again.Size)
		}
	})
}
