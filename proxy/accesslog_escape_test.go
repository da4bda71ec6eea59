package proxy

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "\"\\/", "\x00\x1f\x7f", "\xff\xc3", "é\u2028\U0001F600", "<&>"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		got := appendString(nil, p)
		require.Equal(t, string(got), string(appendString(nil, string(p))), "bytes and string differ")
		require.True(t, utf8.Valid(got), "not UTF-8: %q", got)
		require.NotContains(t, string(got), "\n")
		marshalled, err := json.Marshal(string(p))
		require.NoError(t, err)
		var ours, theirs string
		require.NoError(t, json.Unmarshal(got, &ours), "%q", got)
		require.NoError(t, json.Unmarshal(marshalled, &theirs))
		require.Equal(t, ours, theirs)
	})
}

func FuzzAppendApache(f *testing.F) {
	f.Add([]byte("a\"b\\\xff\n\t"))
	f.Fuzz(func(t *testing.T, p []byte) {
		got := string(appendApache(nil, p))
		require.Equal(t, unescape(t, got), string(p))
		for i := range len(got) {
			require.True(t, got[i] >= ' ' && got[i] < 0x7f, "byte %#x in %q", got[i], got)
		}
	})
}

// unescape reads what appendApache wrote, and fails on what could end a quoted field.
func unescape(t *testing.T, s string) string {
	t.Helper()
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		require.NotEqual(t, s[i], byte('"'), "unescaped quote in %q", s)
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 't':
			b.WriteByte('\t')
		case 'x':
			b.WriteByte(byte(strings.IndexByte(hexDigits, s[i+1])<<4 | strings.IndexByte(hexDigits, s[i+2])))
			i += 2
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func TestNote_IsReadBack(t *testing.T) {
	long := strings.Repeat("x", maxPiece+1)
	note := []byte{1}
	for _, p := range []string{"GET", "", long, "agent", "r"} {
		note = appendPiece(note, []byte(p))
	}
	minor, pieces := readNote(note)
	require.EqualValues(t, 1, minor)
	require.Equal(t, "GET", string(pieces[noteMethod]))
	require.Empty(t, pieces[noteHost])
	require.Equal(t, long[:maxPiece], string(pieces[noteTarget]))
	require.Equal(t, "agent", string(pieces[noteAgent]))
	require.Equal(t, "r", string(pieces[noteReferer]))
}
