package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// mistakes are rules files that cannot be served, and what is said of them. %d
// is a free port.
var mistakes = []struct{ name, text, want string }{
	{"empty", "", `rules.yml: the file is empty; want port_rules`},
	{"only a comment", "# nothing\n", `rules.yml: the file is empty; want port_rules`},
	{"not YAML", "port_rules: [\n", `not YAML`},
	{"a tab", "port_rules:\n\t- a\n", `rules.yml:2: not YAML`},
	{"unknown key", "port_rules:\n- {source_port: %d, hostnam: a, service: blog}\n", `rules.yml:2: port_rules[0].hostnam: unknown key; did you mean "hostname"?`},
	{"wrong type", "port_rules:\n- {source_port: eighty, service: blog}\n", `rules.yml:2: port_rules[0].source_port: want a number from 1 to 65535, got text "eighty"`},
	{"port 0", "port_rules:\n- {source_port: 0, service: blog}\n", `rules.yml:2: port_rules[0].source_port: want a number from 1 to 65535, got number 0`},
	{"port 70000", "port_rules:\n- {source_port: 70000, service: blog}\n", `rules.yml:2: port_rules[0].source_port: want a number from 1 to 65535, got number 70000`},
	{"no service", "port_rules:\n- {source_port: %d, hostname: a.net}\n", `rules.yml:2: rule`},
	{"unknown service", "port_rules:\n- {source_port: %d, service: blgo}\nservices:\n  blog: {}\n", `rules.yml:2: port_rules[0].service: unknown service "blgo"; services: {blgo: {}} would declare it as a DNS name; did you mean "blog"?`},
	{"unreachable rule", "port_rules:\n- {source_port: %d, priority: 1, service: blog}\n- {source_port: %d, hostname: a.net, service: blog}\n", `can never be reached`},
	{"bad hostname", "port_rules:\n- {source_port: %d, hostname: 'a b', service: blog}\n", `hostname`},
	{"bad expression", "port_rules:\n- {source_port: %d, rule: 'Hosst(`a.net`)', service: blog}\n", `column 1: unknown matcher "Hosst"; did you mean "Host"?`},
	{"bad request_line", "port_rules:\n- {source_port: %d, service: blog}\nservices:\n  blog: {servers: [127.0.0.1], health_check: {request_line: 'GET / HTTP/1.0 \"'}}\n", `services.blog.health_check.request_line`},
	{"no rule", "services: {blog: {}}\n", `no rule to serve; want port_rules`},
	{"a version that is not safe", "tls: {min_version: '1.1'}\nport_rules:\n- {source_port: %d, tls: true, service: blog}\n", `TLS version "1.1" is not safe`},
	{"the admin port", "port_rules:\n- {source_port: %d, service: blog}\nadmin: {address: '127.0.0.1:%d'}\n", `is the admin listener's`},
}

// withPort puts a port where %d is.
func withPort(text string, port int) string {
	return strings.ReplaceAll(text, "%d", strconv.Itoa(port))
}

// unquoted is a line of the log with its quotes as they were.
func unquoted(line string) string { return strings.ReplaceAll(line, `\"`, `"`) }

func TestBadConfig_AtStart(t *testing.T) {
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			file := write(t, "rules.yml", withPort(m.text, freePort(t)))
			for _, args := range [][]string{{"-config", file}, {"check", "-config", file}} {
				r := lb(t, args...)
				require.Equal(t, 1, r.code)
				require.Empty(t, r.stdout)
				require.Contains(t, r.stderr, m.want)
				require.Contains(t, r.stderr, file, "which file is it?")
			}
		})
	}
}

func TestBadConfig_AtReloadKeepsTheOld(t *testing.T) {
	port := freePort(t)
	file := write(t, "rules.yml", rulesFor(port, namedServer(t, "one")))
	p := start(t, "-config", file)
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			p.t = t
			write(t, file, withPort(m.text, freePort(t)))
			p.signal(syscall.SIGHUP)
			line := p.await(`"level":"error"`, `reload rejected: old configuration keeps serving`)
			require.Contains(t, unquoted(line), m.want)
			require.Equal(t, "200 one", visit(t, port))
		})
	}
	p.t = t
	write(t, file, rulesFor(port, namedServer(t, "two")))
	p.await(`"rule changed"`)
	require.Equal(t, "200 two", visit(t, port))
}

func TestBadPaths_AtStart(t *testing.T) {
	f := func(path, want string) {
		t.Helper()
		r := lb(t, "-config", path)
		require.Equal(t, 1, r.code)
		require.Contains(t, r.stderr, path+": "+want)
	}
	dir := t.TempDir()
	f(filepath.Join(dir, "missing.yml"), "no such file or directory")
	f(dir, "no *.yml or *.yaml file in this folder")

	closed := filepath.Join(dir, "closed")
	require.NoError(t, os.Mkdir(closed, 0))
	r := asNobody(t, "-config", closed)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, "permission denied")
}

// asNobody runs lb to its end without the rights of root.
func asNobody(t *testing.T, args ...string) result {
	t.Helper()
	cmd := exec.Command(binary, args...)
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	return finish(t, cmd)
}

func TestNoPermissionForThePort(t *testing.T) {
	const port = 80
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if first, _ := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && first <= port {
		return // here everybody may, as in a container of Docker
	}
	r := asNobody(t, "-config", readable(t, write(t, "rules.yml", rulesFor(port, namedServer(t, "one")))))
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, "127.0.0.1:80 needs root, CAP_NET_BIND_SERVICE (setcap cap_net_bind_service=+ep lb) or net.ipv4.ip_unprivileged_port_start")
}

// readable lets everybody read a file in a test's own folder.
func readable(t *testing.T, file string) string {
	t.Helper()
	for dir := filepath.Dir(file); dir != os.TempDir(); dir = filepath.Dir(dir) {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
	return file
}

func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", local(freePort(t)))
	require.NoError(t, err)
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	server := namedServer(t, "one")

	bad := write(t, "rules.yml", rulesFor(port, server))
	r := lb(t, "-config", bad)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, fmt.Sprintf(bad+":2: listen: address 127.0.0.1:%d is in use by another program; stop it or choose another source_port", port))

	free := freePort(t)
	file := write(t, "rules.yml", rulesFor(free, server))
	p := start(t, "-config", file)
	write(t, file, fmt.Sprintf("port_rules:\n- {source_port: %d, address: 127.0.0.1, service: x}\n", port)+"services: {x: {servers: [127.0.0.1]}}\n")
	p.await("reload rejected: old configuration keeps serving", file+":2: listen: ", "in use by another program")
	require.Equal(t, "200 one", visit(t, free))
}

func TestSecondInstance_DoesNotShareThePort(t *testing.T) {
	port := freePort(t)
	file := write(t, "rules.yml", rulesFor(port, namedServer(t, "one")))
	start(t, "-config", file)
	r := lb(t, "-config", file)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, "in use by another program")
}

func TestAdminAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", local(freePort(t)))
	require.NoError(t, err)
	defer taken.Close()
	r := lb(t, "-admin", taken.Addr().String(), "-config", write(t, "rules.yml", rulesFor(freePort(t), namedServer(t, "one"))))
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, taken.Addr().String()+" is in use")
	require.Contains(t, r.stderr, "-admin off")
}
