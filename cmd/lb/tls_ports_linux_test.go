package main

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// inOwnNetwork says whether the test runs where all ports are free, and has it run
// there otherwise.
func inOwnNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv("LB_TEST_NETWORK") != "" {
		bringUp(t, "lo")
		return true
	}
	if os.Geteuid() != 0 {
		leaveOut(t, "a network of its own needs root")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "LB_TEST_NETWORK=own", "LB_TEST_BINARY="+binary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	r := finish(t, cmd)
	require.Zero(t, r.code, "%s%s", r.stdout, r.stderr)
	return false
}

// bringUp is "ip link set dev name up".
func bringUp(t *testing.T, name string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, r))
	r.SetUint16(r.Uint16() | unix.IFF_UP)
	require.NoError(t, unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r))
}

func TestTLSRules_ExampleOnItsPorts(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	a := newAuthority(t)
	startExample(t, a)
	require.Equal(t, "one\n200", curlTLS(t, a, "arzur.net", 443))
	require.Equal(t, "302 https://arzur.net/x?y", redirected(t, 80, "/x?y"))
}
