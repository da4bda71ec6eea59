package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLogFile_WaitsForNobody(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	f := &logFile{fd: int(w.Fd())}
	text := strings.Repeat("x", 3*logPiece)
	written := 0
	for f.lost < 3 {
		written++
		_, err := fmt.Fprintf(f, "line %d %s\n", written, text)
		require.NoError(t, err)
	}
	in := bufio.NewReader(r)
	for i := range written - f.lost {
		line, err := in.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("line %d %s\n", i+1, text), line)
	}
	first := written - f.lost + 1
	fmt.Fprintln(f, "and on")
	require.NoError(t, w.Close())

	line, err := in.ReadString('\n')
	require.NoError(t, err)
	if strings.HasPrefix(line, "line ") { // what there was room for of the first that was lost
		require.Contains(t, line, fmt.Sprint("line ", first, " "))
		line, err = in.ReadString('\n')
		require.NoError(t, err)
	}
	require.Equal(t, "3 lines of the log were lost here: nobody read them\n", line)
	line, err = in.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "and on\n", line)
}

// stuckPipe is a pipe that nobody reads, filled.
func stuckPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	fd := int(w.Fd())
	require.NoError(t, syscall.SetNonblock(fd, true))
	for err == nil {
		_, err = syscall.Write(fd, make([]byte, logPiece))
	}
	require.Equal(t, syscall.EAGAIN, err)
	require.NoError(t, syscall.SetNonblock(fd, false))
	return r, w
}

func TestLog_ThatNobodyReadsStopsNothing(t *testing.T) {
	f := func(stderr *os.File, loseReader func()) {
		t.Helper()
		port, other := freePort(t), freePort(t)
		server := namedServer(t, "one")
		file := write(t, "rules.yml", rulesFor(port, server))
		cmd := exec.Command(binary, "-config", file)
		cmd.Stderr = stderr
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		awaitPort(t, port)
		loseReader()
		write(t, file, rulesFor(other, server))
		require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
		awaitPort(t, other)
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, cmd.Wait())
	}
	_, w := stuckPipe(t)
	f(w, func() {})
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer w.Close()
	f(w, func() { require.NoError(t, r.Close()) })
}
