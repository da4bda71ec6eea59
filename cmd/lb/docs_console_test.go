package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A console block is a session at a shell, in the folder of the repository:
// "$ " and a command, then what it prints. In the output "..." stands for
// anything in a line, and for any lines if it is one itself. "&" starts a job,
// and "kill %1" is about the first; what is below either is waited for.

// console is one such session, through all blocks of a document.
type console struct {
	t    *testing.T
	dir  string
	jobs []*job
	at   string
}

// job is a command that runs in the background.
type job struct {
	cmd   *exec.Cmd
	out   *transcript
	seen  int // of out, up to where it has been looked at
	ended chan struct{}
}

func TestDocs_ConsoleBlocksAreTrue(t *testing.T) {
	commands := 0
	for path, text := range documents(t) {
		blocks := blocksOf(path, text)
		if !slices.ContainsFunc(blocks, func(b block) bool { return b.language == "console" }) {
			continue
		}
		t.Run(strings.ReplaceAll(path, "/", "_"), func(t *testing.T) {
			need(t, "curl")
			if strings.Contains(text, " &\n") {
				awaitFree(t, text)
			}
			c := &console{t: t, dir: t.TempDir()}
			require.NoError(t, os.CopyFS(filepath.Join(c.dir, "configs"), os.DirFS(root+"/configs")))
			for _, b := range blocks {
				c.at = b.at
				switch {
				case b.language == "yaml" && b.name() != "":
					file := filepath.Join(c.dir, b.name())
					require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
					require.NoError(t, os.WriteFile(file, []byte(b.text), 0o644))
				case b.language == "console":
					commands += c.play(b.text)
				}
			}
		})
	}
	require.Greater(t, commands, 20)
}

// awaitFree waits until nobody has the ports that a document is about: another
// run of these tests may be using them.
func awaitFree(t *testing.T, text string) {
	t.Helper()
	ports := regexp.MustCompile(`\b8\d\d\d\b`).FindAllString(text, -1)
	ports = append(ports, "8000", "8001", "8002", "8003", "8080") // the demo's
	slices.Sort(ports)
	for _, port := range slices.Compact(ports) {
		require.Eventually(t, func() bool {
			l, err := net.Listen("tcp", "127.0.0.1:"+port)
			return err == nil && l.Close() == nil
		}, 2*patience, 50*time.Millisecond, "port %s is in use by another program; the examples need it", port)
	}
}

// play runs a block, and returns how many commands it had.
func (c *console) play(text string) int {
	c.t.Helper()
	sessions := strings.Split("\n"+text, "\n$ ")
	require.Empty(c.t, sessions[0], "%s: begins without a command", c.at)
	for _, s := range sessions[1:] {
		command, output, _ := strings.Cut(s, "\n")
		if output != "" && !strings.HasSuffix(output, "\n") {
			output += "\n"
		}
		c.run(command, output)
	}
	return len(sessions) - 1
}

var killCommand = regexp.MustCompile(`^kill (?:-(\w+) )?%(\d+)$`)

func (c *console) run(command, output string) {
	c.t.Helper()
	if kill := killCommand.FindStringSubmatch(command); kill != nil {
		n, err := strconv.Atoi(kill[2])
		require.NoError(c.t, err)
		require.LessOrEqual(c.t, n, len(c.jobs), "%s: %s", c.at, command)
		c.kill(c.jobs[n-1], kill[1], output)
		return
	}
	if background, ok := strings.CutSuffix(command, " &"); ok {
		c.start(background, output)
		return
	}
	want := regexp.MustCompile("^" + patternOf(output) + "$")
	got := c.output(command)
	if strings.Contains(command, "/healthz") || strings.Contains(command, "/api/") {
		// Health is what the first checks find out; the reader is slower than they are.
		for begun := time.Now(); !want.MatchString(got) && time.Since(begun) < patience; {
			got = c.output(command)
		}
	}
	require.Regexp(c.t, want, got, "%s: %s", c.at, command)
}

// output is what a command prints at a terminal, where curl shows no progress
// and CRLF looks like any other end of a line.
func (c *console) output(command string) string {
	out, _ := c.shell(`curl() { command curl -sS "$@"; }; ` + command).CombinedOutput() // the status shows in it
	return strings.ReplaceAll(string(out), "\r\n", "\n")
}

// shell is a command as a user would type it, with this lb in the PATH.
func (c *console) shell(command string) *exec.Cmd {
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"), "no_proxy=*")
	return cmd
}

// start runs lb in the background until it serves.
func (c *console) start(command, output string) {
	c.t.Helper()
	if target, ok := strings.CutPrefix(command, "make "); ok {
		command = recipe(c.t, target)
	}
	cmd := c.shell("exec " + command)
	j := &job{cmd: cmd, out: newTranscript(), ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = j.out, j.out
	require.NoError(c.t, cmd.Start())
	go func() {
		defer close(j.ended)
		_ = cmd.Wait() // the status is in ProcessState
	}()
	c.t.Cleanup(func() {
		_ = cmd.Process.Kill() // fails if it has ended
		<-j.ended
		require.NotContains(c.t, j.out.String(), "DATA RACE")
	})
	c.jobs = append(c.jobs, j)
	c.await(j, `.*"serving".*\n`, false)
	j.seen = 0
	c.await(j, patternOf(output), false)
	j.seen = len(j.out.String())
}

// recipe is what make does for a target that runs the program.
func recipe(t *testing.T, target string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + target + `:.*\n\tgo run \./cmd/lb (.+)$`).FindStringSubmatch(read(t, "Makefile"))
	require.NotNil(t, found, "make %s does not run lb", target)
	return "lb " + found[1]
}

// kill sends a signal; without a name it is the one that ends the job.
func (c *console) kill(j *job, name, output string) {
	c.t.Helper()
	known := map[string]syscall.Signal{"": syscall.SIGTERM, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "USR1": syscall.SIGUSR1}
	s, ok := known[name]
	require.True(c.t, ok, "%s: signal %q", c.at, name)
	require.NoError(c.t, j.cmd.Process.Signal(s))
	c.await(j, patternOf(output), s == syscall.SIGTERM)
	if s == syscall.SIGTERM {
		require.Zero(c.t, j.cmd.ProcessState.ExitCode(), "%s: %s", c.at, j.out)
	}
}

// await waits until what j has said since the last look matches, and, if so
// asked, for its end.
func (c *console) await(j *job, pattern string, toTheEnd bool) {
	c.t.Helper()
	re := regexp.MustCompile(`(?m)^` + pattern)
	timeout := time.After(patience)
	for {
		j.out.mu.Lock()
		found, grown := re.FindIndex(j.out.text[j.seen:]), j.out.grown
		j.out.mu.Unlock()
		if found != nil && !toTheEnd {
			j.seen += found[1]
			return
		}
		select {
		case <-grown:
		case <-j.ended:
			if re.MatchString(j.out.String()[j.seen:]) {
				return
			}
			require.FailNow(c.t, "job ended", "%s: no %q in:\n%s", c.at, pattern, j.out)
		case <-timeout:
			require.FailNow(c.t, "not said", "%s: no %q in:\n%s", c.at, pattern, j.out)
		}
	}
}

// patternOf is the regular expression for an output with "..." in it.
func patternOf(output string) string {
	var b strings.Builder
	for line := range strings.Lines(output) {
		if line == "...\n" {
			b.WriteString(`(?:.*\n)*?`)
			continue
		}
		fmt.Fprintf(&b, "%s", strings.ReplaceAll(regexp.QuoteMeta(line), `\.\.\.`, `.*`))
	}
	return b.String()
}
