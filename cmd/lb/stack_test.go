package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// stack copies the shipped sample of a stack's own two files into a folder that
// is named after the stack. Edits are pairs of old and new.
func stack(t *testing.T, name string, edits ...string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), name)
	require.NoError(t, os.Mkdir(dir, 0o755))
	for _, file := range []string{"docker-compose.yml", "rancher-compose.yml"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "configs", "rancher", file))
		require.NoError(t, err)
		write(t, filepath.Join(dir, file), strings.NewReplacer(edits...).Replace(string(text)))
	}
	return dir
}

func TestStack_ItsOwnTwoFilesAreEnough(t *testing.T) {
	dir := stack(t, "rancher-blog")
	for _, args := range [][]string{
		{"-config", dir},
		{"-config", filepath.Join(dir, "docker-compose.yml"), "-config", filepath.Join(dir, "rancher-compose.yml")},
	} {
		r := lb(t, append([]string{"check", "-v"}, args...)...)
		require.Zero(t, r.code, r.stderr)
		require.Contains(t, r.stdout, "*:80  arzur.net  -> rancher-blog/blog:")
		require.Contains(t, r.stdout, "-> rancher-blog/blog: no server yet; blog is looked up at run time\n")
		require.Contains(t, r.stderr, `"rancher-blog" is no service but the name of the stack; taken as "blog"`)
	}
}

func TestStack_NameByFlag(t *testing.T) {
	dir := stack(t, "somewhere")
	r := lb(t, "check", "-config", dir)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, `unknown service "rancher-blog" in stack "somewhere"`)
	require.Zero(t, lb(t, "check", "-stack", "rancher-blog", "-config", dir).code)
}

// TestStack_IsServed serves the sample with a service whose name every machine
// knows.
func TestStack_IsServed(t *testing.T) {
	_, server, err := net.SplitHostPort(namedServer(t, "one"))
	require.NoError(t, err)
	port := freePort(t)
	dir := stack(t, "rancher-localhost", "blog", "localhost",
		"source_port: 80", fmt.Sprint("source_port: ", port),
		"target_port: 80", "target_port: "+server, "port: 80", "port: "+server)
	p := start(t, "-admin", "off", "-config", dir)
	p.stderr.rewind()
	p.await("taken with a warning", "taken as")
	for range 4 {
		require.Equal(t, "one\n", curl(t, "-H", "Host: arzur.net", "http://"+local(port)))
	}
}

func TestStack_ABadRuleIsRejectedAlone(t *testing.T) {
	_, server, err := net.SplitHostPort(namedServer(t, "one"))
	require.NoError(t, err)
	port := freePort(t)
	dir := stack(t, "rancher-localhost", "blog", "localhost",
		"source_port: 80", fmt.Sprint("source_port: ", port),
		"target_port: 80", "target_port: "+server, "port: 80", "port: "+server,
		"port_rules:\n", fmt.Sprintf("port_rules:\n      - {source_port: %d, hostname: 'a b', service: localhost}\n", port))
	p := start(t, "-admin", "off", "-config", dir)
	p.stderr.rewind()
	p.await(`"level":"error"`, "rejected", "bad hostname")
	require.Equal(t, "one\n", curl(t, "-H", "Host: arzur.net", "http://"+local(port)))
	r := lb(t, "check", "-config", dir)
	require.Zero(t, r.code, r.stderr)
	require.Contains(t, r.stderr, "bad hostname")
}
