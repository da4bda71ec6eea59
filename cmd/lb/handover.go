package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// handoverVar says that the sockets come from the process that the new one
// replaces: "parent pid:descriptor of the pipe on which to say ready". systemd's
// LISTEN_PID would say so too, but nobody knows a pid before fork, and Go cannot
// write to the environment after it.
const handoverVar = "LB_HANDOVER"

// handoverMost is how long a successor may take until it serves.
const handoverMost = 30 * time.Second

// readyWord is what a successor writes once it serves.
const readyWord = "ready"

// successor is the process that takes over.
type successor struct {
	process *os.Process
	ready   *os.File
}

// startSuccessor starts this program anew, from the file that now bears its
// name, with the same arguments and these listening sockets. admin is that of
// the admin listener, -1 without one. The sockets stay open here.
func startSuccessor(sockets []int, admin int) (*successor, error) {
	path, err := ownPath()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("hand-over pipe: %w", err)
	}
	defer w.Close()
	names := slices.Repeat([]string{"http"}, len(sockets))
	if admin >= 0 {
		sockets, names = append(sockets, admin), append(names, adminSocket)
	}
	// Not os/exec: it would switch the sockets to blocking, here too.
	files := []uintptr{0, 1, 2}
	for _, fd := range sockets {
		files = append(files, uintptr(fd))
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "LISTEN_") })
	env = append(env,
		fmt.Sprintf("LISTEN_FDS=%d", len(sockets)),
		"LISTEN_FDNAMES="+strings.Join(names, ":"),
		fmt.Sprintf("%s=%d:%d", handoverVar, os.Getpid(), len(files)),
	)
	files = append(files, w.Fd())
	pid, err := syscall.ForkExec(path, os.Args, &syscall.ProcAttr{Env: env, Files: files})
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("start %q: %w", path, err)
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	return &successor{process, r}, nil
}

// ownPath is the file to start. What the program was started as comes first: it
// may be a link that leads to a newer binary by now.
func ownPath() (string, error) {
	if path, err := exec.LookPath(os.Args[0]); err == nil {
		return filepath.Abs(path)
	}
	return os.Executable()
}

// await returns when the successor serves. On an error it has ended, if need be
// by force: two processes that both believe to be the one would be worse.
func (s *successor) await() error {
	defer s.ready.Close()
	_ = s.ready.SetReadDeadline(time.Now().Add(handoverMost)) // a pipe has deadlines
	word, err := io.ReadAll(s.ready)
	if string(word) == readyWord {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		_ = s.process.Kill()
		_, _ = s.process.Wait()
		return fmt.Errorf("process %d was not ready in %s", s.process.Pid, handoverMost)
	}
	_ = s.process.Kill() // closed the pipe without the word: it cannot be trusted
	state, err := s.process.Wait()
	if err != nil {
		return fmt.Errorf("process %d: %w", s.process.Pid, err)
	}
	return fmt.Errorf("process %d: %s", s.process.Pid, state)
}

// fromPredecessor finds the pipe of the process that this one replaces.
func fromPredecessor() (ready int, ok bool) {
	parent, pipe, found := strings.Cut(os.Getenv(handoverVar), ":")
	if !found || parent != strconv.Itoa(os.Getppid()) {
		return -1, false
	}
	ready, err := strconv.Atoi(pipe)
	return ready, err == nil && ready >= firstSocket
}

// sayReady lets the predecessor go.
func (in *inheritance) sayReady() error {
	if in.ready < 0 {
		return nil
	}
	pipe := os.NewFile(uintptr(in.ready), "hand-over")
	in.ready = -1
	_, err := pipe.WriteString(readyWord)
	return errors.Join(err, pipe.Close())
}
