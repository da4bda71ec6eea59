package proxy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// logged is a bed with an access log, and what tells its lines.
type logged struct {
	*bed
	path string
	log  *AccessLog
}

func newLogged(t *testing.T, format string, change func(*bed), backends ...string) *logged {
	t.Helper()
	l := &logged{bed: newBed(t, change, backends...), path: filepath.Join(t.TempDir(), "access.log")}
	log, err := NewAccessLog(AccessLogConfig{Path: l.path, Format: format}, zap.NewNop())
	require.NoError(t, err)
	l.log = log
	l.SetAccessLog(log)
	return l
}

// end stops the engine, closes the log and returns its lines.
func (l *logged) end() []string {
	l.t.Helper()
	l.Stop()
	require.NoError(l.t, l.log.Close())
	return linesOf(l.t, l.path)
}

func linesOf(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	if len(text) == 0 {
		return nil
	}
	require.True(t, bytes.HasSuffix(text, []byte("\n")), "ends inside a line: %q", text)
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func parse(t *testing.T, line string) map[string]any {
	t.Helper()
	m := map[string]any{}
	require.NoError(t, json.Unmarshal([]byte(line), &m), "line %q", line)
	return m
}

func TestAccessLog_SaysWhatBecameOfARequest(t *testing.T) {
	at := named(t, "four")
	l := newLogged(t, "json", func(b *bed) { b.opts.RequestID = true }, at)
	before := time.Now().Add(-time.Second)
	c := l.dial()
	r := bufio.NewReader(c)
	for range 2 {
		_, err := io.WriteString(c, "PUT /a%20b?c=\"d\" HTTP/1.1\r\nHost: Example.org:80\r\nUser-Agent: t\xe9st\r\nReferer: http://r/\r\nContent-Length: 3\r\n\r\nabc")
		require.NoError(t, err)
		resp, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
	}
	lines := l.end()
	require.Len(t, lines, 2)
	first, second := parse(t, lines[0]), parse(t, lines[1])
	when, err := time.Parse("2006-01-02T15:04:05.000Z", first["time"].(string))
	require.NoError(t, err)
	require.WithinRange(t, when, before, time.Now())
	for _, key := range []string{"queue_us", "connect_us", "send_us", "wait_us", "body_us", "total_us"} {
		require.Contains(t, first, key)
		require.GreaterOrEqual(t, first[key], 0.0, key)
		delete(first, key)
	}
	require.Len(t, first["request_id"], 32)
	delete(first, "request_id")
	delete(first, "time")
	require.Equal(t, map[string]any{
		"client": c.LocalAddr().String(), "method": "PUT", "host": "Example.org:80", "path": `/a%20b?c="d"`, "proto": "HTTP/1.1",
		"port": float64(l.port), "status": 200.0, "rule": l.Table().Entries()[0].Rule.Name, "service": "web", "backend": at, "attempts": 1.0,
		"bytes_in": 3.0, "bytes_out": 4.0, "user_agent": "t\uFFFDst", "referer": "http://r/",
	}, first)
	require.Equal(t, true, second["reused"])
}

func TestAccessLog_SaysWhatWentWrong(t *testing.T) {
	f := func(request string, want map[string]any, backends ...string) {
		t.Helper()
		l := newLogged(t, "json", nil, backends...)
		l.exchange(request)
		lines := l.end()
		require.Len(t, lines, 1)
		got := parse(t, lines[0])
		for key, v := range want {
			require.Equal(t, v, got[key], "%s in %s", key, lines[0])
		}
	}
	gone, alive := refusing(t), named(t, "alive")
	f(closing, map[string]any{"status": 502.0, "reason": "connect_failed", "detail": "connect: connection refused", "backend": gone, "attempts": 1.0}, gone)
	f(closing, map[string]any{"status": 200.0, "reason": nil, "detail": "connect: connection refused", "backend": alive, "attempts": 2.0}, gone, alive)
	f(closing, map[string]any{"status": 503.0, "reason": "no_backend", "service": "web", "backend": nil})
	f("GET / HTTP/1.1\r\n\r\n", map[string]any{"status": 400.0, "reason": "bad_request", "method": nil, "proto": nil, "rule": nil}, alive)
	cut := script(t, func(c net.Conn, _ string) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
		_ = c.Close()
	})
	f(closing, map[string]any{"status": 200.0, "reason": "response_cut", "bytes_out": 4.0}, cut)
}

func TestAccessLog_CombinedIsApaches(t *testing.T) {
	l := newLogged(t, "combined", func(b *bed) { b.loops = 1 }, named(t, "four")) // so that the lines are in order
	l.exchange("GET /q?a=\"b\" HTTP/1.0\r\nUser-Agent: a\"b\\c\x80\td\r\n\r\n")
	l.exchange("NO\r\n\r\n")
	lines := l.end()
	require.Len(t, lines, 2)
	const stamp = `^127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] `
	require.Regexp(t, stamp+`"GET /q\?a=\\"b\\" HTTP/1\.0" 200 4 "-" "a\\"b\\\\c\\x80\\td"$`, lines[0])
	require.Regexp(t, stamp+`"-" 400 \d+ "-" "-"$`, lines[1])
}

func TestAccessLog_OffLogsNothing(t *testing.T) {
	l := newLogged(t, "json", nil, named(t, "a"))
	l.SetAccessLog(nil)
	l.exchange(closing)
	require.Empty(t, l.end())
}

func TestAccessLog_CloseWaitsForWhatLoopsHold(t *testing.T) {
	l := newLogged(t, "json", nil, named(t, "a"))
	l.exchange(closing)
	l.counted() // each Loop has seen the end of what was asked before
	next, err := NewAccessLog(AccessLogConfig{Path: l.path + ".next"}, zap.NewNop())
	require.NoError(t, err)
	l.SetAccessLog(next)
	require.NoError(t, l.log.Close())
	require.NoError(t, l.log.Close(), "closing twice is once")
	require.Len(t, linesOf(t, l.path), 1)
	l.exchange(closing)
	l.Stop()
	require.NoError(t, next.Close())
	require.Len(t, linesOf(t, l.path+".next"), 1)
}

func TestAccessLog_ReachesTheFileSoon(t *testing.T) {
	l := newLogged(t, "json", nil, named(t, "a"))
	l.exchange(closing)
	require.Eventually(t, func() bool { return len(linesOf(t, l.path)) == 1 }, eventually, tick)
	l.end()
}

func TestAccessLog_ReopenFollowsRotation(t *testing.T) {
	l := newLogged(t, "json", nil, named(t, "a"))
	l.exchange(closing)
	require.Eventually(t, func() bool { return len(linesOf(t, l.path)) == 1 }, eventually, tick)
	require.NoError(t, os.Rename(l.path, l.path+".1"))
	require.NoError(t, l.log.Reopen())
	l.exchange(closing)
	require.Len(t, l.end(), 1)
	require.Len(t, linesOf(t, l.path+".1"), 1)
}

func TestAccessLog_ReopenKeepsTheOldFileOnError(t *testing.T) {
	l := newLogged(t, "json", nil, named(t, "a"))
	moved := filepath.Join(t.TempDir(), "moved")
	require.NoError(t, os.Rename(filepath.Dir(l.path), moved))
	require.ErrorContains(t, l.log.Reopen(), l.path)
	l.exchange(closing)
	l.Stop()
	require.NoError(t, l.log.Close())
	require.Len(t, linesOf(t, filepath.Join(moved, "access.log")), 1)
}

func TestNewAccessLog_SaysWhatIsWrong(t *testing.T) {
	f := func(c AccessLogConfig, want string) {
		t.Helper()
		_, err := NewAccessLog(c, zap.NewNop())
		require.ErrorContains(t, err, want)
	}
	f(AccessLogConfig{Path: "stdout", Format: "clf"}, `access log format "clf": want json or combined`)
	f(AccessLogConfig{Path: t.TempDir()}, "is a directory")
}

// Nobody reads the pipe that the log goes to: requests are answered all the
// same, and the lines that cannot wait are counted.
func TestAccessLog_NeverMakesALoopWait(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	b := newBed(t, nil, named(t, "a"))
	log, err := NewAccessLog(AccessLogConfig{Path: pipe}, zap.NewNop())
	require.NoError(t, err)
	b.SetAccessLog(log)

	c := b.dial()
	r := bufio.NewReader(c)
	request := "GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: " + strings.Repeat("long", maxPiece/4) + "\r\n\r\n"
	for range (maxChunks*chunkSize + 1<<20) / maxPiece { // what the channel and the pipe hold, and more
		_, err := io.WriteString(c, request)
		require.NoError(t, err)
		resp, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
	}
	require.Positive(t, log.Dropped())
	require.Positive(t, b.scrape()["lb_access_log_dropped_lines_total"])
	b.Stop()
	require.ErrorContains(t, log.Close(), "does not take what is written")
	<-log.written
}

func TestAccessLog_ReadersOfAPipeComeAndGo(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	b := newBed(t, nil, named(t, "a"))
	log, err := NewAccessLog(AccessLogConfig{Path: pipe}, zap.NewNop())
	require.NoError(t, err)
	b.SetAccessLog(log)
	for range 2 {
		b.exchange(closing)
		reader, err := os.Open(pipe)
		require.NoError(t, err)
		line, err := bufio.NewReader(reader).ReadString('\n')
		require.NoError(t, err)
		require.Contains(t, line, `"status":200`)
		require.NoError(t, reader.Close())
	}
	b.Stop()
	require.NoError(t, log.Close())
}

// sink fails as often as told, after half of the bytes.
type sink struct {
	bytes.Buffer
	failures int
}

func (s *sink) Write(p []byte) (int, error) {
	if s.failures > 0 {
		s.failures--
		n, _ := s.Buffer.Write(p[:len(p)/2])
		return n, errors.New("disk full")
	}
	return s.Buffer.Write(p)
}

func (s *sink) Close() error { return nil }

func TestAccessLog_ReportsLostLinesOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, seen := observer.New(zapcore.WarnLevel)
		a := newAccessLog("x", zap.New(core))
		out := &sink{failures: 2}
		a.start(out)
		for range 3 {
			a.held.Add(1)
			require.True(t, a.offer(chunk{[]byte("a\nbcd\n"), 2}))
		}
		time.Sleep(3 * reportEvery)
		require.Equal(t, 1, seen.Len())
		require.Equal(t, map[string]any{"path": "x", "lines": int64(4), "error": "disk full"}, seen.All()[0].ContextMap())
		require.NoError(t, a.Close())
		require.Equal(t, "a\nb\na\nbcd\n", out.String(), "a line after a torn one begins anew")
	})
}

func TestAccessLog_ComposesWithoutAllocation(t *testing.T) {
	f := func(combined bool) {
		t.Helper()
		p, err := New(Config{Loops: 1, Log: zap.NewNop()})
		require.NoError(t, err)
		log := newAccessLog("x", zap.NewNop())
		log.combined = combined
		p.SetAccessLog(log)
		k := p.cores[0]
		ok, rej := k.req.Parse([]byte("GET /path HTTP/1.1\r\nHost: h\r\nUser-Agent: \u00e9 \xff\r\n\r\n"), nil)
		require.Nil(t, rej)
		require.True(t, ok)
		x := &Exchange{core: k, client: &client{}, state: &portState{}, status: 404, failed: &failures[noRule]}
		k.beginChunk(log)
		require.Zero(t, testing.AllocsPerRun(100, func() {
			x.note = x.note[:0]
			k.noteRequest(x)
			k.observe(x)
			k.lines.text = k.lines.text[:0]
		}))
	}
	f(false)
	f(true)
}
