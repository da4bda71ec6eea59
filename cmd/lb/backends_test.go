package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var ports struct {
	sync.Mutex
	next int
}

// freePort is a port that nobody listens on. It is below those that the system
// gives to clients, so that no connection of another test takes it meanwhile.
func freePort(t *testing.T) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	const first, last = 20000, 32000
	for range last - first {
		if ports.next == 0 || ports.next >= last {
			ports.next = first + rand.IntN(last-first)
		}
		port := ports.next
		ports.next++
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		require.NoError(t, l.Close())
		return port
	}
	require.FailNow(t, "no free port")
	return 0
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// namedServer answers every request with its name, from inside the test.
func namedServer(t *testing.T, name string) string {
	t.Helper()
	return testServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, name) }))
}

func testServer(t *testing.T, h http.Handler) (address string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// serveForTest is the life of a backend in a process of its own: it answers with
// its name at the address in LB_TEST_ADDRESS.
func serveForTest(name string) {
	err := http.ListenAndServe(os.Getenv("LB_TEST_ADDRESS"), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, name)
	}))
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// startServer starts a backend in a process of its own, to be killed.
func startServer(t *testing.T, name string, port int) *process {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "LB_TEST_SERVER="+name, "LB_TEST_ADDRESS="+local(port))
	p := launchCmd(t, cmd)
	awaitPort(t, port)
	return p
}

// awaitPort waits until somebody listens. There is no event to wait for.
func awaitPort(t *testing.T, port int) {
	t.Helper()
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", local(port))
		if err != nil {
			return false
		}
		return c.Close() == nil
	}, patience, 5*time.Millisecond, "port %d", port)
}

// write writes a file into the test's own folder.
func write(t *testing.T, path, text string) string {
	t.Helper()
	if !filepath.IsAbs(path) {
		path = filepath.Join(t.TempDir(), path)
	}
	// By way of a rename: lb never reads half a file.
	require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o644))
	require.NoError(t, os.Rename(path+".new", path))
	return path
}

// rulesFor is a rules file of one rule with these servers.
func rulesFor(port int, servers ...string) string {
	return fmt.Sprintf(`port_rules:
- {source_port: %d, address: 127.0.0.1, service: blog}
services:
  blog: {servers: ["%s"]}
admin: "off"
`, port, strings.Join(servers, `", "`))
}
