package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// sClient has openssl ask for arzur.net over one connection, and returns all
// that it says of it.
func sClient(t *testing.T, a *authority, port int, args ...string) string {
	t.Helper()
	r := openssl(t, a, port, args...)
	require.Zero(t, r.code, r.stderr)
	require.Contains(t, r.stdout, "Verification: OK")
	require.Contains(t, r.stdout, "HTTP/1.1 200 OK\r\n")
	return r.stdout
}

func openssl(t *testing.T, a *authority, port int, args ...string) result {
	t.Helper()
	cmd := exec.Command(need(t, "openssl"), append([]string{"s_client", "-connect", local(port), "-CAfile", a.file, "-ign_eof"}, args...)...)
	cmd.Stdin = strings.NewReader("GET / HTTP/1.1\r\nHost: arzur.net\r\nConnection: close\r\n\r\n")
	return finish(t, cmd)
}

func TestTLSOpenSSL_ResumesWithTickets(t *testing.T) {
	a := newAuthority(t)
	s := secured(t, a, "", namedServer(t, "one"))
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		session := filepath.Join(t.TempDir(), "session")
		common := []string{"-servername", "arzur.net", version}
		require.Contains(t, sClient(t, a, s.port, append(common, "-sess_out", session)...), "\nNew, TLSv1.")
		require.Contains(t, sClient(t, a, s.port, append(common, "-sess_in", session)...), "\nReused, TLSv1.")
		s.signal(syscall.SIGHUP)
		s.await(`"reloaded"`)
		require.Contains(t, sClient(t, a, s.port, append(common, "-sess_in", session)...), "\nReused, TLSv1.", "a reload keeps them")
		other := []string{"-servername", "www.arzur.net", version, "-sess_in", session}
		require.Contains(t, sClient(t, a, s.port, other...), "\nNew, TLSv1.", "a ticket is for the name that it was given for")
	}
	require.Contains(t, sClient(t, a, s.port, "-servername", "arzur.net", "-tls1_2", "-no_ticket"), "\nNew, TLSv1.2")

	session := filepath.Join(t.TempDir(), "session")
	require.Contains(t, sClient(t, a, s.port, "-servername", "arzur.net", "-sess_out", session), "\nNew, TLSv1.3")
	second := handOver(t, s.process)
	require.Zero(t, s.exit())
	handOverFrom(t, s.process, second)
	require.Contains(t, sClient(t, a, s.port, "-servername", "arzur.net", "-sess_in", session), "\nReused, TLSv1.3", "a successor has the keys")
}

func TestTLSOpenSSL_NamesDecideOnTheCertificate(t *testing.T) {
	a, dir := newAuthority(t), t.TempDir()
	for file, name := range map[string]string{"a": "arzur.net", "b": "*.arzur.net", "c": "www.arzur.net"} {
		a.issue(filepath.Join(dir, file+".pem"), name)
	}
	other := filepath.Join(t.TempDir(), "other.pem")
	a.issue(other, "other.test")
	port, standby := freePort(t), freePort(t)
	rules := secureRules(port, freePort(t), dir, namedServer(t, "one"))
	start(t, "-config", write(t, "rules.yml", rules))
	start(t, "-config", write(t, "rules.yml", strings.ReplaceAll(secureRules(standby, freePort(t), dir, namedServer(t, "one")),
		"certs:", fmt.Sprintf("default_cert: {cert: %q}\ncerts:", other))))

	subject := func(port int, args ...string) string {
		t.Helper()
		for line := range strings.Lines(openssl(t, a, port, args...).stdout) {
			if s, found := strings.CutPrefix(line, "subject="); found {
				return strings.ReplaceAll(strings.TrimSpace(s), " ", "")
			}
		}
		return ""
	}
	for name, want := range map[string]string{"arzur.net": "arzur.net", "www.arzur.net": "www.arzur.net", "blog.arzur.net": "*.arzur.net"} {
		require.Contains(t, subject(port, "-servername", name), "CN="+want)
	}
	for _, args := range [][]string{{"-noservername"}, {"-servername", "a.b.arzur.net"}, {"-servername", "example.com"}} {
		require.Contains(t, subject(standby, args...), "CN=other.test")
		r := openssl(t, a, port, args...)
		require.NotZero(t, r.code)
		require.Regexp(t, `tlsv1 unrecognized name.*SSL alert number 112`, r.stderr)
	}
}

func TestTLSOpenSSL_FragmentedHandshakesAndRecords(t *testing.T) {
	a := newAuthority(t)
	s := secured(t, a, "", namedServer(t, "one"))
	// Long names of protocols make for a ClientHello of many records.
	protocols := "http/1.1"
	for _, c := range "abcdefghijklmnop" {
		protocols += "," + strings.Repeat(string(c), 250)
	}
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		said := sClient(t, a, s.port, "-servername", "arzur.net", version, "-alpn", protocols, "-max_send_frag", "512", "-msg")
		require.GreaterOrEqual(t, strings.Count(said[:strings.Index(said, "ClientHello")], ">>> TLS 1.0, RecordHeader"), 9)
		require.Contains(t, said, "ALPN protocol: http/1.1")
		sClient(t, a, s.port, "-servername", "arzur.net", version, "-max_send_frag", "2048", "-split_send_frag", "512", "-max_pipelines", "4")
		sClient(t, a, s.port, "-servername", "arzur.net", version, "-maxfraglen", "512")
	}
	// Keys that it asks for anew, in a handshake of one more round.
	require.Contains(t, sClient(t, a, s.port, "-servername", "arzur.net", "-tls1_3", "-groups", "ffdhe2048:P-384"), "ECDH")
}

func TestTLSOpenSSL_StapledResponse(t *testing.T) {
	a := newAuthority(t)
	a.respond()
	s := secured(t, a, "", namedServer(t, "one"))
	require.Eventually(t, func() bool {
		return strings.Contains(curl(t, "http://"+local(s.control)+"/api/certificates"), `"ocsp": "good"`)
	}, patience, 20*millisecond)
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		said := sClient(t, a, s.port, "-servername", "arzur.net", version, "-status")
		require.Contains(t, said, "OCSP Response Status: successful (0x0)")
		require.Contains(t, said, "Cert Status: good")
	}
}
