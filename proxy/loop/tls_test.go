package loop

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// helloOf is the first flight of a client, in records of at most size bytes.
func helloOf(t *testing.T, size int) []byte {
	ours, theirs := net.Pipe()
	go func() { // ends when the pipe closes
		_ = tls.Client(theirs, &tls.Config{ServerName: "a.test"}).Handshake()
	}()
	buf := make([]byte, 16<<10)
	n, err := ours.Read(buf)
	require.NoError(t, err)
	require.NoError(t, ours.Close())
	var out []byte
	for body := buf[5:n]; len(body) > 0; {
		k := min(size, len(body))
		out = append(append(out, 22, 3, 1, byte(k>>8), byte(k)), body[:k]...)
		body = body[k:]
	}
	return out
}

func TestHelloEnd_WaitsForTheWholeHello(t *testing.T) {
	for _, size := range []int{1, 2, 3, 4, 5, 100, 16 << 10} {
		hello := helloOf(t, size)
		for n := range hello {
			require.False(t, HelloEnd(hello[:n]), "%d of %d bytes in records of %d", n, len(hello), size)
		}
		require.True(t, HelloEnd(hello))
		require.True(t, HelloEnd(append(hello, 22, 3, 1)), "with more behind it")
	}
}

func TestHelloEnd_WaitsForNothingElse(t *testing.T) {
	f := func(data string, want bool) {
		t.Helper()
		require.Equal(t, want, HelloEnd([]byte(data)))
	}
	f("", false)
	f("\x16", false)
	f("\x16\x03\x01\x00", false)
	f("G", true)
	f("GET / HTTP/1.1\r\n\r\n", true)
	f("\x80\x2e\x01\x00\x02", true)         // SSLv2
	f("\x15\x03\x01\x00\x02\x02\x28", true) // an alert
	f("\x16\x03\x01\x00\x00", true)         // an empty record
	f("\x16\x03\x01\x41\x00", true)         // one that is too long
	f("\x16\x02\x01\x00\x05", true)         // of another version
	f("\x16\x03\x01\x00\x04\x01\x01\x00", false)
	f("\x16\x03\x01\x00\x04\x01\x02\x00\x00", true) // a message that is too long
}

func TestBoundary_FollowsRecords(t *testing.T) {
	var stream []byte
	for _, n := range []int{0, 1, 5, 300, 0, 2} {
		stream = append(append(stream, 23, 3, 3, byte(n>>8), byte(n)), make([]byte, n)...)
	}
	for _, step := range []int{1, 2, 3, 4, 5, 6, 7, len(stream)} {
		var b boundary
		ends := 0
		for rest := stream; len(rest) > 0; {
			n := min(step, len(rest))
			ends += b.passed(rest[:n])
			rest = rest[n:]
		}
		require.Equal(t, 6, ends, "in steps of %d", step)
		require.False(t, b.inside())
		b.passed([]byte{23})
		require.True(t, b.inside())
	}
}

func TestTLS_RestFindsTheBuffers(t *testing.T) {
	require.NotZero(t, rawInput, "crypto/tls calls it something else now: see tlsmemory.go")
	require.NotZero(t, hand, "likewise")
	conn := tls.Client(nil, &tls.Config{})
	b := (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(conn), rawInput))
	rest := &TLS{conn: conn}
	b.Write(make([]byte, 2*restSize))
	rest.Rest()
	require.Equal(t, 2*restSize, b.Len(), "what is in use stays")
	_, err := io.Copy(io.Discard, b)
	require.NoError(t, err)
	rest.Rest()
	require.Zero(t, b.Cap())
}

// A connection may close at any time: before a step, during one, behind one. Its
// coroutine ends in any case, and without the Loop, which may have ended first.
func TestHandshake_AbandonedEndsItsCoroutine(t *testing.T) {
	f := func(when string) {
		t.Helper()
		var queue []func()
		work := func(f func()) { queue = append(queue, f) }
		var tt *TLS
		open := func(c net.Conn) (*tls.Conn, error) {
			if when == "during" {
				tt.Shake().Abandon()
			}
			return tls.Server(c, &tls.Config{}), nil
		}
		tt = NewTLS(newReal(t), -1, open, work, func() { require.Fail(t, "stepped was called") })
		h := tt.Shake()
		h.Step(nil)
		if when == "before" {
			h.Abandon()
		}
		queue[0]()
		if when == "behind" {
			h.Abandon()
			h.Abandon()
		}
		for _, f := range queue[1:] {
			f()
		}
		require.ErrorIs(t, h.err, errAbandoned, when)
	}
	f("before")
	f("during")
	f("behind")
}

// Whoever reads the log wants to know what has panicked, not which worker it ran on.
func TestHandshake_APanicShowsItsOwnStack(t *testing.T) {
	tt := NewTLS(newReal(t), -1, openPanicking, func(step func()) { step() }, func() {})
	tt.Shake().Step(nil)
	done, err := tt.Shake().Done()
	require.True(t, done)
	var p *Panic
	require.ErrorAs(t, err, &p)
	require.Equal(t, "no", p.Value)
	require.Contains(t, string(p.Stack), "openPanicking")
}

func openPanicking(net.Conn) (*tls.Conn, error) { panic("no") }
