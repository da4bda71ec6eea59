package main

import (
	"cmp"
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

	"go.uber.org/zap"
)

// handoverVar says that the sockets come from the process that the new one
// replaces: "parent pid:descriptor of the pipe on which to say ready:whether
// systemd holds the sockets". LISTEN_PID would say so too, but nobody knows a pid
// before fork, and Go cannot write to the environment after it.
const handoverVar = "LB_HANDOVER"

// ticketsVar is the descriptor from which a successor reads the keys of session
// tickets: "parent pid:descriptor". They pass through a pipe, for no file and no
// environment is to have them. Programs from before it was there leave it alone,
// and hand it on to their own successors, whom the pid tells that it is stale.
const ticketsVar = "LB_HANDOVER_TICKETS"

// handoverMost is how long a successor may take until it serves.
const handoverMost = 30 * time.Second

// readyWord is what a successor writes once it serves.
const readyWord = "ready"

// successor is the process that takes over.
type successor struct {
	process *os.Process
	ready   *os.File
}

// handOver starts a successor. What is returned says how that ended.
func (s *server) handOver() chan error {
	ended := make(chan error, 1)
	if os.Getpid() == 1 {
		ended <- errors.New("process 1 cannot: the container ends with it; start a new container instead")
		return ended
	}
	next, err := s.startSuccessor()
	if err != nil {
		ended <- err
		return ended
	}
	s.next = next
	s.log.Info("handing over", zap.Int("pid", next.process.Pid))
	go func() { // ends with await, which is bounded; nobody waits at exit
		err := next.await()
		if err == nil {
			// From the main process, whose word systemd takes.
			notify(fmt.Sprintf("MAINPID=%d", next.process.Pid))
		}
		ended <- err
	}()
	return ended
}

func (s *server) startSuccessor() (*successor, error) {
	control, err := s.adminSocket()
	if err != nil {
		return nil, err
	}
	if control != nil {
		defer control.Close()
	}
	return startSuccessor(s.proxy.Sockets(), control, s.held, s.certs.server.TicketKeys())
}

// startSuccessor starts this program anew, from the file that now bears its
// name, with the same arguments and these listening sockets, which stay open
// here. admin is the admin listener's, nil without one; held says whether systemd
// holds the sockets too; tickets are the keys of session tickets.
func startSuccessor(sockets []int, admin *os.File, held bool, tickets []byte) (*successor, error) {
	names := slices.Repeat([]string{"http"}, len(sockets))
	if admin != nil {
		fd, err := descriptor(admin)
		if err != nil {
			return nil, err
		}
		sockets, names = append(sockets, fd), append(names, adminSocket)
	}
	path, err := ownPath()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("hand-over pipe: %w", err)
	}
	defer w.Close()
	keys, err := filled(tickets)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	defer keys.Close()
	pid, err := forkSuccessor(path, sockets, names, held, w, keys)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %q: %w", path, err), r.Close())
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("process %d: %w", pid, err), r.Close())
	}
	return &successor{process, r}, nil
}

// filled is a pipe that data, which is short, can be read from.
func filled(data []byte) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("hand-over pipe: %w", err)
	}
	_, err = w.Write(data)
	if err := cmp.Or(err, w.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("hand-over pipe: %w", err), r.Close())
	}
	return r, nil
}

// forkSuccessor does without os/exec, which would switch the sockets to
// blocking, and with them those of this process.
func forkSuccessor(path string, sockets []int, names []string, held bool, ready, tickets *os.File) (pid int, err error) {
	files := []uintptr{0, 1, 2}
	for _, fd := range sockets {
		files = append(files, uintptr(fd))
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "LISTEN_") })
	env = append(env,
		fmt.Sprintf("LISTEN_FDS=%d", len(sockets)),
		"LISTEN_FDNAMES="+strings.Join(names, ":"),
		fmt.Sprintf("%s=%d:%d:%t", handoverVar, os.Getpid(), len(files), held),
		fmt.Sprintf("%s=%d:%d", ticketsVar, os.Getpid(), len(files)+1),
	)
	files = append(files, ready.Fd(), tickets.Fd())
	return syscall.ForkExec(path, os.Args, &syscall.ProcAttr{Env: env, Files: files})
}

// descriptor is f's, left as it is; f.Fd would switch it to blocking.
func descriptor(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err == nil {
		err = raw.Control(func(n uintptr) { fd = int(n) })
	}
	if err != nil {
		return -1, fmt.Errorf("descriptor of %q: %w", f.Name(), err)
	}
	return fd, nil
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

// fromPredecessor reads what the process that this one replaces has left in the
// environment, if there is one.
func (in *inheritance) fromPredecessor() bool {
	ready, rest, ok := fromParent(handoverVar)
	if !ok || len(rest) != 1 {
		return false
	}
	in.ready, in.held = ready, rest[0] == "true"
	if fd, _, ok := fromParent(ticketsVar); ok {
		pipe := os.NewFile(uintptr(fd), "hand-over")
		in.tickets, _ = io.ReadAll(pipe) // without them sessions begin anew
		_ = pipe.Close()                 // was only read
	}
	return true
}

// fromParent is the descriptor that a variable names, and what follows it there,
// if our parent has set it.
func fromParent(name string) (fd int, rest []string, ok bool) {
	parts := strings.Split(os.Getenv(name), ":")
	if len(parts) < 2 || parts[0] != strconv.Itoa(os.Getppid()) {
		return -1, nil, false
	}
	fd, err := strconv.Atoi(parts[1])
	return fd, parts[2:], err == nil && fd >= firstSocket
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
