package main

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/discovery"
	"arzur.net/lb/rules"
)

// fakeSource says nothing until it has been heard.
type fakeSource struct{ heard atomic.Bool }

func (f *fakeSource) Report() discovery.Report {
	return discovery.Report{Well: f.heard.Load(), Unheard: !f.heard.Load(), Text: "has not answered yet"}
}

// TestHear calls hear with a view without rules; the Source is heard, and its rule
// comes with the next view, after so long each. Negative: never.
func TestHear(t *testing.T) {
	f := func(want int, wantErr string, heard, viewed time.Duration) (took time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			s, source := &server{views: make(chan view)}, &fakeSource{}
			s.outages.report("consul", source)
			source.heard.Store(heard == 0)
			if heard > 0 {
				defer time.AfterFunc(heard, func() { source.heard.Store(true) }).Stop()
			}
			if viewed >= 0 {
				go func() { // ends when hear has taken it
					time.Sleep(viewed)
					s.views <- view{Input: rules.Input{Rules: make([]rules.Rule, 1)}}
				}()
			}
			start := time.Now()
			v, err := s.hear(view{})
			took = time.Since(start)
			require.Len(t, v.Rules, want)
			if wantErr == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, wantErr)
		})
		return took
	}
	silence := "source consul: has not answered yet; this process would serve without it"
	f(1, "", 0, hearPause/2) // heard between the first view and hear
	f(0, "", 0, -1)
	f(1, "", 3*time.Second, 3*time.Second+hearPause*9/10)
	f(1, "", hearMost-hearPause/2, hearMost+hearPause/4)
	require.Equal(t, hearMost, f(0, silence, -1, -1))
	f(1, silence, -1, time.Second)
}

// TestHear_FilesAlone: there is nothing to wait for.
func TestHear_FilesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := new(server).hear(view{})
		require.NoError(t, err)
		require.Zero(t, time.Since(start))
	})
}
