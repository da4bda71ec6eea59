package proxy

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// script is a backend that says exactly what it is told to: one answer for each
// request head it reads, on as many connections as come.
func script(t *testing.T, answer func(c net.Conn, head string)) string {
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
				r := bufio.NewReader(c)
				for {
					head := ""
					for !strings.HasSuffix(head, "\r\n\r\n") {
						b, err := r.ReadByte()
						if err != nil {
							return
						}
						head += string(b)
					}
					answer(c, head)
				}
			}()
		}
	}()
	return l.Addr().String()
}

func say(s string) func(net.Conn, string) {
	return func(c net.Conn, _ string) { _, _ = io.WriteString(c, s) }
}

const closing = "GET /p?q=1 HTTP/1.1\r\nHost: x.test\r\nConnection: close\r\n\r\n"

func TestResponse_FramingsArriveWhole(t *testing.T) {
	f := func(answer, request, want string) {
		t.Helper()
		b := newBed(t, nil, script(t, func(c net.Conn, _ string) {
			_, _ = io.WriteString(c, answer)
			if !strings.Contains(answer, "ength: ") && !strings.Contains(answer, "chunked") {
				_ = c.Close()
			}
		}))
		require.Equal(t, want, b.exchange(request))
	}
	// A body that ends with the connection gets chunks, so that its end can be told from a cut.
	f("HTTP/1.0 200 OK\r\n\r\nuntil close", closing,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nb\r\nuntil close\r\n0\r\n\r\n")
	// An HTTP/1.0 client cannot read chunks.
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n", "GET / HTTP/1.0\r\n\r\n",
		"HTTP/1.1 200 OK\r\n\r\nabcde")
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n3;e=1\r\nabc\r\n0\r\nT: v\r\n\r\n", closing,
		"HTTP/1.1 200 OK\r\nTrailer: T\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\nT: v\r\n\r\n")
	f("HTTP/1.1 204 No Content\r\nX: 1\r\nContent-Length: 0\r\n\r\n", closing, "HTTP/1.1 204 No Content\r\nX: 1\r\nConnection: close\r\n\r\n")
	f("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", closing, "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nConnection: close\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", strings.Replace(closing, "GET", "HEAD", 1), "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\n")
	f("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", closing,
		"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
	f("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	f("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nConnection: X-Hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nok", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
}

func TestRequest_PipelinedAreAnsweredInOrder(t *testing.T) {
	b := newBed(t, nil, backend(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "<%s %s>", r.URL.Path, body)
	}))
	all := ""
	for i := range 50 {
		all += fmt.Sprintf("POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n%02d", i, i)
		all += fmt.Sprintf("POST /%dc HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n%02d\r\n0\r\n\r\n", i, i)
	}
	got := b.exchange(all + closing)
	at := 0
	for i := range 50 {
		for _, want := range []string{fmt.Sprintf("</%d %02d>", i, i), fmt.Sprintf("</%dc %02d>", i, i)} {
			n := strings.Index(got[at:], want)
			require.GreaterOrEqual(t, n, 0, "no %s behind byte %d", want, at)
			at += n
		}
	}
}

func TestRequest_ContinueComesFromTheBackend(t *testing.T) {
	b := newBed(t, nil, backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n)
	}))
	c := b.dial()
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 100 Continue\r\n", line)
	_, _ = io.WriteString(c, "hello")
	_, err = r.ReadString('\n')
	require.NoError(t, err)
	resp, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	body, _ := io.ReadAll(resp.Body)
	require.Equal(t, "5", string(body))

	got := b.exchange("POST /no HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	require.True(t, strings.HasPrefix(got, "HTTP/1.1 403 "), got)
}

func TestBodies_LongOnesArriveWhole(t *testing.T) {
	const size = 20 << 20
	b := newBed(t, nil, backend(t, func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		if _, err := io.Copy(h, r.Body); err != nil {
			return
		}
		w.Header().Set("X-Sum", fmt.Sprintf("%x", h.Sum(nil)))
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", fmt.Sprint(size))
		}
		_, _ = io.Copy(w, io.LimitReader(&pattern{}, size))
	}))
	want := sha256.New()
	_, _ = io.Copy(want, io.LimitReader(&pattern{}, size))
	f := func(path string, length int64) {
		t.Helper()
		req, err := http.NewRequest("POST", b.url(path), io.LimitReader(&pattern{}, size))
		require.NoError(t, err)
		req.ContentLength = length
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		got := sha256.New()
		n, err := io.Copy(got, resp.Body)
		require.NoError(t, err)
		require.EqualValues(t, size, n)
		require.Equal(t, fmt.Sprintf("%x", want.Sum(nil)), fmt.Sprintf("%x", got.Sum(nil)))
		require.Equal(t, fmt.Sprintf("%x", want.Sum(nil)), resp.Header.Get("X-Sum"))
	}
	f("/length", size)
	f("/chunks", -1)
	f("/length", -1)
	f("/chunks", size)
}

// pattern is an endless stream in which a lost or repeated block shows.
type pattern struct{ at int }

func (r *pattern) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r.at * 7 >> 3)
		r.at++
	}
	return len(p), nil
}

func TestResponse_CutOnesAreSeenAsCut(t *testing.T) {
	f := func(answer string) {
		t.Helper()
		b := newBed(t, nil, script(t, func(c net.Conn, _ string) {
			_, _ = io.WriteString(c, answer)
			_ = c.Close()
		}))
		resp, err := http.Get(b.url("/"))
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		_, err = io.ReadAll(resp.Body)
		require.Error(t, err)
	}
	f("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n")
}

func TestRequest_ForwardingFields(t *testing.T) {
	f := func(change func(*bed), sent string, want ...string) {
		t.Helper()
		heads := make(chan string, 1)
		b := newBed(t, change, script(t, func(c net.Conn, head string) {
			heads <- head
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}))
		b.exchange(strings.Replace(closing, "\r\n\r\n", "\r\n"+sent+"\r\n", 1))
		got := strings.ReplaceAll(<-heads, fmt.Sprint(b.port), "PORT")
		require.Equal(t, strings.Join(want, "\r\n")+"\r\n\r\n", got)
	}
	spoofed := "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Host: evil\r\nForwarded: for=9.9.9.9\r\nX-Real-Ip: 9.9.9.9\r\nX_Forwarded_For: 9\r\n"
	f(nil, spoofed, "GET /p?q=1 HTTP/1.1", "Host: x.test", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", "X-Forwarded-Port: PORT", "X-Forwarded-Host: x.test")
	f(func(b *bed) { b.opts.Trusted = loopback; b.opts.Forwarded = true }, spoofed, "GET /p?q=1 HTTP/1.1", "Host: x.test", "X-Real-Ip: 9.9.9.9",
		"X-Forwarded-For: 9.9.9.9, 127.0.0.1", "X-Forwarded-Proto: https", "X-Forwarded-Port: 443", "X-Forwarded-Host: evil", `Forwarded: for=9.9.9.9, for=127.0.0.1;proto=http;host="x.test"`)
	f(nil, "A: 1\r\nConnection: a, keep-alive\r\nKeep-Alive: 5\r\nB: 2\r\nProxy: x\r\nTE: trailers\r\nUpgrade: h2c\r\n", "GET /p?q=1 HTTP/1.1", "Host: x.test", "B: 2",
		"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", "X-Forwarded-Port: PORT", "X-Forwarded-Host: x.test", "Connection: TE", "TE: trailers")
}
