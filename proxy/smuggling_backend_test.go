package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// recorded is a request as a backend got it.
type recorded struct {
	conn     int    // the how manieth connection it came on
	head     string // without the empty line
	body     string
	trailer  string
	raw      string
	te, cl   []string
	faults   []string // what an honest sender would not have sent
	complete bool
}

func (q *recorded) requestLine() string { return firstLine(q.head) }

func (q *recorded) canary() bool { return strings.Contains(q.requestLine(), "/canary") }

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\r\n")
	return line
}

// recorder is a backend that notes every byte it gets. It answers 200, in a
// response case with the case's own bytes, and a canary always as a canary.
type recorder struct {
	c        *smugglingCase
	l        net.Listener
	answered chan struct{} // closed when the client has seen all that it will
	conns    sync.WaitGroup

	mu       sync.Mutex
	requests []*recorded
}

func newRecorder(t *testing.T, c *smugglingCase) *recorder {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b := &recorder{c: c, l: l, answered: make(chan struct{})}
	go func() { // ends when the listener closes
		for n := 0; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b.conns.Add(1)
			go b.serve(conn.(*net.TCPConn), n) // ends with its connection
		}
	}()
	return b
}

// finish returns all requests, once every connection that was made has ended.
func (b *recorder) finish(t *testing.T) []*recorded {
	// Connections are accepted in order, so the answer to this one says that there are no more.
	last, err := net.Dial("tcp", b.l.Addr().String())
	require.NoError(t, err)
	_, err = io.WriteString(last, lastRequest+" HTTP/1.1\r\n\r\n")
	require.NoError(t, err)
	_, err = io.ReadFull(last, make([]byte, len(canaryAnswer)))
	require.NoError(t, err)
	require.NoError(t, last.Close())
	require.NoError(t, b.l.Close())
	done := make(chan struct{})
	go func() { b.conns.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(caseTime):
		require.Fail(t, "the engine has left a connection to the backend open")
	}
	return slices.DeleteFunc(b.requests, func(q *recorded) bool { return strings.HasPrefix(q.head, lastRequest) })
}

const lastRequest = "GET /canary/last"

const (
	okAnswer     = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	canaryAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nCANARY"
)

func (b *recorder) serve(c *net.TCPConn, number int) {
	defer b.conns.Done()
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(2 * caseTime))
	for r := bufio.NewReader(c); ; {
		q := &recorded{conn: number}
		if !b.readHead(r, q) {
			return
		}
		own := b.c.Direction == "response" && !q.canary()
		if own && strings.HasPrefix(b.c.Expect.Harness, "answer after header block") {
			_, _ = c.Write(expand(b.c.Raw))
			<-b.answered
			return
		}
		if strings.Contains(strings.ToLower(q.head), "100-continue") && r.Buffered() == 0 {
			_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
		}
		if !q.readBody(r) {
			return
		}
		q.complete = true
		switch answer := okAnswer; {
		case own:
			if !b.answer(c, r) {
				return
			}
			continue
		case q.canary():
			_, _ = io.WriteString(c, canaryAnswer)
		case strings.HasPrefix(q.head, "HEAD "):
			_, _ = io.WriteString(c, strings.TrimSuffix(answer, "ok"))
		default:
			_, _ = io.WriteString(c, answer)
		}
	}
}

// answer says the case's own response. False: that was the connection's last.
func (b *recorder) answer(c *net.TCPConn, r io.Reader) bool {
	h := b.c.Expect.Harness
	if strings.Contains(h, "SO_LINGER") {
		_ = c.SetLinger(0)
		return false
	}
	_, _ = c.Write(expand(b.c.Raw))
	if strings.Contains(h, "stall") {
		_, _ = io.Copy(io.Discard, r) // until the engine has had enough
		return false
	}
	return b.c.Raw != "" && !strings.Contains(h, "close")
}

// readHead notes a request as soon as its head has arrived, and what is not a
// head, too.
func (b *recorder) readHead(r *bufio.Reader, q *recorded) bool {
	var head []byte
	for !strings.HasSuffix(string(head[max(0, len(head)-4):]), "\r\n\r\n") {
		c, err := r.ReadByte()
		if err != nil {
			break
		}
		head = append(head, c)
	}
	if len(head) == 0 {
		return false
	}
	q.raw = string(head)
	whole := strings.HasSuffix(q.raw, "\r\n\r\n")
	q.head = strings.TrimSuffix(q.raw, "\r\n\r\n")
	q.te, q.cl = q.values("transfer-encoding"), q.values("content-length")
	if !whole {
		q.faults = append(q.faults, fmt.Sprintf("%.40q forwarded, which is no head", q.raw))
	}
	b.mu.Lock()
	b.requests = append(b.requests, q)
	b.mu.Unlock()
	return whole
}

// values are those of a header as a lenient backend would find them.
func (q *recorded) values(name string) (v []string) {
	line := regexp.MustCompile(`(?im)^` + regexp.QuoteMeta(name) + `[ \t]*:[ \t]*(.*?)[ \t]*\r?$`)
	for _, m := range line.FindAllStringSubmatch(q.head, -1) {
		v = append(v, m[1])
	}
	return v
}

func (q *recorded) readBody(r *bufio.Reader) bool {
	switch {
	case len(q.te) > 0:
		return q.readChunks(r)
	case len(q.cl) > 0:
		n, err := strconv.ParseInt(q.cl[0], 10, 64)
		if err != nil {
			q.faults = append(q.faults, err.Error())
			return false
		}
		b, err := io.ReadAll(io.LimitReader(r, n))
		q.body = string(b)
		q.raw += q.body
		return err == nil && int64(len(b)) == n
	}
	return true
}

// sizeLine is the only form of one that leaves no question.
var sizeLine = regexp.MustCompile(`^[0-9a-fA-F]{1,16}\r\n$`)

func (q *recorded) readChunks(r *bufio.Reader) (whole bool) {
	var raw, body []byte
	defer func() { q.raw, q.body = q.raw+string(raw), string(body) }()
	for {
		line, err := r.ReadString('\n')
		raw = append(raw, line...)
		if err != nil {
			return false
		}
		if !sizeLine.MatchString(line) {
			q.faults = append(q.faults, fmt.Sprintf("chunk line %.40q forwarded", line))
			return false
		}
		n, _ := strconv.ParseInt(strings.TrimSpace(line), 16, 32)
		if n == 0 {
			return q.readTrailer(r, &raw)
		}
		b, err := io.ReadAll(io.LimitReader(r, n+2))
		raw = append(raw, b...)
		body = append(body, b[:min(len(b), int(n))]...)
		if err != nil || len(b) < int(n)+2 {
			return false
		}
		if !slices.Equal(b[n:], []byte("\r\n")) {
			q.faults = append(q.faults, fmt.Sprintf("chunk data followed by %q", b[n:]))
			return false
		}
	}
}

func (q *recorded) readTrailer(r *bufio.Reader, raw *[]byte) bool {
	for {
		line, err := r.ReadString('\n')
		*raw = append(*raw, line...)
		switch {
		case err != nil:
			return false
		case line == "\r\n":
			return true
		case !strings.HasSuffix(line, "\r\n"):
			q.faults = append(q.faults, "bare LF in the trailer section")
		}
		q.trailer += line
	}
}
