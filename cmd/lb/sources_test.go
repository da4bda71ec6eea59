package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSources_NeedNoRules(t *testing.T) {
	f := func(asked string, args ...string) {
		t.Helper()
		r := lb(t, append([]string{"check"}, args...)...)
		require.Zero(t, r.code, r.stderr)
		require.Equal(t, "ok: 0 rules, 0 listeners; "+asked+" will be asked at run time\n", r.stdout)
	}
	f("Docker", "-docker")
	f("Docker", "-swarm")
	f("Consul", "-consul")
	f("Docker and Consul", "-docker", "-consul")
	f("Docker", "-config", write(t, "rules.yml", "sources: {docker: {exposed_by_default: false}}\n"))
	f("Docker", "-config", filepath.Join("..", "..", "configs", "docker.yml"))
}

// An Engine that is down at the start keeps nobody from serving what files say.
func TestSources_EngineIsDownAtTheStart(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "docker.sock")
	text := func(port int, more string) string {
		return fmt.Sprintf("%ssources: {docker: {endpoint: \"unix://%s\"%s}}\n", rulesFor(port, namedServer(t, "one")), socket, more)
	}
	port, admin := freePort(t), freePort(t)
	file := write(t, "rules.yml", text(port, ""))
	p := start(t, "-config", file, "-admin", local(admin))
	visit(t, port)
	answer, err := http.Get("http://" + local(admin) + "/healthz?verbose")
	require.NoError(t, err)
	defer answer.Body.Close()
	parts, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.StatusCode)
	require.Contains(t, string(parts), "[!] source docker: docker: ")

	write(t, file, text(port, ", network: front"))
	p.signal(syscall.SIGHUP)
	p.await("setting changes at the next start", `"sources"`)
}

// An Engine that lb can never reach ends the program, where one that is down is
// waited for.
func TestSources_EngineThatCannotBe(t *testing.T) {
	f := func(variable, want string) {
		t.Helper()
		cmd := exec.Command(binary, "-docker", "-admin", "off")
		cmd.Env = append(os.Environ(), "DOCKER_HOST=", variable)
		r := finish(t, cmd)
		require.Equal(t, exitBad, r.code)
		require.Contains(t, r.stderr, want)
	}
	f("DOCKER_HOST=ssh://me@host", `docker: DOCKER_HOST "ssh://me@host": lb does not speak ssh; forward the socket`)
	f("DOCKER_CONTEXT=far", `docker: DOCKER_CONTEXT "far": contexts are docker's own`)
}
