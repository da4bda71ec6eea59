package http1

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// runChunks runs raw through c in pieces of at most size bytes and returns what
// is forwarded and what was left over.
func runChunks(c *Chunks, raw string, size int) (out, rest string, done bool, rej *Reject) {
	for len(raw) > 0 {
		p := []byte(raw[:min(size, len(raw))])
		span, n, done, rej := c.Next(p)
		out += string(span)
		if rej != nil {
			return out, raw, false, rej
		}
		raw = raw[n:]
		if done {
			return out, raw, true, nil
		}
		if n == 0 && len(span) == 0 {
			panic("no progress")
		}
	}
	return out, "", false, nil
}

func TestChunks(t *testing.T) {
	f := func(raw, kept, data string) {
		t.Helper()
		for size := 1; size <= len(raw); size++ {
			var c Chunks
			out, rest, done, rej := runChunks(&c, raw+"NEXT"[:min(size, 4)], size)
			require.Nil(t, rej, "pieces of %d", size)
			require.True(t, done)
			require.True(t, c.Done())
			require.Equal(t, "NEXT"[:min(size, 4)], rest)
			require.Equal(t, kept, out, "pieces of %d", size)
			require.Equal(t, int64(len(data)), c.Data())

			c.Reset(DropFraming, 0)
			out, _, done, rej = runChunks(&c, raw, size)
			require.Nil(t, rej)
			require.True(t, done)
			require.Equal(t, data, out, "pieces of %d", size)
		}
	}
	hello := "5\r\nhello\r\n"
	f("0\r\n\r\n", "0\r\n\r\n", "")
	f("0000\r\n\r\n", "0\r\n\r\n", "")
	f(hello+"0\r\n\r\n", hello+"0\r\n\r\n", "hello")
	f("00005\r\nhello\r\nA\r\n0123456789\r\n0b\r\n0123456789a\r\n0\r\n\r\n",
		"5\r\nhello\r\nA\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n", "hello01234567890123456789a")
	f("5\r\n0\r\n\r\n\r\n0\r\n\r\n", "5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n")
	f("5;a;b=c;d=\"e;\\\"\\\\\tf\xff\";g=\"\"\r\nhello\r\n0;z\r\n\r\n", hello+"0\r\n\r\n", "hello")
	f(hello+"0\r\nX-Sum: 1\r\n\r\n", hello+"0\r\nX-Sum: 1\r\n\r\n", "hello")
	f(hello+"0\r\nHost: a\r\nX-Sum: 1\r\nContent_Length: 1\r\nCookie: c\r\ngrpc-status:0\r\nVARY: x\r\nX-Forwarded-For: y\r\n\r\n",
		hello+"0\r\nX-Sum: 1\r\ngrpc-status:0\r\n\r\n", "hello")
	f("0\r\nTransfer-Encoding: chunked\r\n\r\n", "0\r\n\r\n", "")
	long := strings.Repeat("a", longestName+1) + ":\r\n"
	f("0\r\n"+long+"\r\n", "0\r\n"+long+"\r\n", "")
}

func TestChunks_Refuses(t *testing.T) {
	f := func(raw string, want *Reject) {
		t.Helper()
		for _, size := range []int{1, 2, 3, len(raw)} {
			var c Chunks
			out, _, done, rej := runChunks(&c, raw, size)
			require.False(t, done)
			require.Equal(t, want, rej, "pieces of %d", size)
			require.NotContains(t, out, "0\r\n", "the end of a broken body was forwarded")
		}
	}
	f("\r\n", rejectChunkSize)
	f(";a\r\n", rejectChunkSize)
	f(" 5\r\n", rejectChunkSize)
	f("+5\r\n", rejectChunkSize)
	f("0x5\r\n", rejectChunkSize)
	f("5 \r\n", rejectChunkSize)
	f("5\t;a\r\n", rejectChunkSize)
	f("5\n", rejectChunkSize)
	f("5\rX", rejectBareCR)
	f("5\r\r\n", rejectBareCR)
	f("FFFFFFFFFFFFFFFF\r\n", rejectChunkLarge)
	f("1000000000000000\r\n", rejectChunkLarge)
	f(strings.Repeat("0", maxChunkZeros+1), rejectChunkSize)
	f("5\r\nhello!", rejectChunkEnd)
	f("5\r\nhello\n", rejectChunkEnd)
	f("5\r\nhello\r0", rejectChunkEnd)
	f("5\r\nhello\r\n\r\n", rejectChunkSize)
	f("5;\r", rejectChunkExt)
	f("5; a", rejectChunkExt)
	f("5;a =", rejectChunkExt)
	f("5;a=\r", rejectChunkExt)
	f("5;a==", rejectChunkExt)
	f("5;a=b=", rejectChunkExt)
	f("5;a=b\"", rejectChunkExt)
	f("5;a=\"b\"c", rejectChunkExt)
	f("5;a=\"\r", rejectChunkExt)
	f("5;a=\"\\\n", rejectChunkExt)
	f("5;a=\"\x7f", rejectChunkExt)
	f("5;a\n", rejectChunkExt)
	f("5;a\rX", rejectBareCR)
	f("5;"+strings.Repeat("a", maxExtLine+1), rejectExtSize)
	f(strings.Repeat("1;"+strings.Repeat("a", 4000)+"\r\nx\r\n", 5), rejectExtSize)
	f("0\r\n\n", rejectBareLF)
	f("0\r\n\rX\n", rejectBareCR)
	f("0\r\nA: b\n", rejectBareLF)
	f("0\r\nA: b\r\n c\r\n", rejectFold)
	f("0\r\nA : b\r\n", rejectSpace)
	f("0\r\nA\r\n", rejectNoColon)
	f("0\r\nA: \x00\r\n", rejectValue)
	f("0\r\nA: "+strings.Repeat("b", defaultTrailer), rejectTrailerSize)
	f("0\r\n"+strings.Repeat("A:b\r\n", maxTrailerFields+1), rejectTrailerSize)
}

// A body whose extensions stay in proportion to its data is not cut off.
func TestChunks_ExtensionsOfLongBody(t *testing.T) {
	chunk := "400;signature=" + strings.Repeat("a", 64) + "\r\n" + strings.Repeat("x", 1<<10) + "\r\n"
	var c Chunks
	for range 1000 {
		_, _, _, rej := runChunks(&c, chunk, len(chunk))
		require.Nil(t, rej)
	}
	require.Equal(t, int64(1000<<10), c.Data())
}

// A read that holds many chunks comes back as one span, the very bytes where
// nothing had to be dropped.
func TestChunks_OneSpan(t *testing.T) {
	raw := []byte(strings.Repeat("10\r\n0123456789abcdef\r\n", 1000) + LastChunk)
	p := bytes.Clone(raw)
	var c Chunks
	out, n, done, rej := c.Next(p)
	require.Nil(t, rej)
	require.True(t, done)
	require.Equal(t, len(raw), n)
	require.Equal(t, raw, out)
	require.Same(t, &p[0], &out[0])
	out, n, done, rej = c.Next(p)
	require.Nil(t, rej)
	require.True(t, done)
	require.Zero(t, n)
	require.Empty(t, out)

	c.Reset(DropFraming, 0)
	out, _, done, rej = c.Next(p)
	require.Nil(t, rej)
	require.True(t, done)
	require.Equal(t, strings.Repeat("0123456789abcdef", 1000), string(out))
}

func TestChunks_TrailerLimit(t *testing.T) {
	f := func(limit int, want *Reject) {
		t.Helper()
		var c Chunks
		c.Reset(KeepFraming, limit)
		_, _, _, rej := runChunks(&c, "0\r\nA: b\r\n\r\n", 100)
		require.Equal(t, want, rej)
	}
	f(8, nil)
	f(7, rejectTrailerSize)
}

func TestChunks_DropTrailer(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		for size := 1; size <= len(in); size++ {
			var c Chunks
			c.Reset(DropTrailer, 0)
			out, _, done, rej := runChunks(&c, in, size)
			require.Nil(t, rej)
			require.True(t, done)
			require.Equal(t, want, string(out))
		}
	}
	f("2;x=y\r\nab\r\n0\r\nA: b\r\n\r\n", "2\r\nab\r\n0\r\n\r\n")
	f("0\r\n\r\n", "0\r\n\r\n")
}

func TestAppendChunk(t *testing.T) {
	require.Equal(t, "x", string(AppendChunk([]byte("x"), nil)))
	require.Equal(t, "x1f\r\n"+strings.Repeat("a", 31)+"\r\n", string(AppendChunk([]byte("x"), bytes.Repeat([]byte("a"), 31))))
}
