package main

import (
	"crypto/tls"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// renewing renews a certificate every second, and says how often it has.
func renewing(a *authority, file string) (stop func() int) {
	quit, renewals := make(chan struct{}), 0
	var running sync.WaitGroup
	running.Go(func() {
		pace := time.NewTicker(time.Second)
		defer pace.Stop()
		for {
			a.issue(file, "arzur.net", "www.arzur.net")
			renewals++
			select {
			case <-quit:
				return
			case <-pace.C:
			}
		}
	})
	stop = sync.OnceValue(func() int {
		close(quit)
		running.Wait()
		return renewals
	})
	a.t.Cleanup(func() { stop() })
	return stop
}

// TestTLSLoad_ReloadsRenewalsAndHandOver has wrk, which asks over connections that
// stay, and clients with a connection for some requests each, all while
// certificates are renewed.
func TestTLSLoad_ReloadsRenewalsAndHandOver(t *testing.T) {
	a := newAuthority(t)
	one, two := namedServer(t, "one"), namedServer(t, "two")
	s := secured(t, a, "", one, two)
	text := secureRules(s.port, s.control, filepath.Dir(s.file), one, two)
	// wrk asks for the certificate of an IP address, which is the default one.
	standby := filepath.Join(t.TempDir(), "standby.pem")
	a.issue(standby, "arzur.net")
	write(t, s.file, text+"default_cert: {cert: "+standby+"}\n")
	s.signal(syscall.SIGHUP)
	s.await(`"reloaded"`)

	l := startLoadOn(t, "https://"+local(s.port)+"/", "-H", "Host: arzur.net")
	c := startSecureClients(t, a, s.port)
	stop := renewing(a, filepath.Join(filepath.Dir(s.file), "a.pem"))
	for i := range 30 {
		changed := text
		if i%2 == 0 {
			changed = strings.Replace(text, `"`+two+`"`, `"`+two+`", "`+namedServer(t, "three")+`"`, 1)
		}
		write(t, s.file, changed+"default_cert: {cert: "+standby+"}\n")
		s.signal(syscall.SIGHUP)
		s.await(`"reloaded"`)
	}
	pid := handOver(t, s.process)
	require.Zero(t, s.exit())
	for range 3 {
		s.await("certificate renewed")
		pid = handOverFrom(t, s.process, pid)
	}
	l.stop()
	c.end()
	t.Logf("%d renewals", stop())
	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	awaitEnd(t, pid)
}

func TestTLSLoad_SIGTERM(t *testing.T) {
	a, total := newAuthority(t), int64(0)
	for range 3 {
		s := secured(t, a, "", namedServer(t, "one"), namedServer(t, "two"))
		c := &counting{address: local(s.port), tls: &tls.Config{ServerName: "arzur.net", RootCAs: a.pool, ClientSessionCache: tls.NewLRUClientSessionCache(0)}}
		var running sync.WaitGroup
		for range askers {
			running.Go(func() { c.run(t.Context()) })
		}
		require.Eventually(t, func() bool { return c.answered.Load() > 100*askers }, patience, millisecond)
		c.closing.Store(true)
		s.signal(syscall.SIGTERM)
		running.Wait()
		require.Zero(t, s.exit())
		require.Empty(t, c.failed)
		total += c.answered.Load()
	}
	t.Logf("%d requests, none failed", total)
}
