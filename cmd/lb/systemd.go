package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// firstSocket is where sockets that come with the process begin
// (SD_LISTEN_FDS_START in sd_listen_fds(3)).
const firstSocket = 3

// inheritance is what came with the process: from systemd (socket activation)
// or from the process that this one replaces.
type inheritance struct {
	sockets []int  // listening sockets for the rules
	held    bool   // systemd has opened them and holds them too
	admin   int    // that of the admin listener, -1 without
	ready   int    // pipe to the predecessor, -1 without one
	tickets []byte // its keys of session tickets, nil without
}

// inherit reads LISTEN_FDS and takes its variables out of the environment, so
// that no child takes them for its own.
func inherit() (inheritance, error) {
	defer func() {
		for _, name := range []string{"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", handoverVar, ticketsVar} {
			_ = os.Unsetenv(name) // fails for names that are not valid, and these are
		}
	}()
	in := inheritance{admin: -1, ready: -1}
	if in.fromPredecessor() {
		unix.CloseOnExec(in.ready)
	} else if in.held = os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()); !in.held {
		return in, nil // meant for a parent of ours
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 0 {
		return in, fmt.Errorf("LISTEN_FDS %q: want the number of sockets", os.Getenv("LISTEN_FDS"))
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for i := range n {
		fd := firstSocket + i
		unix.CloseOnExec(fd)
		if i < len(names) && names[i] == adminSocket && in.admin < 0 {
			in.admin = fd
		} else {
			in.sockets = append(in.sockets, fd)
		}
	}
	return in, nil
}

// adminSocket is what the admin listener's socket is called in LISTEN_FDNAMES;
// FileDescriptorName=admin in a socket unit.
const adminSocket = "admin"

// notify tells systemd how the program is (sd_notify(3)). Without systemd, or
// when it does not listen, nothing happens: nobody could act on the error.
func notify(state string) {
	address := os.Getenv("NOTIFY_SOCKET")
	if address == "" {
		return
	}
	// Go takes "@..." for the abstract namespace, as systemd does.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = conn.Write([]byte(state))
}

// reloadingState is RELOADING=1 with the time that systemd wants beside it, so
// that it can tell a late message of an earlier reload.
func reloadingState() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return "RELOADING=1"
	}
	return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000)
}
