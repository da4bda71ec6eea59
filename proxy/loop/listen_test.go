//go:build linux

package loop

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// acceptSoon takes a connection that stands for its client, and that a busy kernel
// may have yet to hand out.
func acceptSoon(t *testing.T, sys System, listener int) (fd int) {
	t.Helper()
	for begun := time.Now(); ; {
		fd, _, err := sys.Accept(listener)
		if err != ErrAgain {
			require.NoError(t, err)
			return fd
		}
		require.Less(t, time.Since(begun), time.Minute)
	}
}

func TestListen_AllShareOneFreePort(t *testing.T) {
	fds, err := Listen(localhost, 0, 4)
	require.NoError(t, err)
	defer closeAll(fds)
	require.Len(t, fds, 4)
	first, err := ListenAddr(fds[0])
	require.NoError(t, err)
	require.NotZero(t, first.Port())
	for _, fd := range fds {
		at, err := ListenAddr(fd)
		require.NoError(t, err)
		require.Equal(t, at, first)
		require.NoError(t, SetListenOptions(fd))
	}
}

func TestListen_TheKernelSpreadsConnections(t *testing.T) {
	sys := newReal(t).Sys()
	fds, err := Listen(localhost, 0, 4)
	require.NoError(t, err)
	defer closeAll(fds)
	at, err := ListenAddr(fds[0])
	require.NoError(t, err)
	for range 64 {
		c, err := net.Dial("tcp", at.String())
		require.NoError(t, err)
		defer c.Close()
	}
	total, used := 0, map[int]bool{}
	for begun := time.Now(); total < 64; { // a busy kernel may have yet to hand some out
		for _, fd := range fds {
			nfd, _, err := sys.Accept(fd)
			if err != nil {
				require.Equal(t, err, ErrAgain)
				continue
			}
			sys.Close(nfd)
			used[fd] = true
			total++
		}
		require.Less(t, time.Since(begun), time.Minute, "%d came", total)
	}
	require.Len(t, used, len(fds))
}

func TestListen_AddressInUse(t *testing.T) {
	f := func(taken []int, addr netip.Addr, shown string) {
		t.Helper()
		defer closeAll(taken)
		at, err := ListenAddr(taken[0])
		require.NoError(t, err)
		fds, err := Listen(addr, at.Port(), 2)
		require.Nil(t, fds)
		require.ErrorIs(t, err, syscall.EADDRINUSE)
		require.ErrorContains(t, err, "listen: address "+shown+":"+strconv.Itoa(int(at.Port()))+
			" is in use by another program; stop it or choose another source_port")
	}
	open := func(addr netip.Addr) []int {
		fds, err := Listen(addr, 0, 1)
		require.NoError(t, err)
		return fds
	}
	// Every one of these shares its port with whoever asks to share.
	f(open(localhost), localhost, "127.0.0.1")
	f(open(localhost), netip.Addr{}, "0.0.0.0")
	f(open(netip.Addr{}), localhost, "127.0.0.1")
	f(open(netip.Addr{}), netip.Addr{}, "0.0.0.0")
}

func TestListen_RestartsWhileOldConnectionsWindDown(t *testing.T) {
	l := newReal(t)
	fds, err := Listen(localhost, 0, 1)
	require.NoError(t, err)
	at, err := ListenAddr(fds[0])
	require.NoError(t, err)
	c, err := net.Dial("tcp", at.String())
	require.NoError(t, err)
	defer c.Close()
	fd := acceptSoon(t, l.Sys(), fds[0])
	l.Sys().Close(fd) // first to close: the port is in FIN-WAIT, then TIME-WAIT
	closeAll(fds)
	fds, err = Listen(localhost, at.Port(), 2)
	require.NoError(t, err)
	closeAll(fds)
}

func TestListen_AddressOfAnotherMachine(t *testing.T) {
	_, err := Listen(netip.MustParseAddr("192.0.2.1"), 8080, 1)
	require.ErrorIs(t, err, syscall.EADDRNOTAVAIL)
	require.ErrorContains(t, err, "listen: address 192.0.2.1:8080 is not one of this machine's; choose another address")
}

// TestListen_NeedsPermissionForALowPort runs in a process without privileges.
func TestListen_NeedsPermissionForALowPort(t *testing.T) {
	const child = "LOOP_TEST_LOW_PORT"
	if os.Getenv(child) == "" && os.Geteuid() == 0 {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestListen_NeedsPermissionForALowPort$")
		cmd.Env = append(os.Environ(), child+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		return
	}
	_, err := Listen(localhost, 81, 1)
	require.ErrorIs(t, err, syscall.EACCES)
	require.ErrorContains(t, err, "listen: address 127.0.0.1:81 needs root, CAP_NET_BIND_SERVICE (setcap cap_net_bind_service=+ep lb) "+
		"or net.ipv4.ip_unprivileged_port_start")
}

func TestSetListenOptions_RefusesWhatDoesNotListen(t *testing.T) {
	f := func(fd int, want string) {
		t.Helper()
		require.ErrorContains(t, SetListenOptions(fd), want)
	}
	fd, err := socket(unix.AF_INET)
	require.NoError(t, err)
	defer unix.Close(fd)
	f(fd, "not a listening socket")
	f(-1, "take over descriptor -1: bad file descriptor")
	file, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer file.Close()
	f(int(file.Fd()), "socket operation on non-socket")
}
