package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for what an Engine does; tick is how often it
// looks.
const (
	patience = 2 * time.Minute
	tick     = 20 * time.Millisecond
)

// engine is a Docker Engine of our own.
type engine struct {
	t      *testing.T
	dir    string
	socket string
	daemon *exec.Cmd
	// liveRestore has containers go on while the daemon does not run. A Swarm cannot have that.
	liveRestore bool
	log         *os.File
}

// startEngine starts one that ends with the test. Its images are those of buildAll.
func startEngine(t *testing.T) *engine {
	t.Helper()
	need(t)
	dir, err := os.MkdirTemp(workDir, "d")
	require.NoError(t, err)
	e := &engine{t: t, dir: dir, socket: filepath.Join(dir, "sock")}
	e.log, err = os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	t.Cleanup(e.end)
	e.start()
	e.buildImages()
	return e
}

// start starts the daemon. Containers outlive it.
func (e *engine) start() {
	e.t.Helper()
	e.daemon = exec.Command("dockerd", "--host", "unix://"+e.socket, "--pidfile", e.dir+"/pid",
		"--data-root", e.dir+"/data", "--exec-root", e.dir+"/exec", "--config-file", e.write("daemon.json", "{}"),
		"--log-level", "warn", "--live-restore="+strconv.FormatBool(e.liveRestore), "--bridge", "none", "--default-address-pool", "base=10.231.0.0/16,size=24")
	// All images are here already. What the daemon still asks a registry for is
	// refused on this machine, and so never leaves it.
	e.daemon.Env = append(os.Environ(), "HTTP_PROXY=http://127.0.0.1:1", "HTTPS_PROXY=http://127.0.0.1:1", "NO_PROXY=")
	e.daemon.Stdout, e.daemon.Stderr = e.log, e.log
	require.NoError(e.t, e.daemon.Start())
	e.eventually("the Engine answers", func() bool { return e.try("version") == nil })
}

// stop stops the daemon.
func (e *engine) stop() {
	e.t.Helper()
	require.NoError(e.t, e.daemon.Process.Signal(syscall.SIGTERM))
	require.NoError(e.t, e.daemon.Wait())
}

// end leaves nothing that the next test could meet.
func (e *engine) end() {
	_ = e.try("swarm", "leave", "--force") // most are in none
	if ids := strings.Fields(e.output("ps", "--all", "--quiet")); len(ids) > 0 {
		_ = e.try(append([]string{"rm", "--force"}, ids...)...)
	}
	_ = e.try("network", "prune", "--force")
	_ = e.try("network", "rm", "docker_gwbridge")
	e.stop()
	if !e.t.Failed() {
		return
	}
	text, err := os.ReadFile(e.log.Name())
	require.NoError(e.t, err)
	e.t.Logf("the daemon said:\n%s", text[max(0, len(text)-20_000):])
}

// buildImages makes the image of lb as a user would, and those of the servers.
func (e *engine) buildImages() {
	e.t.Helper()
	build := e.command("build", "--quiet", "--tag", "lb", filepath.Join(workDir, "lb"))
	build.Env = append(build.Env, "DOCKER_BUILDKIT=0") // the other builder is not everywhere
	out, err := build.CombinedOutput()
	require.NoError(e.t, err, "%s", out)
	tar := exec.Command("tar", "--create", "--directory", filepath.Join(workDir, "server"), ".")
	archive, err := tar.Output()
	require.NoError(e.t, err)
	e.imports("cdn", archive)
	e.imports("checked", archive, "--change", `HEALTHCHECK --interval=200ms --retries=1 CMD ["/server", "-check"]`)
	for _, name := range []string{"saas", "traefik/whoami"} {
		e.docker("tag", "cdn", name)
	}
}

// imports makes an image of an archive.
func (e *engine) imports(name string, archive []byte, changes ...string) {
	e.t.Helper()
	args := append([]string{"import", "--change", `ENTRYPOINT ["/server"]`, "--change", "EXPOSE 80"}, changes...)
	load := e.command(append(args, "-", name)...)
	load.Stdin = bytes.NewReader(archive)
	out, err := load.CombinedOutput()
	require.NoError(e.t, err, "%s", out)
}

// version is an image of the server of that version.
func (e *engine) version(n int) (image string) {
	e.t.Helper()
	image = fmt.Sprint("cdn:", n)
	container := e.docker("create", "cdn")
	e.docker("commit", "--change", fmt.Sprintf(`CMD ["-version", "%d"]`, n), container, image)
	e.docker("rm", container)
	return image
}

func (e *engine) command(args ...string) *exec.Cmd {
	c := exec.Command("docker", args...)
	c.Env = append(os.Environ(), "DOCKER_HOST=unix://"+e.socket)
	return c
}

// docker runs a command that has to succeed and returns what it says.
func (e *engine) docker(args ...string) string {
	e.t.Helper()
	c := e.command(args...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	require.NoError(e.t, c.Run(), "docker %s: %s", strings.Join(args, " "), &stderr)
	return strings.TrimSpace(stdout.String())
}

func (e *engine) try(args ...string) error { return e.command(args...).Run() }

// output is what a command says, "" if it fails.
func (e *engine) output(args ...string) string {
	out, err := e.command(args...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

func (e *engine) write(name, text string) (path string) {
	e.t.Helper()
	path = filepath.Join(e.dir, name)
	require.NoError(e.t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

func (e *engine) eventually(what string, is func() bool) {
	e.t.Helper()
	require.Eventually(e.t, is, patience, tick, what)
}

// startLB starts lb beside the Engine, on the machine.
func (e *engine) startLB(args ...string) {
	e.t.Helper()
	c := exec.Command(filepath.Join(workDir, "lb", "bin", "lb"), append([]string{"-admin", "127.0.0.1:8080"}, args...)...)
	c.Env = append(os.Environ(), "DOCKER_HOST=unix://"+e.socket)
	log, err := os.Create(filepath.Join(e.dir, "lb.log"))
	require.NoError(e.t, err)
	c.Stdout, c.Stderr = log, log
	require.NoError(e.t, c.Start())
	e.t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM) // fails if it has ended
		require.NoError(e.t, c.Wait())
		if e.t.Failed() {
			text, err := os.ReadFile(log.Name())
			require.NoError(e.t, err)
			e.t.Logf("lb said:\n%s", text[max(0, len(text)-20_000):])
		}
	})
	e.eventually("lb is well", func() bool { return ask(e.t, "127.0.0.1:8080", "", "/healthz").status == 200 })
}
