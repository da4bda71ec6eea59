package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// finding is what testssl.sh says of one thing that it has tried.
type finding struct {
	ID       string `json:"id"`
	Severity string `json:"severity"`
	Finding  string `json:"finding"`
}

// aboutTestSSL are warnings that have nothing to do with who is tried.
var aboutTestSSL = map[string]string{
	"engine_problem": "its openssl has no GOST",
}

// groups are the tests of testssl.sh, in processes of their own because it mostly
// waits. Together they are all that it does by default, and -g.
var groups = [][]string{
	{"--protocols", "--std", "--pfs", "--grease"},
	{"--server-preference", "--headers", "--server-defaults"},
	{"--vulnerable"},
	{"--client-simulation"},
}

// TestTLSTestSSL_NothingAboveLow has testssl.sh judge lb as it is by default, with
// a certificate of either kind.
func TestTLSTestSSL_NothingAboveLow(t *testing.T) {
	path := need(t, "testssl")
	a := newAuthority(t)
	a.respond() // a certificate that cannot be revoked is a finding
	// Some of its tests ask for no name.
	standby := filepath.Join(t.TempDir(), "standby.pem")
	a.issue(standby, "arzur.net")
	s := secured(t, a, fmt.Sprintf("default_cert: {cert: %q}\n", standby), testServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		// What it thinks of a site's own fields is not about lb.
		w.Header().Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
		w.Header().Set("X-Frame-Options", "DENY")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Content-Security-Policy", "default-src 'self'")
	})))
	a.issueRSA(filepath.Join(filepath.Dir(s.file), "rsa.pem"), "arzur.net", "www.arzur.net")
	require.Eventually(t, func() bool {
		return strings.Count(curl(t, "http://"+local(s.control)+"/api/certificates"), `"ocsp": "good"`) == 3
	}, patience, 20*millisecond)

	dir, begun := t.TempDir(), time.Now()
	found, said := make([][]finding, len(groups)), make([]string, len(groups))
	var running sync.WaitGroup
	for i, group := range groups {
		running.Go(func() {
			file := filepath.Join(dir, fmt.Sprint(i, ".json"))
			args := append([]string{"--quiet", "--jsonfile", file, "--ip", "127.0.0.1", "--nodns", "none", "--warnings", "off",
				"--color", "0", "--add-ca", a.file}, group...)
			cmd := exec.CommandContext(t.Context(), path, append(args, fmt.Sprintf("https://arzur.net:%d", s.port))...)
			out, err := cmd.CombinedOutput()
			said[i] = fmt.Sprintf("%s%v", out, err)
			if text, err := os.ReadFile(file); err == nil {
				_ = json.Unmarshal(text, &found[i]) // nothing found is noticed
			}
		})
	}
	running.Wait()

	tried := map[string]bool{}
	for i, group := range groups {
		require.NotEmpty(t, found[i], "testssl %s: %s", group, said[i])
		require.Contains(t, said[i], " Done ")
		for _, f := range found[i] {
			tried[f.ID] = true
			switch f.Severity {
			case "OK", "INFO", "LOW":
			default:
				assert.Contains(t, aboutTestSSL, f.ID, "%s: %s", f.Severity, f.Finding)
			}
		}
	}
	for _, id := range []string{"TLS1_3", "PFS", "OCSP_stapling <cert#1>", "OCSP_stapling <cert#2>", "cert_chain_of_trust <cert#2>", "heartbleed", "ticketbleed", "ROBOT", "secure_client_renego", "HTTP_status_code"} {
		assert.Contains(t, tried, id)
	}
	t.Logf("%d things tried in %s", len(tried), time.Since(begun).Round(time.Second))
}
