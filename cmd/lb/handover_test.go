package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// handOver has p start a successor and waits until that serves. It ends with the
// test.
func handOver(t *testing.T, p *process) (pid int) {
	t.Helper()
	return handOverFrom(t, p, p.Process.Pid)
}

// handOverFrom does so with p or a successor of it, which speak to the same log.
func handOverFrom(t *testing.T, p *process, pid int) (next int) {
	t.Helper()
	require.NoError(t, syscall.Kill(pid, syscall.SIGUSR2))
	next = successorOf(t, p)
	p.await(`"serving"`, `"pid":`+strconv.Itoa(next))
	if pid != p.Process.Pid {
		awaitEnd(t, pid)
	}
	return next
}

// successorOf is the process that p says it hands over to.
func successorOf(t *testing.T, p *process) (pid int) {
	t.Helper()
	var line struct{ PID int }
	require.NoError(t, json.Unmarshal([]byte(p.await(`"handing over"`)), &line))
	t.Cleanup(func() { _ = syscall.Kill(line.PID, syscall.SIGKILL) }) // fails if it has ended
	return line.PID
}

// awaitEnd waits for the end of a process that is not our child.
func awaitEnd(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool { return syscall.Kill(pid, 0) != nil || zombie(pid) }, patience, 5*millisecond)
}

// zombie says whether the process has ended and waits for a parent to ask how.
func zombie(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && containsAll(stat, []string{") Z "})
}

func TestSIGUSR2_HandsOver(t *testing.T) {
	port, control := freePort(t), freePort(t)
	file := write(t, "rules.yml", rulesFor(port, namedServer(t, "one")))
	p := start(t, "-config", file, "-admin", local(control))
	// A connection that stays open meanwhile is answered once more.
	c, err := net.Dial("tcp", local(port))
	require.NoError(t, err)
	defer c.Close()
	in := bufio.NewReader(c)
	ask := func() (last bool) {
		t.Helper()
		_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		require.NoError(t, err)
		r, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		require.Equal(t, "one\n", readAll(t, r))
		return r.Close
	}
	require.False(t, ask())
	second := handOver(t, p)
	for !ask() { // each is answered, and one of them is the last
	}
	require.Zero(t, p.exit())
	require.Equal(t, "200 one", visit(t, port))
	r := lb(t, "health", "-admin", local(control))
	require.Zero(t, r.code, r.stderr)

	// And again: the successor is as good as its predecessor.
	third := handOverFrom(t, p, second)
	require.Equal(t, "200 one", visit(t, port))
	require.Zero(t, lb(t, "health", "-admin", local(control)).code)
	require.NoError(t, syscall.Kill(third, syscall.SIGTERM))
	awaitEnd(t, third)
	_, err = net.Dial("tcp", local(port))
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

func TestSIGUSR2_StartsTheNewBinary(t *testing.T) {
	dir, port := t.TempDir(), freePort(t)
	link := filepath.Join(dir, "lb")
	install := func(binary string) {
		t.Helper()
		require.NoError(t, os.Symlink(binary, link+".new"))
		require.NoError(t, os.Rename(link+".new", link))
	}
	newer := filepath.Join(dir, "lb-v2")
	out, err := exec.Command("go", "build", "-o", newer, "-ldflags", "-X main.version=v2", ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	install(binary)
	p := launch(t, link, "-log-format", "json", "-config", write(t, "rules.yml", rulesFor(port, namedServer(t, "one"))))
	p.await(`"serving"`, `"version":"v0.0.0-test"`)
	install(newer)
	handOver(t, p)
	require.Contains(t, p.stderr.String(), `"version":"v2"`)
	require.Zero(t, p.exit())
	require.Equal(t, "200 one", visit(t, port))
}

func TestSIGUSR2_ASuccessorThatFailsLeavesTheOldServing(t *testing.T) {
	port := freePort(t)
	file := write(t, "rules.yml", rulesFor(port, namedServer(t, "one")))
	p := start(t, "-config", file)
	write(t, file, "port_rules: what\n")
	p.signal(syscall.SIGUSR2)
	p.await("hand-over failed; this process keeps serving", "exit status 1")
	require.Equal(t, "200 one", visit(t, port))
	// And it can be tried again.
	write(t, file, rulesFor(port, namedServer(t, "two")))
	handOver(t, p)
	require.Zero(t, p.exit())
	require.Equal(t, "200 two", visit(t, port))
}

func TestSIGUSR2_AndSIGTERMEndBoth(t *testing.T) {
	// The successor waits for a first check, and so is not ready yet.
	quiet, port := slowServer(t), freePort(t)
	file := write(t, "rules.yml", rulesFor(port, quiet.address))
	p := start(t, "-config", file)
	p.signal(syscall.SIGSTOP) // it must not reload meanwhile
	write(t, file, fmt.Sprintf(`port_rules:
- {source_port: %d, address: 127.0.0.1, service: blog}
services:
  blog: {servers: [%q], health_check: {request_line: GET / HTTP/1.0, interval: 10ms, response_timeout: 20s}}
admin: "off"
`, port, quiet.address))
	p.signal(syscall.SIGCONT)
	p.signal(syscall.SIGUSR2)
	pid := successorOf(t, p)
	p.signal(syscall.SIGTERM)
	require.Zero(t, p.exit())
	close(quiet.answer)
	awaitEnd(t, pid)
}

func TestSIGUSR2_SocketsOfRemovedRulesAreClosed(t *testing.T) {
	a, b := freePort(t), freePort(t)
	server := namedServer(t, "one")
	file := write(t, "rules.yml", rulesFor(a, server))
	p := start(t, "-config", file)
	p.signal(syscall.SIGSTOP) // it must not reload before it hands over
	write(t, file, rulesFor(b, server))
	p.signal(syscall.SIGUSR2)
	p.signal(syscall.SIGCONT)
	successorOf(t, p)
	p.await("inherited socket is not named by any rule", local(a))
	require.Zero(t, p.exit())
	require.Equal(t, "200 one", visit(t, b))
	_, err := net.Dial("tcp", local(a))
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

func TestSIGUSR2_TheSuccessorKnowsWhoIsDown(t *testing.T) {
	var strays atomic.Int32
	sick := testServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/check" {
			strays.Add(1)
		}
		w.WriteHeader(http.StatusInternalServerError)
	}))
	port := freePort(t)
	p := start(t, "-config", write(t, "rules.yml", fmt.Sprintf(`port_rules:
- {source_port: %d, address: 127.0.0.1, service: blog}
services:
  blog:
    servers: [%q, %q]
    health_check: {request_line: GET /check HTTP/1.0, interval: 1s}
admin: "off"
`, port, namedServer(t, "one"), sick)))
	p.await("server is down", sick)
	strays.Store(0)
	l := startLoad(t, port)
	handOver(t, p)
	require.Zero(t, p.exit())
	l.stop()
	require.Zero(t, strays.Load())
}

// socketFile is a listening socket as systemd would open it.
func socketFile(t *testing.T) (port int, f *os.File) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	f, err = l.(*net.TCPListener).File()
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return l.Addr().(*net.TCPAddr).Port, f
}

func TestLISTEN_FDS_UsesSocketsThatCameWithTheProcess(t *testing.T) {
	port, web := socketFile(t)
	control, admin := socketFile(t)
	// systemd tells the socket to the process by its pid, which a shell knows.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh", binary, "-log-format", "json",
		"-admin", local(control), "-config", write(t, "rules.yml", rulesFor(port, namedServer(t, "one"))))
	cmd.Env = append(os.Environ(), "LISTEN_FDS=2", "LISTEN_FDNAMES=web:admin")
	cmd.ExtraFiles = []*os.File{web, admin}
	// Who connects before the program serves waits, rather than being refused.
	early, err := net.Dial("tcp", local(port))
	require.NoError(t, err)
	defer early.Close()
	p := launchCmd(t, cmd)
	p.await(`"serving"`)
	_, err = io.WriteString(early, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	require.NoError(t, err)
	r, err := http.ReadResponse(bufio.NewReader(early), nil)
	require.NoError(t, err)
	require.Equal(t, "one\n", readAll(t, r))
	require.Zero(t, lb(t, "health", "-admin", local(control)).code)
}

func TestLISTEN_FDS_OfAnotherProcessAreIgnored(t *testing.T) {
	port, web := socketFile(t)
	cmd := exec.Command(binary, "-config", write(t, "rules.yml", rulesFor(port, namedServer(t, "one"))))
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_PID=1")
	cmd.ExtraFiles = []*os.File{web}
	p := launchCmd(t, cmd)
	p.await("in use")
	require.Equal(t, 1, p.exit())
}

func TestNotify_TellsSystemdHowItIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	defer l.Close()
	next := func() string {
		t.Helper()
		require.NoError(t, l.SetReadDeadline(time.Now().Add(patience)))
		buf := make([]byte, 1024)
		n, err := l.Read(buf)
		require.NoError(t, err)
		return string(buf[:n])
	}
	port := freePort(t)
	file := write(t, "rules.yml", rulesFor(port, namedServer(t, "one")))
	cmd := exec.Command(binary, "-log-format", "json", "-config", file)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path)
	p := launchCmd(t, cmd)
	require.Equal(t, "READY=1\nMAINPID="+strconv.Itoa(p.Process.Pid), next())
	p.signal(syscall.SIGHUP)
	require.Regexp(t, `^RELOADING=1\nMONOTONIC_USEC=\d+$`, next())
	require.Equal(t, "READY=1", next())
	write(t, file, "port_rules: what\n")
	p.signal(syscall.SIGHUP)
	require.Regexp(t, `^RELOADING=1\n`, next())
	require.Equal(t, "READY=1", next(), "as ready as before")
	write(t, file, rulesFor(port, namedServer(t, "two")))
	second := handOver(t, p)
	ready := "READY=1\nMAINPID=" + strconv.Itoa(second)
	require.ElementsMatch(t, []string{ready, "MAINPID=" + strconv.Itoa(second)}, []string{next(), next()})
	require.Zero(t, p.exit())
	require.NoError(t, syscall.Kill(second, syscall.SIGTERM))
	require.Equal(t, "STOPPING=1", next())
}

func TestHandover_TicketsOfAnEarlierOneAreLeftAlone(t *testing.T) {
	f := func(parent int, want string) {
		t.Helper()
		r, w, err := os.Pipe()
		require.NoError(t, err)
		defer r.Close()
		_, err = io.WriteString(w, "keys")
		require.NoError(t, err)
		require.NoError(t, w.Close())
		fd, err := syscall.Dup(int(r.Fd())) // whoever reads it closes it
		require.NoError(t, err)
		t.Setenv(handoverVar, fmt.Sprintf("%d:%d:true", os.Getppid(), fd))
		t.Setenv(ticketsVar, fmt.Sprintf("%d:%d", parent, fd))
		in := inheritance{}
		require.True(t, in.fromPredecessor())
		require.Equal(t, want, string(in.tickets))
		if want == "" {
			require.NoError(t, syscall.Close(fd), "still open")
		}
	}
	f(os.Getppid(), "keys")
	f(os.Getppid()+1, "") // through a program that does not know of tickets
}
