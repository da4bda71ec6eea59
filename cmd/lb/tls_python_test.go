package main

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTLSPython_SocketsAndMemory(t *testing.T) {
	python := need(t, "python3")
	a := newAuthority(t)
	s := secured(t, a, "", namedServer(t, "one"))
	r := finish(t, exec.Command(python, filepath.Join("testdata", "tls_client.py"), strconv.Itoa(s.port), a.file))
	require.Zero(t, r.code, r.stderr)
	require.Contains(t, r.stdout, "ok OpenSSL")
}
