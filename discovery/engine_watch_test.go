package discovery

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules"
)

// watched runs body beside a Watch of what open makes, in a bubble. Latest is the
// newest Snapshot, told in few words.
func watched(t *testing.T, open func(e *fakeEngine) Source, body func(e *fakeEngine, latest func() string)) {
	t.Helper()
	watchedSnapshots(t, open, func(e *fakeEngine, latest func() Snapshot) {
		body(e, func() string { return tell(latest()) })
	})
}

func watchedSnapshots(t *testing.T, open func(e *fakeEngine) Source, body func(e *fakeEngine, latest func() Snapshot)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e := newFakeEngine(t)
		s := open(e)
		var newest atomic.Pointer[Snapshot]
		newest.Store(&Snapshot{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Watch(ctx, func(s Snapshot) { newest.Store(&s) }) }() // ends with cancel
		body(e, func() Snapshot {
			synctest.Wait()
			return *newest.Load()
		})
		cancel()
		require.NoError(t, <-ended)
	})
}

// tell is a Snapshot in few words: each service with its servers, each rule with
// its service, each problem.
func tell(s Snapshot) string {
	var lines []string
	for _, service := range s.Services {
		lines = append(lines, service.Name+": "+strings.Join(servers(&service), " "))
	}
	for _, r := range s.Rules {
		match := cmp.Or(r.Expr, r.Hostname+r.Path)
		lines = append(lines, fmt.Sprintf("%d %s -> %s", r.Port, match, r.Service))
	}
	for _, p := range s.Warnings {
		mark := "?"
		if p.Fatal {
			mark = "!"
		}
		lines = append(lines, strings.TrimSuffix(fmt.Sprintf("%s%s: %s (%s)", mark, p.Origin, p.Reason, p.Other), " ()"))
	}
	return strings.Join(lines, "\n")
}

func servers(s *rules.Service) (list []string) {
	for _, i := range s.Instances {
		text := net.JoinHostPort(i.Host, fmt.Sprint(i.Port))
		if i.Weight != nil {
			text += fmt.Sprint(" weight ", *i.Weight)
		}
		list = append(list, text)
	}
	return list
}
