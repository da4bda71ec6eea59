package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// wrkConnections are kept open by wrk for as long as the server lets it.
const wrkConnections = 16

// wrkPace has wrk wait before each request: two CPUs are for everybody.
const wrkPace = "function delay() return 4 end\n" // milliseconds

// wrk sends requests until it is stopped. What it calls a failure is one: it sees
// every answer of 400 and above, every connection that is refused or cut off in
// an answer, and, other than an HTTP client that sends a request again on a new
// connection, every one that was closed behind an answer that did not say so. An
// answer that says so (Connection: close) has it open a new one without a word.
type wrk struct {
	t      *testing.T
	cmd    *exec.Cmd
	output bytes.Buffer
	ended  bool
}

func startWrk(t *testing.T, address, host, path string) *wrk {
	t.Helper()
	pace := filepath.Join(t.TempDir(), "pace.lua")
	require.NoError(t, os.WriteFile(pace, []byte(wrkPace), 0o644))
	w := &wrk{t: t}
	w.cmd = exec.Command("wrk", "-t1", "-c"+strconv.Itoa(wrkConnections), "-d1h", "--timeout", fmt.Sprint(lost.Seconds(), "s"), // it knows no 1m0s
		"-H", "Host: "+host, "-s", pace, "http://"+address+path)
	w.cmd.Stdout, w.cmd.Stderr = &w.output, &w.output
	require.NoError(t, w.cmd.Start())
	t.Cleanup(w.end)
	return w
}

// end has wrk say what it saw.
func (w *wrk) end() {
	if w.ended {
		return
	}
	w.ended = true
	_ = w.cmd.Process.Signal(os.Interrupt) // fails if it has ended, which the next line says
	require.NoError(w.t, w.cmd.Wait(), "%s", &w.output)
}

// stop ends wrk, which must have seen no failure.
func (w *wrk) stop() {
	w.t.Helper()
	w.end()
	answered, failed, err := parseWrk(w.output.String())
	require.NoError(w.t, err, "%s", &w.output)
	require.Zero(w.t, failed, "wrk saw requests fail:\n%s", &w.output)
	require.Greater(w.t, answered, 10, "was there any traffic?")
	w.t.Logf("wrk: %d requests, none failed", answered)
}

// Whatever wrk says; the last two lines are there only when something failed.
var (
	wrkAnswered = regexp.MustCompile(`\n\s+(\d+) requests in `)
	wrkSocket   = regexp.MustCompile(`\n\s+Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
	wrkStatus   = regexp.MustCompile(`\n\s+Non-2xx or 3xx responses: (\d+)`)
)

func parseWrk(out string) (answered, failed int, err error) {
	m := wrkAnswered.FindStringSubmatch(out)
	if m == nil {
		return 0, 0, fmt.Errorf("not what wrk 4 prints")
	}
	if answered, err = strconv.Atoi(m[1]); err != nil {
		return 0, 0, err
	}
	for _, m := range [][]string{wrkSocket.FindStringSubmatch(out), wrkStatus.FindStringSubmatch(out)} {
		for _, number := range m[min(1, len(m)):] {
			n, err := strconv.Atoi(number)
			if err != nil {
				return 0, 0, err
			}
			failed += n
		}
	}
	return answered, failed, nil
}

func TestParseWrk(t *testing.T) {
	f := func(out string, answered, failed int) {
		t.Helper()
		a, n, err := parseWrk("Running 1h test @ http://127.0.0.1:80/\n  1 threads and 16 connections\n" + out)
		require.NoError(t, err)
		require.Equal(t, []int{answered, failed}, []int{a, n})
	}
	const end = "Requests/sec:    100.00\nTransfer/sec:     10.00KB\n"
	f("  1200 requests in 12.00s, 1.20MB read\n"+end, 1200, 0)
	f("  1200 requests in 12.00s, 1.20MB read\n  Socket errors: connect 1, read 20, write 300, timeout 4000\n"+end, 1200, 4321)
	f("  1200 requests in 12.00s, 1.20MB read\n  Non-2xx or 3xx responses: 7\n"+end, 1200, 7)
	f("  1200 requests in 12.00s, 1.20MB read\n  Socket errors: connect 0, read 2, write 0, timeout 0\n  Non-2xx or 3xx responses: 7\n"+end, 1200, 9)
	_, _, err := parseWrk("unable to connect to 127.0.0.1:80 Connection refused\n")
	require.Error(t, err)
}
