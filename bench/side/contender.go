//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// hostname is the one that every contender has its rule for.
const hostname = "a.test"

// site is what contenders are started with.
type site struct {
	dir         string // for binaries and configuration files
	lb          string // binary
	threads     int
	connections int              // the most that the load opens
	backends    []netip.AddrPort // started
	secure      *identity        // with TLS; nil: in the clear
	stream      bool             // the port passes on what comes, and is one of udp too
}

// contender is a proxy that takes part.
type contender struct {
	name    string
	program string // to be found in PATH; empty for what is built here
	// command writes the configuration for serving on listen and returns what starts it.
	command func(s site, listen netip.AddrPort) (*exec.Cmd, error)
	// version is what prints it; nil for what is built here.
	version []string
	// blind says that it forwards without looking at the request.
	blind bool
	// plain says that it takes no part with TLS.
	plain bool
	// streams and datagrams say that it takes part with these.
	streams, datagrams bool
}

var contenders = []contender{
	{name: "lb", command: lbCommand, streams: true, datagrams: true},
	{name: "lb without io_uring", command: lbCallsCommand, plain: true},
	{name: "nginx", program: "nginx", command: nginxCommand, version: []string{"nginx", "-v"}, streams: true, datagrams: true},
	{name: "HAProxy", program: "haproxy", command: haproxyCommand, version: []string{"haproxy", "-v"}, streams: true},
	{name: "fasthttp proxy", command: fasthttpCommand, plain: true},
	{name: "floor", command: floorCommand, blind: true, plain: true},
}

// present returns the contenders to run: those asked for, without those that are
// not installed.
func present(o options) ([]contender, error) {
	// PATH of an ordinary user lacks the folders where Debian puts servers.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin"); err != nil {
		return nil, err
	}
	want := strings.Split(o.only, ",")
	var found []contender
	for _, c := range contenders {
		if o.only != "" && !slices.Contains(want, c.name) {
			continue
		}
		if c.program != "" {
			if _, err := exec.LookPath(c.program); err != nil {
				if o.require {
					return nil, fmt.Errorf("find %s: %w", c.name, err)
				}
				fmt.Printf("%s is not installed: left out\n", c.name)
				continue
			}
		}
		found = append(found, c)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("-only %q names no contender", o.only)
	}
	return found, nil
}

// build puts the programs of this tree into dir.
func build(ctx context.Context, dir string, withLB bool) error {
	packages := []string{"arzur.net/lb/bench/backend", "arzur.net/lb/bench/fasthttpproxy", "arzur.net/lb/bench/floor"}
	if withLB {
		packages = append(packages, "arzur.net/lb/cmd/lb")
	}
	args := append([]string{"build", "-trimpath", "-o", dir + "/"}, packages...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %v: %w\n%s", packages, err, out)
	}
	return nil
}

// startBackends starts the three that every contender forwards to.
func startBackends(s *site) (*process, error) {
	for range 3 {
		addr, err := freeAddr()
		if err != nil {
			return nil, err
		}
		s.backends = append(s.backends, addr)
	}
	return start(exec.Command(filepath.Join(s.dir, "backend"), "-listen", s.join()), s.backends[2])
}

// start starts c on a port of its own and returns once it serves as it should.
func (c contender) start(s site) (*process, netip.AddrPort, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, addr, err
	}
	cmd, err := c.command(s, addr)
	if err != nil {
		return nil, addr, fmt.Errorf("configure %s: %w", c.name, err)
	}
	p, err := start(cmd, addr)
	if err != nil {
		return nil, addr, fmt.Errorf("start %s: %w", c.name, err)
	}
	if err := c.verify(s, addr); err != nil {
		p.stop()
		return nil, addr, fmt.Errorf("try %s: %w", c.name, err)
	}
	return p, addr, nil
}

func (s site) join() string {
	var b []string
	for _, addr := range s.backends {
		b = append(b, addr.String())
	}
	return strings.Join(b, ",")
}

func (s site) goEnv() []string {
	return append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(s.threads))
}

// dial opens a connection to a contender that was started with s, TLS included.
func (s site) dial(addr netip.AddrPort) (net.Conn, error) {
	if s.secure == nil {
		return net.Dial("tcp", addr.String())
	}
	return tls.Dial("tcp", addr.String(), s.secure.client(nil))
}

// freeAddr returns a loopback address that nothing listens on at the moment.
func freeAddr() (netip.AddrPort, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort(), nil
}
