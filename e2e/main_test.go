// Package e2e has lb follow a real Docker Engine, alone and as a Swarm, while
// requests are counted that fail.
package e2e

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The tests run in namespaces of their own: the Engine's bridges, firewall rules
// and mounts never meet those of another on the machine, and all that is left of
// them ends with the tests.

// workDir is where everything is; "" outside of the namespaces.
var workDir = os.Getenv("LB_E2E_DIR")

func TestMain(m *testing.M) {
	if workDir == "" {
		os.Exit(outside(m))
	}
	if err := settleIn(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// outside builds what the tests need and runs them inside. Where that cannot be,
// every test says why it is left out.
func outside(m *testing.M) int {
	if os.Geteuid() != 0 || missing() != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("/tmp", "lb-e2e-") // a socket's path is short
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := buildAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	inside := exec.Command("/proc/self/exe", os.Args[1:]...)
	inside.Env = append(os.Environ(), "LB_E2E_DIR="+dir)
	inside.Stdin, inside.Stdout, inside.Stderr = os.Stdin, os.Stdout, os.Stderr
	inside.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := inside.Start(); err != nil {
		unfit = "namespaces of one's own: " + err.Error()
		return m.Run()
	}
	_ = inside.Wait() // the status says it
	return inside.ProcessState.ExitCode()
}

// unfit is why the machine lets nobody have namespaces; "" if it does.
var unfit string

// programs are what the tests drive.
var programs = []string{"dockerd", "docker", "docker-compose", "containerd", "runc", "iptables", "wrk"}

// missing is the first program that is not installed.
func missing() string {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return p
		}
	}
	return ""
}

// need leaves a test out where it cannot run, as that is no fault of the code;
// where LB_TEST_REQUIRE=all, it is one.
func need(t *testing.T) {
	t.Helper()
	if workDir != "" {
		return
	}
	text := cmp.Or(unfit, "a Docker Engine of one's own needs root")
	if p := missing(); p != "" {
		text = p + " is not installed; scripts/deps gets it"
	}
	leaveOut(t, text)
}

func leaveOut(t *testing.T, text string) {
	t.Helper()
	if os.Getenv("LB_TEST_REQUIRE") == "all" {
		t.Fatal(text)
	}
	t.Skip(text)
}

// buildAll builds lb and the server behind it, both static.
func buildAll(dir string) error {
	for name, pkg := range map[string]string{"lb/bin/lb": "../cmd/lb", "server/server": "./testdata/server"} {
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, name), pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
		}
	}
	text, err := os.ReadFile("../Dockerfile")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "lb", "Dockerfile"), text, 0o644)
}

// settleIn makes the new namespaces fit to live in.
func settleIn() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to ourselves: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// A daemon of the machine is not to be found by accident.
	for _, name := range []string{"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"} {
		if err := os.Unsetenv(name); err != nil {
			return err
		}
	}
	return bringUp("lo")
}

// bringUp is "ip link set dev name up".
func bringUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, r); err != nil {
		return fmt.Errorf("flags of %s: %w", name, err)
	}
	r.SetUint16(r.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	return nil
}

func init() {
	// PATH of an ordinary user lacks the folders where Debian puts servers.
	path := os.Getenv("PATH")
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if !strings.Contains(path, dir) {
			path += ":" + dir
		}
	}
	os.Setenv("PATH", path)
}
