package http1

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	wrkRequest = "GET /index.html HTTP/1.1\r\nHost: arzur.net:8000\r\nUser-Agent: wrk/4.2.0\r\nAccept: */*\r\n\r\n"

	browserRequest = "GET /blog/2024/some-article?utm_source=feed HTTP/1.1\r\nHost: arzur.net\r\nConnection: keep-alive\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" +
		"Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9,fr;q=0.8\r\nUpgrade-Insecure-Requests: 1\r\n" +
		"Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: none\r\nReferer: https://arzur.net/blog/\r\n" +
		"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=1\r\n\r\n"

	plainResponse = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nContent-Type: text/plain\r\n" +
		"Content-Length: 128\r\nConnection: keep-alive\r\n\r\n"

	// The absolute form without a path is the one target that is written anew.
	rareRequest = "GET http://[::1]:80?x HTTP/1.1\r\nHost: [::1]:80\r\nX_Forwarded_For: a\r\nConnection: x-hop, upgrade\r\n" +
		"X-Hop: 1\r\nUpgrade: websocket\r\nTE: trailers\r\n\r\n"
)

func chunkedBody(chunk int) string {
	line := string(AppendChunk(nil, []byte(strings.Repeat("x", chunk))))
	return strings.Repeat(line, 64<<10/len(line)) + LastChunk
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	f := func(what string, run func()) {
		t.Helper()
		run()
		require.Zero(t, testing.AllocsPerRun(100, run), what)
	}
	var req Request
	for _, raw := range []string{wrkRequest, browserRequest, rareRequest, "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", wrkRequest[:70]} {
		b := []byte(raw)
		f(raw, func() { _, _ = req.Parse(b, nil) })
	}
	var res Response
	for _, raw := range []string{plainResponse, "HTTP/1.1 200 OK\r\n x"} {
		b, method := []byte(raw), []byte("GET")
		f(raw, func() { _, _ = res.Parse(b, method, nil) })
	}
	var c Chunks
	for _, raw := range []string{chunkedBody(16), "5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\nHost: a\r\n\r\n", "5\r\nhello\r\nx"} {
		b := make([]byte, len(raw))
		f(raw[:10], func() {
			c.Reset(KeepFraming, 0)
			for p := b[:copy(b, raw)]; len(p) > 0; {
				_, n, _, rej := c.Next(p)
				if rej != nil {
					break
				}
				p = p[n:]
			}
		})
	}
}

func BenchmarkRequestParse(b *testing.B) {
	f := func(name, raw string) {
		b.Run(name, func(b *testing.B) {
			buf := []byte(raw)
			var r Request
			lim := &Limits{}
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				if ok, _ := r.Parse(buf, lim); !ok {
					b.Fatal("not parsed")
				}
			}
		})
	}
	f("wrk", wrkRequest)
	f("browser", browserRequest)
}

func BenchmarkResponseParse(b *testing.B) {
	buf, method := []byte(plainResponse), []byte("GET")
	var r Response
	lim := &Limits{}
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if ok, _ := r.Parse(buf, method, lim); !ok {
			b.Fatal("not parsed")
		}
	}
}

func BenchmarkChunks(b *testing.B) {
	f := func(name string, chunk int) {
		b.Run(name, func(b *testing.B) {
			p := []byte(chunkedBody(chunk))
			var c Chunks
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				c.Reset(KeepFraming, 0)
				if _, _, done, _ := c.Next(p); !done {
					b.Fatal("not done")
				}
			}
		})
	}
	f("16B", 16)
	f("1KiB", 1<<10)
	f("32KiB", 32<<10)
}
