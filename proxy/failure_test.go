package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/health"
	"arzur.net/lb/proxy/http1"
	"arzur.net/lb/rules"
)

func status(answer string) string {
	line, _, _ := strings.Cut(answer, "\r\n")
	return strings.TrimPrefix(line, "HTTP/1.1 ")
}

// refusing is an address where nobody listens, nor will: it is taken.
func refusing(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	syscall.CloseOnExec(fd)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	at, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	return fmt.Sprintf("127.0.0.1:%d", at.(*syscall.SockaddrInet4).Port)
}

func TestExchange_RetriesOnRefusedConnection(t *testing.T) {
	b := newBed(t, nil, refusing(t), named(t, "alive"), refusing(t))
	for range 6 {
		code, body := get(t, b.url("/"))
		require.Equal(t, "200 alive", fmt.Sprint(code, " ", body))
	}
	resp, err := http.Post(b.url("/"), "text/plain", strings.NewReader("nothing was sent yet, so this may go elsewhere"))
	require.NoError(t, err)
	_ = resp.Body.Close()
	require.Equal(t, 200, resp.StatusCode)
}

func TestExchange_StaleConnectionIsReplaced(t *testing.T) {
	var asked atomic.Int32
	at := script(t, func(c net.Conn, _ string) {
		if asked.Add(1)%2 == 0 { // every second request on a connection is met by its death
			_ = c.Close()
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	b := newBed(t, func(b *bed) { b.loops = 1 }, at) // each Loop has idle connections of its own
	for range 5 {
		require.Equal(t, "200 OK", status(b.exchange(closing)))
	}
	require.EqualValues(t, 9, asked.Load(), "5 answers and the 4 deaths between them")
	require.Equal(t, "up", b.registry.All()[0].State(now()))
}

func TestExchange_DoesNotRepeatWhatIsNotIdempotent(t *testing.T) {
	var asked atomic.Int32
	die := script(t, func(c net.Conn, _ string) {
		asked.Add(1)
		_ = c.Close()
	})
	b := newBed(t, nil, die, die)
	got := b.exchange(strings.Replace(closing, "GET", "POST", 1))
	require.Equal(t, "502 Bad Gateway", status(got))
	require.EqualValues(t, 1, asked.Load())
	asked.Store(0)
	require.Equal(t, "502 Bad Gateway", status(b.exchange(closing)))
	require.EqualValues(t, 1, asked.Load(), "both servers are one Backend, so there is no other to try")
}

func TestFailures_HaveTheirStatus(t *testing.T) {
	f := func(change func(*bed), at, request, want string) {
		t.Helper()
		b := newBed(t, change, at)
		require.Equal(t, want, status(b.exchange(request)), request)
	}
	silent := script(t, say(""))
	short := func(b *bed) {
		b.opts.ResponseTimeout, b.opts.BodyTimeout = 100*time.Millisecond, 100*time.Millisecond
		b.opts.MaxBody = 10
		b.opts.Limits = http1.Limits{Head: 1000, Target: 100, Fields: 5}
	}
	f(short, silent, closing, "504 Gateway Timeout")
	// Long enough for the first byte to arrive on a busy machine: before that there is nobody to answer.
	f(func(b *bed) { b.opts.HeaderTimeout = 2 * time.Second }, silent, "GET / HTTP/1.1\r\nHost: x", "408 Request Timeout")
	f(short, silent, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel", "408 Request Timeout")
	f(short, silent, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n", "413 Content Too Large")
	f(short, silent, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n", "413 Content Too Large")
	f(short, silent, "GET /"+strings.Repeat("a", 200)+" HTTP/1.1\r\nHost: x\r\n\r\n", "414 URI Too Long")
	f(short, silent, "GET / HTTP/1.1\r\nHost: x\r\n"+strings.Repeat("A: b\r\n", 10)+"\r\n", "431 Request Header Fields Too Large")
	f(short, silent, "GET / HTTP/1.1\r\nHost: x\r\nA: "+strings.Repeat("b", 2000)+"\r\n\r\n", "431 Request Header Fields Too Large")
	f(nil, refusing(t), closing, "502 Bad Gateway")
	f(nil, script(t, say("nonsense\r\n\r\n")), closing, "502 Bad Gateway")
	f(func(b *bed) { b.service.Instances = nil }, silent, closing, "503 Service Unavailable")
	f(func(b *bed) { b.rule.Hostname = "other.test" }, silent, closing, "404 Not Found")
	f(func(b *bed) { b.opts.TotalTimeout = 100 * time.Millisecond }, silent, closing, "504 Gateway Timeout")
}

func TestConnectTimeout_IsGatewayTimeout(t *testing.T) {
	// A listener whose queue is full answers no SYN.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	at := fill(t, l)
	b := newBed(t, func(b *bed) { b.opts.ConnectTimeout = 100 * time.Millisecond }, at)
	require.Equal(t, "504 Gateway Timeout", status(b.exchange(closing)))
}

func TestErrors_ComeInTheFormAskedFor(t *testing.T) {
	b := newBed(t, func(b *bed) {
		b.rule.Hostname = "x"
		b.opts.ErrorPages = map[int]ErrorPage{503: {"text/plain", []byte("we are sorry")}}
		b.service.Instances = nil
	})
	f := func(accept string, want ...string) {
		t.Helper()
		got := b.exchange("GET / HTTP/1.1\r\nHost: y\r\nConnection: close\r\nAccept: " + accept + "\r\n\r\n")
		for _, w := range want {
			require.Contains(t, got, w)
		}
		_, id, _ := strings.Cut(got, "X-Request-Id: ")
		require.Contains(t, got[strings.Index(got, "\r\n\r\n"):], id[:32], "the body carries the request id")
	}
	f("*/*", "Content-Type: text/plain", "404 Not Found: no rule matches this request\n")
	f("text/html,application/xhtml+xml", "Content-Type: text/html", "<h1>404 Not Found</h1>")
	f("application/json", "Content-Type: application/json", `{"status":404,"error":"no_rule",`)
	require.True(t, strings.HasSuffix(b.exchange("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), "\r\n\r\nwe are sorry"))
	require.True(t, strings.HasSuffix(b.exchange("HEAD / HTTP/1.1\r\nHost: y\r\nConnection: close\r\n\r\n"), "\r\n\r\n"))
}

func TestEjection_SparesADeadServer(t *testing.T) {
	var asked atomic.Int32
	die := script(t, func(c net.Conn, _ string) {
		asked.Add(1)
		_ = c.Close()
	})
	b := newBed(t, nil, die, named(t, "alive"))
	began := time.Now()
	for range 20 {
		code, _ := get(t, b.url("/"))
		require.Equal(t, 200, code)
	}
	require.GreaterOrEqual(t, asked.Load(), int32(3))
	require.LessOrEqual(t, asked.Load(), 3+int32(time.Since(began)/time.Second), "three failures in a row eject, for a second at least")
}

// What the answer brings, more of it than there are places, is for those who wait.
func TestEjection_EndOfATrialLetsInWhoWaits(t *testing.T) {
	b := newSimBed(t, 1, 1)
	b.service.MaxConnections = 2
	first, second := b.serve(1), b.serve(2)
	b.use(1, 2)
	back := b.Table().Backends()[0].Backend
	for range 3 {
		require.True(t, back.TryBegin(0, b.Now()))
		back.Done(health.Refused, b.Now())
	}
	now := back.Ejected(b.Now())
	b.After(now-b.Now(), func() {})
	b.run(func() bool { return b.Now() >= now })
	for range 4 { // the trial, two at the other server, and one that waits
		b.client(simGet)
	}
	b.run(func() bool {
		return len(first()) == 1 && first()[0].got != "" && len(second()) == 2 && b.cores[0].stats.queued == 1
	})
	first()[0].Write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234") // and no more
	answered := b.Now()
	b.run(func() bool { return len(first()) == 2 })
	require.Less(t, b.Now()-answered, int64(time.Second))
	require.Empty(t, b.settle())
}

func TestMaxConnections_QueuesInOrder(t *testing.T) {
	hold := make(chan struct{})
	entered := make(chan string, 10)
	at := backend(t, func(w http.ResponseWriter, r *http.Request) {
		entered <- r.URL.Path
		<-hold
		_, _ = io.WriteString(w, r.URL.Path)
	})
	b := newBed(t, func(b *bed) {
		b.service.MaxConnections = 1
		b.opts.QueueLength = 1
		b.opts.QueueTimeout = eventually
	}, at)
	first, second := make(chan string, 1), make(chan string, 1)
	one := b.dial()
	go func() { first <- talk(one, "/1") }()
	require.Equal(t, "/1", <-entered)
	go func() { second <- b.exchange(strings.Replace(closing, "/p?q=1", "/2", 1)) }()
	require.Eventually(t, func() bool { return b.queued() == 1 }, eventually, tick)
	full := 0
	for range 16 { // each Loop has a queue of one; some of these meet the other Loop
		go func() { _ = b.exchange(closing) }()
	}
	require.Eventually(t, func() bool { full = int(b.queued()); return full == 2 }, eventually, tick)
	close(hold)
	require.Contains(t, <-first, "200 OK")
	require.Contains(t, <-second, "/2")
}

func talk(c net.Conn, path string) string {
	_, _ = io.WriteString(c, strings.Replace(closing, "/p?q=1", path, 1))
	got, _ := io.ReadAll(c)
	return string(got)
}

func (b *bed) queued() int64 { return int64(b.counted().queued) }

// counted is what the Loops have counted so far.
func (b *bed) counted() *sums {
	c := b.Collector().(*collector)
	for begun := time.Now(); ; {
		s, silent := c.sum()
		if silent == 0 {
			return s
		}
		require.Less(b.t, time.Since(begun), eventually, "%d silent", silent)
	}
}

func TestQueueTimeout_Is503(t *testing.T) {
	hold := make(chan struct{})
	defer close(hold)
	entered := make(chan struct{}, 1)
	b := newBed(t, func(b *bed) {
		b.service.MaxConnections = 1
		b.service.QueueTimeout = 50 * time.Millisecond
	}, backend(t, func(http.ResponseWriter, *http.Request) { entered <- struct{}{}; <-hold }))
	one := b.dial()
	_, _ = io.WriteString(one, closing)
	<-entered
	got := b.exchange(closing)
	require.Equal(t, "503 Service Unavailable", status(got))
	require.Contains(t, got, "all servers stayed busy")
}

func TestWhenAllDown_TryAsksAllTheSame(t *testing.T) {
	f := func(policy rules.WhenAllDown, want string) {
		t.Helper()
		b := newBed(t, func(b *bed) { b.service.WhenAllDown = policy }, named(t, "a"))
		for _, at := range b.registry.All() {
			at.SetDown(true, nil)
		}
		require.Equal(t, want, status(b.exchange(closing)))
	}
	f(rules.Fail, "503 Service Unavailable")
	f(rules.Try, "200 OK")
}
