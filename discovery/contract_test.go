package discovery

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// testSource is the contract that every Source keeps. open prepares one whose
// outside world has version 1 of something; change moves that world to another
// version, and version reads off a Snapshot which one it shows.
func testSource(t *testing.T, open func(t *testing.T) (s Source, change func(version string), version func(Snapshot) string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, change, version := open(t)
		var mu sync.Mutex
		var published []Snapshot
		var texts []string
		got := func() []Snapshot {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(published)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { // ends with cancel
			ended <- s.Watch(ctx, func(s Snapshot) {
				mu.Lock()
				defer mu.Unlock()
				published = append(published, s)
				texts = append(texts, asJSON(t, s))
			})
		}()
		// settle waits for what the Source does by itself.
		settle := func() {
			time.Sleep(5 * time.Second) // of the bubble's clock
			synctest.Wait()
		}

		time.Sleep(100 * time.Millisecond) // for what is asked of the world outside
		synctest.Wait()
		require.Len(t, got(), 1, "publishes at once")
		require.Equal(t, "1", version(got()[0]))
		settle()
		require.Len(t, got(), 1, "publishes nothing while nothing changes")
		for i, v := range []string{"2", "3", "1"} {
			change(v)
			settle()
			require.Len(t, got(), i+2, "publishes once after a change")
			require.Equal(t, v, version(got()[i+1]))
		}
		for i, s := range got() {
			require.Equal(t, texts[i], asJSON(t, s), "touches no Snapshot that was handed over")
		}
		cancel()
		require.NoError(t, <-ended)
		change("4")
		settle()
		require.Len(t, got(), 4, "publishes nothing after its end")
	})
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return string(text)
}
