package http1

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKnown(t *testing.T) {
	for id, name := range names {
		if name == "" {
			continue
		}
		require.Equal(t, ID(id), known([]byte(name)), name)
		require.Equal(t, ID(id), known([]byte(strings.ToUpper(name))), name)
		require.Equal(t, IDOther, known([]byte("x"+name)))
		require.Equal(t, name, ID(id).String())
		require.LessOrEqual(t, len(name), longestName)
	}
	require.LessOrEqual(t, int(idCount), 64, "IDs must fit into a bit set")
	require.Empty(t, ID(255).String())
	require.Equal(t, IDXForwardedOther, known([]byte("X-Forwarded-Prefix")))
	require.Equal(t, IDOther, known([]byte("X-Forwarded-")))
}

func TestAlias(t *testing.T) {
	f := func(name string, want ID) {
		t.Helper()
		var r Request
		ok, rej := r.Parse([]byte("GET / HTTP/1.1\r\nHost: a.test\r\n"+name+": 5\r\n\r\n"), nil)
		require.True(t, ok, rej)
		require.Equal(t, want, r.Fields[1].ID, name)
		require.Equal(t, int64(-1), r.ContentLength)
	}
	f("Content_Length", IDAlias)
	f("CONTENT.LENGTH", IDAlias)
	f("Transfer_Encoding", IDAlias)
	f("X_Forwarded-For", IDAlias)
	f("X-Forwarded_Prefix", IDAlias)
	f("X_Real_IP", IDAlias)
	f("My_Field", IDOther)
	f("My-Field", IDOther)
	f("Content__Length", IDOther)
	f(strings.Repeat("_", longestName+1), IDOther)
}

func TestTextEnd(t *testing.T) {
	for c := range 256 {
		for at := range 20 {
			b := []byte(strings.Repeat("\xff~ ", 7))
			b[at] = byte(c)
			b[at+1] = 0x01 // a hit next to another must not hide it
			want := at + 1
			if c < 0x20 || c == 0x7f {
				want = at
			}
			require.Equal(t, want, textEnd(b, 0), "byte %#x at %d", c, at)
		}
	}
	require.Equal(t, 3, valueEnd([]byte("\ta\t\x7f"), 0))
}

func TestStatusText(t *testing.T) {
	require.Equal(t, "OK", StatusText(200))
	require.Equal(t, "Network Authentication Required", StatusText(511))
	for _, code := range []int{-1, 0, 99, 299, 306, 512, 999} {
		require.Empty(t, StatusText(code))
	}
}
