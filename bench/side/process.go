//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	startTimeout = 10 * time.Second
	stopTimeout  = 3 * time.Second
)

// process is a program that was started here, with its children.
type process struct {
	cmd    *exec.Cmd
	output strings.Builder // complete once exited is closed
	exited chan struct{}
}

// start starts cmd and returns once it accepts connections at addr.
func start(cmd *exec.Cmd, addr netip.AddrPort) (*process, error) {
	p := &process{cmd: cmd, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	// A group of its own, so that Ctrl-C reaches only this program, which stops the
	// others; and should this one be killed, they are told.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("run %q: %w", cmd.Path, err)
	}
	go func() { // ends with the process, and stop waits for it
		_ = cmd.Wait() // how it ended is of no interest when its output says why
		close(p.exited)
	}()
	if err := p.waitFor(addr); err != nil {
		p.stop()
		return nil, fmt.Errorf("%w\n%s", err, p.output.String())
	}
	return p, nil
}

func (p *process) waitFor(addr netip.AddrPort) error {
	deadline := time.After(startTimeout)
	for {
		c, err := net.Dial("tcp", addr.String())
		if err == nil {
			return c.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%q ended before it served at %s", p.cmd.Path, addr)
		case <-deadline:
			return fmt.Errorf("%q does not serve at %s after %s", p.cmd.Path, addr, startTimeout)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// stop ends the process and its children, by force if it takes too long.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error means that it ended already
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
	}
	// What is left of the group: a program that did not heed the signal, or its children.
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.exited
}

func (p *process) usage() (usage, error) { return usageOf(os.DirFS("/proc"), p.cmd.Process.Pid) }
