package http1

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func addCases(f *testing.F, direction string) {
	for _, c := range smugglingCases(f) {
		if raw := expand(c.Raw); c.Direction == direction && len(raw) < 4<<10 {
			f.Add(raw)
		}
	}
}

// maxFuzz keeps the tests that try every prefix quick.
const maxFuzz = 2 << 10

func FuzzRequest(f *testing.F) {
	addCases(f, "request")
	for _, raw := range []string{wrkRequest, browserRequest, rareRequest} {
		f.Add([]byte(raw))
	}
	lim := &Limits{Head: 512, Target: 64, Fields: 8}
	f.Fuzz(func(t *testing.T, raw []byte) {
		raw = raw[:min(len(raw), maxFuzz)]
		var whole Request
		ok, rej := whole.Parse(raw, lim)
		require.False(t, ok && rej != nil)

		var r Request
		for n := range len(raw) + 1 {
			prefixOK, prefixRej := r.Parse(raw[:n], lim)
			if prefixRej != nil {
				require.Equal(t, rej, prefixRej, "the first %d bytes", n)
				break
			}
			require.Equal(t, ok && n >= whole.Head, prefixOK, "the first %d bytes", n)
			if end := HeadEnd(raw[:n], 0); end > 0 && n < lim.Head {
				require.True(t, prefixOK || rej != nil, "a whole head is neither taken nor refused")
			}
		}
		if !ok {
			return
		}
		checkFields(t, &whole.Message)
		want := requestMessage(&whole)
		ok, rej = r.Parse(rebuild(want.start, &whole.Message), &Limits{Target: lim.Target + 1})
		require.True(t, ok, "written anew: %v", rej)
		got := requestMessage(&r)
		if whole.authority == nil {
			require.Equal(t, want, got)
		} else {
			// The authority is not repeated, so that the Host field counts.
			require.Equal(t, want.start, got.start)
			require.Equal(t, want.fields, got.fields)
			require.True(t, r.Host == nil || equalFold(got.host, want.host))
		}
	})
}

func FuzzResponse(f *testing.F) {
	addCases(f, "response")
	f.Add([]byte(plainResponse))
	lim := &Limits{Head: 512, Fields: 8}
	f.Fuzz(func(t *testing.T, raw []byte) {
		raw = raw[:min(len(raw), maxFuzz)]
		for _, method := range [][]byte{[]byte("GET"), []byte("HEAD")} {
			var whole Response
			ok, rej := whole.Parse(raw, method, lim)
			require.False(t, ok && rej != nil)
			require.True(t, rej == nil || rej.Status == 502)

			var r Response
			for n := range len(raw) + 1 {
				prefixOK, prefixRej := r.Parse(raw[:n], method, lim)
				if prefixRej != nil {
					require.Equal(t, rej, prefixRej, "the first %d bytes", n)
					break
				}
				require.Equal(t, ok && n >= whole.Head, prefixOK, "the first %d bytes", n)
			}
			if !ok {
				continue
			}
			checkFields(t, &whole.Message)
			require.False(t, whole.NoBody && whole.UntilClose)
			require.False(t, whole.Chunked && whole.ContentLength >= 0)
			want := responseMessage(&whole)
			ok, rej = r.Parse(rebuild(want.start, &whole.Message), method, nil)
			require.True(t, ok, "written anew: %v", rej)
			require.Equal(t, want, responseMessage(&r))
		}
	})
}

// checkFields holds the offsets to their contract.
func checkFields(t *testing.T, m *Message) {
	for i := range m.Fields {
		f := &m.Fields[i]
		line := m.Buf[f.Start:f.End]
		require.True(t, f.Start < f.NameEnd && f.NameEnd < f.ValueStart && f.ValueStart <= f.ValueEnd && f.ValueEnd < f.End)
		require.True(t, bytes.HasSuffix(line, crlf))
		require.NotContains(t, string(line[:len(line)-2]), "\r")
		require.NotContains(t, string(line), "\x00")
		require.Equal(t, trim(m.FieldValue(f)), m.FieldValue(f))
	}
}

func FuzzChunks(f *testing.F) {
	for _, c := range smugglingCases(f) {
		if _, body, ok := bytes.Cut(expand(c.Raw), []byte("\r\n\r\n")); ok && len(body) < maxFuzz {
			f.Add(body, uint8(3))
		}
	}
	f.Add([]byte("5;a=\"b\"\r\nhello\r\n0\r\nX-Sum: 1\r\nHost: a\r\n\r\nrest"), uint8(7))
	f.Fuzz(func(t *testing.T, raw []byte, size uint8) {
		if len(raw) > maxFuzz {
			return
		}
		for _, mode := range []ChunkMode{KeepFraming, DropFraming} {
			var whole, split Chunks
			whole.Reset(mode, 200)
			split.Reset(mode, 200)
			out, rest, done, rej := runChunks(&whole, string(raw), max(len(raw), 1))
			splitOut, splitRest, splitDone, splitRej := runChunks(&split, string(raw), int(size)+1)
			require.Equal(t, rej, splitRej)
			require.Equal(t, done, splitDone)
			if rej != nil {
				return
			}
			require.Equal(t, out, splitOut)
			require.Equal(t, rest, splitRest)
			require.Equal(t, whole.Data(), split.Data())
			if !done || mode == DropFraming {
				continue
			}
			body, _ := unchunk(out)
			require.Len(t, body, int(whole.Data()))

			// What is forwarded is forwarded again as it is.
			whole.Reset(KeepFraming, 0)
			again, rest, done, rej := runChunks(&whole, out, len(out))
			require.Nil(t, rej)
			require.True(t, done)
			require.Empty(t, rest)
			require.Equal(t, out, again)
		}
	})
}
