package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// These tests drive protocols that are not HTTP with the clients and servers
// that people have.

// reloading rewrites the rules file and has it read, again and again, until work
// is done.
func reloading(t *testing.T, p *process, file, text string, work func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { // ends with the work
		defer close(done)
		work()
	}()
	for i := 0; ; i++ {
		write(t, file, text+"# "+strconv.Itoa(i)+"\n")
		p.signal(syscall.SIGHUP)
		p.await(`"reloaded"`)
		select {
		case <-done:
			require.NotZero(t, i, "there was no reload meanwhile")
			return
		default:
		}
	}
}

// startRedis is a Redis server's port.
func startRedis(t *testing.T) int {
	t.Helper()
	port := freePort(t)
	p := launch(t, need(t, "redis-server"), "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())
	p.stdout.await(t, "Ready to accept connections")
	return port
}

func TestStreams_Redis(t *testing.T) {
	client := need(t, "redis-cli")
	port, server := freePort(t), startRedis(t)
	text := fmt.Sprintf(`port_rules:
- {source_port: %d, address: 127.0.0.1, protocol: tcp, service: redis}
services: {redis: {servers: ["127.0.0.1:%d"]}}
admin: {address: "127.0.0.1:%d"}
`, port, server, freePort(t))
	file := write(t, "rules.yml", text)
	p := start(t, "-config", file)
	ask := func(args ...string) string {
		t.Helper()
		r := finish(t, exec.Command(client, append([]string{"-h", "127.0.0.1", "-p", strconv.Itoa(port)}, args...)...))
		require.Zero(t, r.code, r.stderr)
		return r.stdout
	}
	require.Equal(t, "OK\n", ask("set", "greeting", "hello"))
	require.Equal(t, "hello\n", ask("get", "greeting"))

	reloading(t, p, file, text, func() { // one connection that lives through it, and many new ones
		long := exec.Command(client, "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-r", "300", "-i", "0.005", "incr", "long")
		r := finish(t, long)
		if r.code != 0 || !strings.HasSuffix(r.stdout, "300\n") {
			t.Errorf("the long connection: %d, %q, %q", r.code, r.stdout[max(0, len(r.stdout)-100):], r.stderr)
		}
	})
	for range 20 {
		ask("incr", "short")
	}
	require.Equal(t, "300\n", ask("get", "long"))
	require.Equal(t, "20\n", ask("get", "short"))
	handOver(t, p)
	require.Equal(t, "21\n", ask("incr", "short"))
}

// startPostgres is a PostgreSQL server's port. It has a certificate for db.test.
func startPostgres(t *testing.T, a *authority) int {
	t.Helper()
	programs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	require.NoError(t, err)
	if len(programs) == 0 {
		leaveOut(t, "PostgreSQL's server is not installed; scripts/deps gets it")
	}
	bin := programs[len(programs)-1]
	dir, err := os.MkdirTemp("", "lb-postgres-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	data, cert := filepath.Join(dir, "data"), filepath.Join(dir, "server.pem")
	a.issue(cert, "db.test")
	attributes := asPostgres(t, dir, cert)
	run := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.Dir, cmd.SysProcAttr = dir, attributes
		return cmd
	}
	r := finish(t, run("initdb", "-D", data, "-U", "lb", "-A", "trust", "-N", "--locale=C"))
	require.Zero(t, r.code, r.stderr)
	port := freePort(t)
	var args []string
	for _, setting := range []string{
		"listen_addresses=127.0.0.1", "port=" + strconv.Itoa(port), "unix_socket_directories=", "fsync=off",
		"ssl=on", "ssl_cert_file=" + cert, "ssl_key_file=" + cert,
	} {
		args = append(args, "-c", setting)
	}
	p := launchCmd(t, run("postgres", append([]string{"-D", data}, args...)...))
	p.await("ready to accept connections")
	return port
}

// asPostgres gives files to the user that PostgreSQL runs as, because it refuses
// to run as root.
func asPostgres(t *testing.T, files ...string) *syscall.SysProcAttr {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	require.NoError(t, err)
	uid, err := strconv.Atoi(u.Uid)
	require.NoError(t, err)
	gid, err := strconv.Atoi(u.Gid)
	require.NoError(t, err)
	for _, file := range files {
		require.NoError(t, os.Chown(file, uid, gid))
	}
	require.NoError(t, os.Chmod(files[len(files)-1], 0o600))
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

func TestStreams_Postgres(t *testing.T) {
	client, a := need(t, "psql"), newAuthority(t)
	server := startPostgres(t, a)
	through, ended, plain := freePort(t), freePort(t), freePort(t)
	cert := filepath.Join(t.TempDir(), "lb.pem")
	a.issue(cert, "db.test")
	text := fmt.Sprintf(`certs: [{cert: %q, key: %q}]
port_rules:
- {source_port: %d, address: 127.0.0.1, protocol: sni, hostname: db.test, service: db}
- {source_port: %d, address: 127.0.0.1, protocol: tls, hostname: db.test, service: db}
- {source_port: %d, address: 127.0.0.1, protocol: tcp, service: db}
services: {db: {servers: ["127.0.0.1:%d"]}}
admin: {address: "127.0.0.1:%d"}
`, cert, cert, through, ended, plain, server, freePort(t))
	file := write(t, "rules.yml", text)
	p := start(t, "-config", file)
	ask := func(port int, mode, query string) result {
		cmd := exec.Command(client, "-X", "-A", "-t", "-c", query, fmt.Sprintf(
			"host=db.test hostaddr=127.0.0.1 port=%d user=lb dbname=postgres sslmode=%s sslrootcert=%s connect_timeout=60", port, mode, a.file))
		return finish(t, cmd)
	}
	const secure = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
	f := func(port int, mode, want string) {
		t.Helper()
		r := ask(port, mode, secure)
		require.Zero(t, r.code, r.stderr)
		require.Equal(t, want, r.stdout, "whether the server itself speaks TLS")
	}
	f(through, "require", "t\n")
	f(through, "verify-full", "t\n")
	f(ended, "require", "f\n")
	f(ended, "verify-full", "f\n")
	f(plain, "disable", "f\n")
	f(plain, "verify-full", "t\n")
	for _, port := range []int{through, ended} { // in the clear there is no name
		r := ask(port, "disable", secure)
		require.NotZero(t, r.code)
		require.Contains(t, r.stderr, "this port wants TLS; want sslmode=require")
	}

	reloading(t, p, file, text, func() { // a query that lasts, on each of the ports
		done := make(chan result)
		ports := []int{through, ended, plain}
		for _, port := range ports {
			go func() {
				done <- ask(port, "verify-full", "select pg_sleep(2), count(*) from generate_series(1, 300000)")
			}()
		}
		for range ports {
			if r := <-done; r.code != 0 || r.stdout != "|300000\n" {
				t.Errorf("a query during reloads: %d, %q, %q", r.code, r.stdout, r.stderr)
			}
		}
	})
}

func TestStreams_Datagrams(t *testing.T) {
	client := need(t, "dig")
	one, two := startZone(t, "192.0.2.1:1111"), startZone(t, "192.0.2.2:2222")
	port := freePort(t)
	text := fmt.Sprintf(`port_rules:
- {source_port: %d, address: 127.0.0.1, protocol: udp, service: dns}
services: {dns: {servers: [%q, %q]}}
admin: {address: "127.0.0.1:%d"}
`, port, one.address, two.address, freePort(t))
	file := write(t, "rules.yml", text)
	p := start(t, "-config", file)
	ask := func() string {
		r := finish(t, exec.Command(client, "@127.0.0.1", "-p", strconv.Itoa(port), "+short", "+tries=1", "+time=20", "SRV", "_blog._tcp.test"))
		return r.stdout + r.stderr
	}
	for range 2 { // in strict turn
		require.Equal(t, "1 1 1111 node.test.\n", ask())
		require.Equal(t, "1 1 2222 node.test.\n", ask())
	}
	reloading(t, p, file, text, func() {
		for range 40 {
			if got := ask(); !strings.HasSuffix(got, " node.test.\n") {
				t.Errorf("a question during reloads: %q", got)
			}
		}
	})
	handOver(t, p)
	for range 10 {
		require.True(t, strings.HasSuffix(ask(), " node.test.\n"))
	}
}
