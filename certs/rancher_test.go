package certs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rancherCase is a layout of folders as Rancher's load balancer reads them, and
// how many certificates it finds.
type rancherCase struct {
	ID    string
	Input struct {
		Files map[string][]string // by folder: "name", or "name -> target" for a symlink
		Then  string              // "also create certs/c.com/privkey.pem"
	}
	Expectation struct {
		CertCount int `json:"cert_count"`
		WithinS   int `json:"within_s"`
	}
}

func TestRancher_CertificatesOfFolders(t *testing.T) {
	data, err := os.ReadFile("testdata/rancher_certs.json")
	require.NoError(t, err)
	var cases []rancherCase
	require.NoError(t, json.Unmarshal(data, &cases))
	require.NotEmpty(t, cases)
	for _, c := range cases {
		watch(t, func(w *watching) {
			for folder, files := range c.Input.Files {
				w.layOut(w.path(folder), files)
			}
			standard := w.path("testcerts/defaultCert/default.com")
			w.Set([]Files{{Dir: w.path("testcerts/certs")}},
				&Files{Cert: filepath.Join(standard, "fullchain.pem"), Key: filepath.Join(standard, "privkey.pem")})
			if c.Input.Then != "" {
				w.layOut(w.path("testcerts/certs/c.com"), []string{"fullchain.pem", "privkey.pem"})
				time.Sleep(time.Duration(c.Expectation.WithinS) * time.Second)
			}
			require.Len(t, w.store.List(), c.Expectation.CertCount, c.ID)
			require.Empty(t, w.Problems(), c.ID)
			require.NotNil(t, w.serves("a.com"), c.ID)
			require.Contains(t, w.serves("other.com").DNSNames, "default.com", c.ID)
		})
	}
}

// layOut makes a domain's folder. What is called privkey holds the key.
func (w *watching) layOut(folder string, files []string) {
	w.t.Helper()
	require.NoError(w.t, os.MkdirAll(folder, 0o700))
	x := w.a.issue(w.t, []string{filepath.Base(folder)})
	for _, file := range files {
		name, target, link := strings.Cut(strings.TrimSuffix(file, " (symlink)"), " -> ")
		var err error
		switch {
		case link:
			err = os.Symlink(target, filepath.Join(folder, name))
		case strings.HasPrefix(name, "privkey"):
			err = os.WriteFile(filepath.Join(folder, name), x.key, 0o600)
		default:
			err = os.WriteFile(filepath.Join(folder, name), x.chained(), 0o600)
		}
		require.NoError(w.t, err)
	}
}
