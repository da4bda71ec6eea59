package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The tests in this file weigh the program as users run it, without the race
// detector.

// memory is VmRSS (what it has now) or VmHWM (the most it ever had), in bytes.
func memory(t *testing.T, p *process, what string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	require.NoError(t, err)
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, what+":"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			require.NoError(t, err)
			return n << 10
		}
	}
	require.FailNow(t, "no "+what)
	return 0
}

func startPlain(t *testing.T, rules string) *process {
	t.Helper()
	path, err := plainBinary()
	require.NoError(t, err)
	p := launch(t, path, "-log-format", "json", "-config", write(t, "rules.yml", rules))
	p.await(`"serving"`)
	return p
}

// pattern is a body of n bytes that is not all alike.
func pattern(n int64) io.Reader { return io.LimitReader(&counter{}, n) }

type counter struct{ n int }

func (c *counter) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(c.n + i>>8)
	}
	c.n += len(p)
	return len(p), nil
}

func sum(r io.Reader) (text string, n int64, err error) {
	h := sha256.New()
	n, err = io.Copy(h, r)
	return fmt.Sprintf("%x", h.Sum(nil)), n, err
}

func TestMemory_LongBodiesHoldItFlat(t *testing.T) {
	const up, down = 100 << 20, 1 << 30
	port := freePort(t)
	server := testServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, n, err := sum(r.Body)
			fmt.Fprint(w, n, err)
			return
		}
		if r.URL.Path == "/chunked" {
			w.(http.Flusher).Flush()
		} else {
			w.Header().Set("Content-Length", strconv.Itoa(down))
		}
		_, _ = io.Copy(w, io.LimitReader(zeros{}, down))
	}))
	p := startPlain(t, rulesFor(port, server))
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	url := "http://" + local(port)
	ask := func(what string, size int64, body io.Reader) {
		t.Helper()
		before := memory(t, p, "VmRSS")
		method := http.MethodGet
		if body != nil {
			method = http.MethodPost
		}
		r, err := http.NewRequestWithContext(t.Context(), method, url+what, body)
		require.NoError(t, err)
		if what != "/chunked" && body != nil {
			r.ContentLength = size
		}
		answer, err := client.Do(r)
		require.NoError(t, err)
		defer answer.Body.Close()
		if body != nil {
			text, err := io.ReadAll(answer.Body)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(size, nil), string(text))
		} else {
			n, err := io.Copy(io.Discard, answer.Body)
			require.NoError(t, err)
			require.Equal(t, size, n)
		}
		grown := memory(t, p, "VmHWM") - before
		t.Logf("%s %s %d bytes: %d KiB", method, what, size, grown>>10)
		require.Less(t, grown, 4<<20)
	}
	ask("/", down, nil)
	ask("/chunked", down, nil)
	ask("/", up, pattern(up))
	ask("/chunked", up, pattern(up))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestMemory_ABodyArrivesAsSent(t *testing.T) {
	const size = 20 << 20
	port := freePort(t)
	server := testServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Else net/http throws away what has not been read when the answer begins.
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	}))
	startPlain(t, rulesFor(port, server))
	r, err := http.Post("http://"+local(port), "application/octet-stream", pattern(size))
	require.NoError(t, err)
	defer r.Body.Close()
	got, n, err := sum(r.Body)
	require.NoError(t, err)
	want, _, err := sum(pattern(size))
	require.NoError(t, err)
	require.EqualValues(t, size, n)
	require.Equal(t, want, got)
}

func TestMemory_IdleConnectionsAreCheap(t *testing.T) {
	const connections, most = 5000, 1 << 10
	port := freePort(t)
	p := startPlain(t, rulesFor(port, namedServer(t, "one")))
	open := func() {
		t.Helper()
		c, err := net.Dial("tcp", local(port))
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		require.NoError(t, err)
		r, err := http.ReadResponse(bufio.NewReaderSize(c, 256), nil)
		require.NoError(t, err)
		require.Equal(t, "one\n", readAll(t, r))
	}
	for range 100 { // what the first ones cost is not theirs alone
		open()
	}
	before := memory(t, p, "VmRSS")
	for range connections {
		open()
	}
	each := (memory(t, p, "VmRSS") - before) / connections
	t.Logf("%d bytes for each of %d idle connections", each, connections)
	require.LessOrEqual(t, each, most)
}
