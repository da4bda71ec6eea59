package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// site is lb that serves arzur.net and www.arzur.net over TLS.
type site struct {
	*process
	port, control int
	file          string // the rules
}

// secured starts lb with a certificate of a.
func secured(t *testing.T, a *authority, more string, servers ...string) *site {
	t.Helper()
	dir, s := t.TempDir(), &site{port: freePort(t), control: freePort(t)}
	a.issue(filepath.Join(dir, "a.pem"), "arzur.net", "www.arzur.net")
	s.file = write(t, filepath.Join(dir, "rules.yml"), secureRules(s.port, s.control, dir, servers...)+more)
	s.process = start(t, "-config", s.file)
	return s
}

// curlFails is curlTLS of a request that must not come through: the exit status
// and what curl says about it.
func curlFails(t *testing.T, a *authority, host string, port int, args ...string) (code int, text string) {
	t.Helper()
	args = append([]string{"-sS", "--max-time", "20", "--cacert", a.file, "--connect-to", fmt.Sprintf("%s::127.0.0.1:", host)}, args...)
	r := finish(t, exec.Command(need(t, "curl"), append(args, fmt.Sprintf("https://%s:%d/", host, port))...))
	require.NotZero(t, r.code, r.stdout)
	require.Empty(t, r.stdout)
	return r.code, r.stderr
}

func TestTLSCurl_ProtocolsAndNames(t *testing.T) {
	a := newAuthority(t)
	port := secured(t, a, "", namedServer(t, "one")).port

	// Of HTTP/2 and HTTP/1.1 it chooses what it speaks.
	spoken := []string{"-w", "%{http_code} %{http_version}", "--http2", "-o", os.DevNull}
	for _, version := range []string{"1.2", "1.3"} {
		require.Equal(t, "200 1.1", curlTLS(t, a, "arzur.net", port, append(spoken, "--tls-max", version)...))
	}
	require.Equal(t, "one\n200", curlTLS(t, a, "arzur.net", port, "--no-alpn"))
	require.Equal(t, "one\n200", curlTLS(t, a, "www.arzur.net", port))
	require.Equal(t, "one\n200", curlTLS(t, a, "arzur.net", port, "--http1.0"), "it offers nothing newer by ALPN either")

	const handshake = 35 // CURLE_SSL_CONNECT_ERROR
	f := func(want string, host string, args ...string) {
		t.Helper()
		code, text := curlFails(t, a, host, port, args...)
		require.Equal(t, handshake, code, text)
		require.Contains(t, text, want)
	}
	f("unrecognized name", "example.com")
	f("unrecognized name", "arzur.net.example.com")
	f("alert protocol version", "arzur.net", "--tls-max", "1.1", "--tlsv1.0", "--ciphers", "DEFAULT:@SECLEVEL=0")
	f("handshake failure", "arzur.net", "--tls-max", "1.2", "--ciphers", "AES128-SHA:DHE-RSA-AES128-SHA:@SECLEVEL=0")
}

func TestTLSCurl_OneConnectionHasTheHostsOfItsCertificate(t *testing.T) {
	a := newAuthority(t)
	port := secured(t, a, "", namedServer(t, "one")).port
	url := fmt.Sprintf("https://arzur.net:%d/", port)
	var args []string
	for i, host := range []string{"arzur.net", "www.arzur.net", "example.com", "arzur.net", "WWW.arzur.net:1", "127.0.0.1", "a.arzur.net"} {
		if i > 0 {
			args = append(args, "--next", "-sS")
		}
		args = append(args, "--cacert", a.file, "--connect-to", "arzur.net::127.0.0.1:", "-w", "%{http_code} %{num_connects}\n",
			"-o", os.DevNull, "-H", "Host: "+host, url)
	}
	require.Equal(t, "200 1\n200 0\n421 0\n200 0\n200 0\n421 0\n421 0\n", curl(t, args...))
}

func TestTLSCurl_ClientCertificates(t *testing.T) {
	a, clients := newAuthority(t), newAuthority(t)
	dir := t.TempDir()
	alice, mallory := filepath.Join(dir, "alice.pem"), filepath.Join(dir, "mallory.pem")
	clients.issue(alice, "alice")
	newAuthority(t).issue(mallory, "mallory")
	with := func(mode string) int {
		return secured(t, a, fmt.Sprintf("tls: {client_auth: {mode: %s, ca: %q, subject_header: X-Subject, fingerprint_header: X-Fingerprint}}\n", mode, clients.file), echo(t)).port
	}
	required, optional := with("require"), with("optional")
	for _, version := range []string{"1.2", "1.3"} {
		only := []string{"--tls-max", version, "--tlsv" + version}
		for _, port := range []int{required, optional} {
			require.Contains(t, curlTLS(t, a, "arzur.net", port, append(only, "--cert", alice)...), `subject=["CN=alice,O=Test"]`)
			code, text := curlFails(t, a, "arzur.net", port, append(only, "--cert", mallory)...)
			require.Contains(t, []int{35, 56}, code, text) // with TLS 1.3 the client is done before it is refused
			require.Regexp(t, `alert (unknown ca|bad certificate)`, text)
		}
		require.Contains(t, curlTLS(t, a, "arzur.net", optional, only...), `subject=[] fingerprint=[]`)
		code, text := curlFails(t, a, "arzur.net", required, only...)
		require.Contains(t, []int{35, 56}, code, text)
		require.Regexp(t, `certificate required|bad certificate|handshake failure`, text)
	}
}
