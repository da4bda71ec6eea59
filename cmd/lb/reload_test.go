package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReload_AddsAndRemovesListeners(t *testing.T) {
	a, b := freePort(t), freePort(t)
	one, two := namedServer(t, "one"), namedServer(t, "two")
	rules := func(ports ...int) string {
		var s strings.Builder
		s.WriteString("port_rules:\n")
		for _, port := range ports {
			fmt.Fprintf(&s, "- {source_port: %d, address: 127.0.0.1, service: blog}\n", port)
		}
		fmt.Fprintf(&s, "services:\n  blog: {servers: [%q, %q]}\nadmin: 'off'\n", one, two)
		return s.String()
	}
	file := write(t, "rules.yml", rules(a))
	p := start(t, "-config", file)
	visit(t, a)

	write(t, file, rules(a, b)) // by itself
	p.await("listening", fmt.Sprintf("127.0.0.1:%d", b))
	p.await("rule added", fmt.Sprintf("127.0.0.1:%d", b))
	p.await("reloaded")
	visit(t, a)
	visit(t, b)

	write(t, file, rules(b))
	p.signal(syscall.SIGHUP)
	p.await("stopped listening", fmt.Sprintf("127.0.0.1:%d", a))
	p.await("rule removed", fmt.Sprintf("127.0.0.1:%d", a))
	p.await("reloaded")
	visit(t, b)
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", local(a))
		if err == nil {
			c.Close()
		}
		return err != nil
	}, patience, millisecond, "nobody listens any more")
	require.Equal(t, 2, strings.Count(p.stderr.String(), `"rule added"`), "rules that stay are not logged again")
}

func TestReload_KeepsConnectionsThatAreOpen(t *testing.T) {
	port := freePort(t)
	file := write(t, "rules.yml", rulesFor(port, namedServer(t, "one")))
	p := start(t, "-config", file)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	dials := countDials(transport)
	client := http.Client{Transport: transport}
	for i, name := range []string{"one", "two", "three"} {
		if i > 0 {
			write(t, file, rulesFor(port, namedServer(t, name)))
			p.signal(syscall.SIGHUP)
			p.await("reloaded")
		}
		r, err := client.Get("http://" + local(port))
		require.NoError(t, err)
		require.Equal(t, name+"\n", readAll(t, r))
	}
	require.EqualValues(t, 1, dials.Load())
}

func TestReload_SeesSymlinkSwaps(t *testing.T) {
	port, dir := freePort(t), t.TempDir()
	swap := func(version, server string) {
		t.Helper()
		folder := filepath.Join(dir, version)
		require.NoError(t, os.Mkdir(folder, 0o755))
		write(t, filepath.Join(folder, "rules.yml"), rulesFor(port, server))
		require.NoError(t, os.Symlink(version, filepath.Join(dir, "next")))
		require.NoError(t, os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "current")))
	}
	swap("v1", namedServer(t, "one"))
	p := start(t, "-config", filepath.Join(dir, "current"))
	require.Equal(t, "200 one", visit(t, port))
	swap("v2", namedServer(t, "two"))
	p.await("reloaded")
	require.Equal(t, "200 two", visit(t, port))
}

func TestReload_SettingsForTheNextStart(t *testing.T) {
	port := freePort(t)
	text := rulesFor(port, namedServer(t, "one"))
	file := write(t, "rules.yml", text)
	p := start(t, "-config", file)
	write(t, file, text+"defaults: {loops: 7}\n")
	p.signal(syscall.SIGHUP)
	p.await("setting changes at the next start", "defaults.loops", `"7"`)
	p.await("reloaded")
}

func TestReload_LogLevel(t *testing.T) {
	port := freePort(t)
	text := rulesFor(port, namedServer(t, "one"))
	file := write(t, "rules.yml", text)
	p := start(t, "-config", file)
	write(t, file, text+"log: {level: error}\n")
	p.signal(syscall.SIGHUP)
	write(t, file, "port_rules: 1\n")
	p.signal(syscall.SIGHUP)
	p.await(`"level":"error"`)
}
