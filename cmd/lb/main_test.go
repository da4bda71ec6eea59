package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// These tests look at the program from outside: the binary, its sockets, its
// files and its exit status.

var (
	binary       string // of this package, with the race detector if the tests have it
	raceDetector bool
)

func TestMain(m *testing.M) {
	if name := os.Getenv("LB_TEST_SERVER"); name != "" {
		serveForTest(name) // this process is a backend
		return
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "lb-test-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // some tests run the program as nobody
		panic(err)
	}
	// By default a process with the race detector takes a second to end.
	os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	if binary = os.Getenv("LB_TEST_BINARY"); binary != "" {
		return m.Run() // one test, in a process of its own
	}
	binary = filepath.Join(dir, "lb")
	if err := build(binary, raceDetector); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func build(to string, race bool) error {
	args := []string{"build", "-o", to, "-ldflags", "-X main.version=v0.0.0-test"}
	if race {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, ".")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// plainBinary is the program without the race detector, for what it costs.
var plainBinary = sync.OnceValues(func() (string, error) {
	if !raceDetector {
		return binary, nil
	}
	path := binary + "-plain"
	return path, build(path, false)
})

// need leaves a test out on a machine without the program that it drives, as
// that is no fault of the code; where LB_TEST_REQUIRE=all, it is one.
func need(t *testing.T, program string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/local/sbin", "/usr/sbin", "/sbin") {
		path := filepath.Join(dir, program)
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	leaveOut(t, program+" is not installed; scripts/deps gets it")
	return ""
}

// needFile is need for a program that is in no folder of programs.
func needFile(t *testing.T, path string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		leaveOut(t, path+" is not there; scripts/deps "+filepath.Base(path)+" gets it")
	}
	return path
}

func leaveOut(t *testing.T, text string) {
	t.Helper()
	if os.Getenv("LB_TEST_REQUIRE") == "all" {
		require.FailNow(t, text)
	}
	t.Skip(text)
}

// transcript is what a process has said so far.
type transcript struct {
	mu    sync.Mutex
	text  []byte
	read  int           // up to where await has looked
	grown chan struct{} // closed at the next Write

	complete chan struct{} // pipe closes it when nobody can write any more
}

func newTranscript() *transcript {
	return &transcript{grown: make(chan struct{}), complete: make(chan struct{})}
}

func (w *transcript) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, p...)
	close(w.grown)
	w.grown = make(chan struct{})
	return len(p), nil
}

func (w *transcript) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.text)
}

// next is the first whole line after those that were found before in which all
// parts occur.
func (w *transcript) next(parts []string) (line string, grown <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.read
	for {
		end := bytes.IndexByte(w.text[at:], '\n')
		if end < 0 {
			return "", w.grown
		}
		line := w.text[at : at+end]
		at += end + 1
		if containsAll(line, parts) {
			w.read = at
			return string(line), nil
		}
	}
}

// rewind has the next await look from the beginning.
func (w *transcript) rewind() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.read = 0
}

func containsAll(line []byte, parts []string) bool {
	for _, p := range parts {
		if !bytes.Contains(line, []byte(p)) {
			return false
		}
	}
	return true
}

// patience is how long a test waits for what must happen at once. It is long
// because only a failing test ever waits for it.
const patience = time.Minute

// process is a program under test.
type process struct {
	*exec.Cmd
	t      *testing.T
	stdout *transcript
	stderr *transcript
	ended  chan struct{}
}

// launch starts the program and sees to it that it ends with the test.
func launch(t *testing.T, path string, args ...string) *process {
	t.Helper()
	return launchCmd(t, exec.Command(path, args...))
}

func launchCmd(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{Cmd: cmd, t: t, ended: make(chan struct{})}
	p.stdout, p.Stdout = pipe(t)
	p.stderr, p.Stderr = pipe(t)
	require.NoError(t, p.Start())
	for _, w := range []io.Writer{p.Stdout, p.Stderr} {
		require.NoError(t, w.(*os.File).Close())
	}
	go func() {
		defer close(p.ended)
		_ = p.Wait() // the status is in ProcessState
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill() // fails if it has ended
		<-p.ended
		<-p.stderr.complete
		<-p.stdout.complete
		if t.Failed() {
			t.Logf("%s said:\n%s%s", filepath.Base(p.Path), p.stdout, p.stderr)
		}
		require.NotContains(t, p.stderr.String(), "DATA RACE")
	})
	return p
}

// pipe is a pipe and what comes out of it. It is not one of os/exec's, because
// those end with the process, and successors write to it too.
func pipe(t *testing.T) (*transcript, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	text := newTranscript()
	go func() { // ends with the last process that can write to it
		defer close(text.complete)
		defer r.Close()
		_, _ = io.Copy(text, r)
	}()
	return text, w
}

// await waits for a line with all of parts in it, after the line that the last
// await found, and returns it.
func (w *transcript) await(t *testing.T, parts ...string) string {
	t.Helper()
	timeout := time.After(patience)
	for {
		line, grown := w.next(parts)
		if grown == nil {
			return line
		}
		select {
		case <-grown:
		case <-w.complete:
			if line, grown := w.next(parts); grown == nil {
				return line
			}
			require.FailNowf(t, "no such line", "no line with %q, and the process has ended", parts)
		case <-timeout:
			require.FailNowf(t, "no such line", "no line with %q", parts)
		}
	}
}

// await waits for a line of the log.
func (p *process) await(parts ...string) string {
	p.t.Helper()
	return p.stderr.await(p.t, parts...)
}

// exit waits for the end and returns the exit status.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		require.FailNow(p.t, "still running")
	}
	return p.ProcessState.ExitCode()
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.Process.Signal(s))
}

// start runs lb until it serves.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := launch(t, binary, append([]string{"-log-format", "json"}, args...)...)
	p.await(`"serving"`)
	return p
}

// result is how a command ended.
type result struct {
	code           int
	stdout, stderr string
}

// lb runs the program to its end.
func lb(t *testing.T, args ...string) result {
	t.Helper()
	return finish(t, exec.Command(binary, args...))
}

// finish runs a command to its end.
func finish(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Start())
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}
