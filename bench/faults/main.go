//go:build linux

// Command faults does harm to lb, to its servers, its clients and the network in
// between, under load, and counts what is lost. See bench/README.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// experiment is one harm and what may come of it.
type experiment struct {
	name string
	harm string
	want string
	run  func(b *bed) (figure string, good bool)
}

var experiments = slices.Concat(serverFaults, ownFaults, clientFaults, logFaults)

func main() {
	// A server is this program too, started by the experiments.
	if address := os.Getenv(asServer); address != "" {
		check(serve(address))
		return
	}
	binary := flag.String("lb", "", "lb `binary` (default: built from this tree)")
	only := flag.String("run", "", "experiments whose name matches this `regexp` (default: all)")
	flag.Parse()
	if os.Getenv("LB_FAULTS_INSIDE") == "" {
		os.Exit(goInside(*binary))
	}
	check(exec.Command("ip", "link", "set", "lo", "up").Run())
	name := regexp.MustCompile(*only)
	bad := 0
	fmt.Println("| experiment | what is done | pass | figure | verdict |\n|---|---|---|---|---|")
	for _, e := range experiments {
		if !name.MatchString(e.name) {
			continue
		}
		began := time.Now()
		figure, good := e.try(os.Getenv("LB_FAULTS_INSIDE"))
		verdict := "pass"
		if !good {
			verdict = "**FAIL**"
			bad++
		}
		fmt.Printf("| %s | %s | %s | %s | %s |\n", e.name, e.harm, e.want, figure, verdict)
		fmt.Fprintf(os.Stderr, "%s: %s\n", e.name, time.Since(began).Round(time.Second))
	}
	if bad > 0 {
		os.Exit(1)
	}
}

// goInside builds lb and runs this program again, in a network of its own.
func goInside(binary string) int {
	dir, err := os.MkdirTemp("", "lb-faults-")
	check(err)
	defer os.RemoveAll(dir)
	if binary == "" {
		binary = filepath.Join(dir, "lb")
		out, err := exec.Command("go", "build", "-o", binary, "./cmd/lb").CombinedOutput()
		if err != nil {
			fmt.Fprintf(os.Stderr, "faults: build lb: %v\n%s", err, out)
			return 1
		}
	}
	self, err := os.Executable()
	check(err)
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), "LB_FAULTS_INSIDE="+binary)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		return 1
	}
	return 0
}

// try runs one experiment on a fresh bed.
func (e *experiment) try(binary string) (figure string, good bool) {
	dir, err := os.MkdirTemp("", "lb-faults-")
	check(err)
	b := &bed{dir: dir, binary: binary}
	defer os.RemoveAll(dir)
	defer b.close()
	defer func() {
		if v := recover(); v != nil {
			figure, good = strings.ReplaceAll(fmt.Sprint("broke off: ", v), "\n", " "), false
		}
	}()
	b.identity()
	b.startServers()
	return e.run(b)
}
