package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// inLoop runs f in the only Loop of b and waits for it.
func (b *bed) inLoop(f func(k *core)) {
	done := make(chan struct{})
	b.cores[0].loop.Post(func() {
		f(b.cores[0])
		close(done)
	})
	<-done
}

// until waits for something to be true in the Loop.
func (b *bed) until(is func(k *core) bool) {
	b.t.Helper()
	require.Eventually(b.t, func() (now bool) {
		b.inLoop(func(k *core) { now = is(k) })
		return now
	}, eventually, tick)
}

// untilStalled waits for the only Exchange to have moved some of its bodies, but
// nothing for fifty looks.
func (b *bed) untilStalled() {
	b.t.Helper()
	moved, still := int64(0), 0
	b.until(func(k *core) bool {
		if len(k.clients) == 0 || k.clients[0].x == nil {
			return false
		}
		x := k.clients[0].x
		if n := x.reqBytes + x.respBytes; n != moved {
			moved, still = n, 0
		}
		still++
		return moved > 0 && still == 50
	})
}

// rawBackend serves connections by hand.
func rawBackend(t *testing.T, serve func(c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() { // ends when the listener closes
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with its connection
				defer func() { _ = c.Close() }()
				_ = c.SetDeadline(time.Now().Add(2 * eventually))
				serve(c)
			}()
		}
	}()
	return l.Addr().String()
}

// raceDetector says whether these tests run under it.
var raceDetector bool

// mallocs counts what f allocates anywhere in this process: the least of a few
// runs, because the rest of the process may wake up during one of them.
func mallocs(f func()) uint64 {
	least := ^uint64(0)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.Mallocs-before.Mallocs)
	}
	return least
}

func TestSteadyState_AllocatesNothing(t *testing.T) {
	const rounds = 1000
	f := func(request, answer string) {
		t.Helper()
		// Both peers know how many bytes to expect, and allocate nothing themselves.
		b := newBed(t, func(b *bed) { b.loops = 1 }, rawBackend(t, func(c net.Conn) {
			in, end, out := make([]byte, 4096), []byte(request[len(request)-4:]), []byte(answer)
			for {
				n, err := c.Read(in)
				for err == nil && !bytes.HasSuffix(in[:n], end) {
					var more int
					more, err = c.Read(in[n:])
					n += more
				}
				if _, err := c.Write(out); err != nil || n == 0 {
					return
				}
			}
		}))
		var all [4]net.Conn // at once, so that what goes out is collected
		for i := range all {
			all[i] = b.dial()
		}
		out, in := []byte(request), make([]byte, len(answer))
		exchange := func() {
			for range rounds / len(all) {
				for _, c := range all {
					if _, err := c.Write(out); err != nil {
						t.Fatal(err)
					}
				}
				for _, c := range all {
					if _, err := io.ReadFull(c, in); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		exchange() // fills the pools
		require.Less(t, mallocs(exchange), uint64(rounds/20), "allocations of %d exchanges", rounds)
		require.Equal(t, answer, string(in))
	}
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
	f("GET /path?query=1 HTTP/1.1\r\nHost: x.test\r\nAccept: */*\r\nUser-Agent: test\r\n\r\n", ok)
	f("POST /path HTTP/1.1\r\nHost: x.test\r\nContent-Length: 10\r\n\r\n012345\r\n\r\n", ok)
	f("POST /path HTTP/1.1\r\nHost: x.test\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n", ok)
	f("GET / HTTP/1.1\r\nHost: x.test\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n")
}

func TestSteadyState_TLSAllocatesWhatCryptoTLSDoes(t *testing.T) {
	const rounds = 1000
	const response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	b := newTLSBed(t, func(b *tlsBed) { b.loops = 1 }, rawBackend(t, func(c net.Conn) {
		in, out := make([]byte, 4096), []byte(response)
		for {
			if n, err := c.Read(in); err != nil || n == 0 {
				return
			}
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	}))
	c := b.dialTLS()
	out, in := []byte(getA), make([]byte, len(response))
	exchange := func() {
		for range rounds {
			_, err := c.Write(out)
			if err == nil {
				_, err = io.ReadFull(c, in)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	exchange() // fills the pools
	// One small object for each record that is read: the client's and ours. Under
	// the race detector a sync.Pool of crypto/tls forgets at random.
	most := uint64(2*rounds + rounds/20)
	if raceDetector {
		most = 10 * rounds
	}
	require.Less(t, mallocs(exchange), most, "allocations of %d exchanges", rounds)
	require.Equal(t, response, string(in))
}

// longBody is how much is sent to those who do not read it, in pieces.
const longBody = 100 << 20

var (
	piece      = bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
	pieceChunk = fmt.Appendf(nil, "%x\r\n%s\r\n", len(piece), piece)
)

// sendLong writes head and a long body, in chunks or not.
func sendLong(w io.Writer, head string, chunked bool) error {
	if chunked {
		head += "Transfer-Encoding: chunked\r\n\r\n"
	} else {
		head += fmt.Sprintf("Content-Length: %d\r\n\r\n", longBody)
	}
	_, err := io.WriteString(w, head)
	for n := 0; n < longBody && err == nil; n += len(piece) {
		if chunked {
			_, err = w.Write(pieceChunk)
		} else {
			_, err = w.Write(piece)
		}
	}
	if chunked && err == nil {
		_, err = io.WriteString(w, "0\r\n\r\n")
	}
	return err
}

// drainUntil reads until the stream ends with end, and counts the bytes.
func drainUntil(t *testing.T, r io.Reader, end string) (n int) {
	t.Helper()
	buf, tail := make([]byte, 256<<10), ""
	for !strings.HasSuffix(tail, end) || n < longBody {
		k, err := r.Read(buf)
		require.NoError(t, err, "after %d bytes", n)
		n += k
		tail += string(buf[max(0, k-len(end)):k])
		tail = tail[max(0, len(tail)-len(end)):]
	}
	return n
}

// ending is how a long body ends.
func ending(chunked bool) string {
	if chunked {
		return "cdef\r\n0\r\n\r\n"
	}
	return "cdef"
}

// heap is what is in use after a collection.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// heldAtMost is what one stalled Exchange may cost: a full pending buffer, the
// kernel's are not ours.
const heldAtMost = 1 << 20

func TestBackpressure_LongResponseWaitsForItsClient(t *testing.T) {
	f := func(chunked bool) {
		t.Helper()
		b := newBed(t, func(b *bed) { b.loops = 1 }, rawBackend(t, func(c net.Conn) {
			if _, err := c.Read(make([]byte, 4096)); err == nil {
				_ = sendLong(c, "HTTP/1.1 200 OK\r\n", chunked)
			}
		}))
		c := b.dial()
		before := heap()
		_, err := io.WriteString(c, simGet)
		require.NoError(t, err)
		b.untilStalled()
		require.Less(t, heap()-before, int64(heldAtMost))
		require.Greater(t, drainUntil(t, c, ending(chunked)), longBody)
		require.Less(t, heap()-before, int64(heldAtMost))
	}
	f(false)
	f(true)
}

func TestBackpressure_LongUploadWaitsForItsBackend(t *testing.T) {
	f := func(chunked bool) {
		t.Helper()
		read := make(chan struct{})
		got := make(chan int, 1)
		b := newBed(t, func(b *bed) { b.loops = 1 }, rawBackend(t, func(c net.Conn) {
			<-read
			got <- drainUntil(t, c, ending(chunked))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}))
		c := b.dial()
		before := heap()
		go func() { _ = sendLong(c, "POST / HTTP/1.1\r\nHost: x.test\r\n", chunked) }() // ends with the connection
		b.untilStalled()
		require.Less(t, heap()-before, int64(heldAtMost))
		close(read)
		require.Greater(t, <-got, longBody)
		answer := make([]byte, 1024)
		n, err := c.Read(answer)
		require.NoError(t, err)
		require.Equal(t, "200 OK", status(string(answer[:n])))
	}
	f(false)
	f(true)
}

func TestBackpressure_StalledClientIsCut(t *testing.T) {
	f := func(chunked bool) {
		t.Helper()
		b := newBed(t, func(b *bed) { b.loops, b.opts.WriteTimeout = 1, 200*time.Millisecond }, rawBackend(t, func(c net.Conn) {
			if _, err := c.Read(make([]byte, 4096)); err == nil {
				_ = sendLong(c, "HTTP/1.1 200 OK\r\n", chunked)
			}
		}))
		c := b.dial()
		began := time.Now()
		_, err := io.WriteString(c, simGet)
		require.NoError(t, err)
		b.until(func(k *core) bool { return len(k.clients) == 0 && k.stats.closed > 0 })
		require.GreaterOrEqual(t, time.Since(began), b.opts.WriteTimeout)
		n, _ := io.Copy(io.Discard, c)
		require.Less(t, n, int64(longBody))
		require.Equal(t, "up", b.registry.All()[0].State(now()), "it was not the backend")
	}
	f(false)
	f(true)
}
