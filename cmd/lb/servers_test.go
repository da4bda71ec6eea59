package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// webRoot is a folder of files to serve.
func webRoot(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	// nginx, started by root, serves as somebody else.
	readable(t, filepath.Join(dir, "small.txt"))
	for name, size := range map[string]int{"small.txt": 10, "empty.txt": 0, "big.bin": 3 << 20} {
		text := strings.Repeat("0123456789abcdef", size/16+1)[:size]
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return dir
}

// ofTheConnection are fields that may differ behind lb: they are about the
// connection, or about the moment.
var ofTheConnection = map[string]bool{
	"Date": true, "Connection": true, "Keep-Alive": true, "Transfer-Encoding": true,
}

// answer is what curl is given: status, fields and body.
func answer(t *testing.T, port int, path string, args ...string) string {
	t.Helper()
	text := curl(t, append(args, "-i", "http://"+local(port)+path)...)
	head, body, found := strings.Cut(text, "\r\n\r\n")
	require.True(t, found, text)
	lines := strings.Split(head, "\r\n")
	status := strings.Fields(lines[0])[1]
	header := http.Header{}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		if name = http.CanonicalHeaderKey(name); !ofTheConnection[name] {
			header.Add(name, strings.TrimSpace(value))
		}
	}
	return fmt.Sprint(status, " ", header, "\n", body)
}

// sameBehind wants a server's answers to be the same behind lb.
func sameBehind(t *testing.T, server int) {
	port := freePort(t)
	start(t, "-config", write(t, "rules.yml", rulesFor(port, local(server))))
	f := func(path string, args ...string) {
		t.Helper()
		require.Equal(t, answer(t, server, path, args...), answer(t, port, path, args...), "%s %s", path, args)
	}
	f("/small.txt")
	f("/empty.txt")
	f("/big.bin")
	f("/nowhere")
	f("/small.txt", "--head")
	f("/nowhere", "--head")
	f("/small.txt", "--http1.0")
	f("/big.bin", "--http1.0")
	f("/small.txt", "-H", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT")
	f("/small.txt", "-H", "Range: bytes=2-4")
	f("/small.txt", "-X", "DELETE")
	f("/small.txt?query=1&b=%20#fragment", "-H", "X-Other: value")
	// Two requests over one connection.
	require.Equal(t, "01234567890123456789", curl(t, "http://"+local(port)+"/small.txt", "http://"+local(port)+"/small.txt"))
}

func TestServers_Nginx(t *testing.T) {
	nginx, dir, port := need(t, "nginx"), webRoot(t), freePort(t)
	conf := write(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(`
daemon off; worker_processes 1; pid %[1]s/nginx.pid; error_log stderr;
events {}
http {
	access_log off;
	server { listen 127.0.0.1:%[2]d; root %[1]s; }
}
`, dir, port))
	p := launch(t, nginx, "-c", conf, "-e", "stderr")
	awaitPort(t, port)
	sameBehind(t, port)
	require.NoError(t, p.Process.Signal(os.Interrupt)) // so that its worker ends with it
	p.exit()
}

func TestServers_PythonHTTPServer(t *testing.T) {
	python, port := need(t, "python3"), freePort(t)
	launch(t, python, "-m", "http.server", "--bind", "127.0.0.1", "--directory", webRoot(t), fmt.Sprint(port))
	awaitPort(t, port)
	sameBehind(t, port)
}

func TestServers_Go(t *testing.T) {
	address := testServer(t, http.FileServer(http.Dir(webRoot(t))))
	var port int
	_, err := fmt.Sscanf(address, "127.0.0.1:%d", &port)
	require.NoError(t, err)
	sameBehind(t, port)
}
