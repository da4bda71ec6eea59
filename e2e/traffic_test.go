package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// answer is what came back; status 0 is no answer.
type answer struct {
	status  int
	server  string // X-Server
	version string // X-Version
	text    string
	err     error
}

// ask sends one GET on a connection of its own.
func ask(t *testing.T, address, host, path string) answer {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second} // some ask again
	return get(t.Context(), client, address, host, path)
}

func get(ctx context.Context, client *http.Client, address, host, path string) answer {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return answer{err: err}
	}
	r.Host = host
	response, err := client.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	a := answer{response.StatusCode, response.Header.Get("X-Server"), response.Header.Get("X-Version"), strings.TrimSpace(string(text)), err}
	if err != nil {
		a.status = 0
	}
	return a
}

// lost is how long an answer takes that does not come any more. A request may wait
// for the next container, for longer on a busy machine.
const lost = time.Minute

// workers is how many requests are under way at a time.
const workers = 16

// traffic is requests one after the other from every worker, and what became of
// each of them: who answered, when, and why one failed. Beside it wrk sends
// requests of its own, which it cannot tell apart, and counts failures.
type traffic struct {
	t      *testing.T
	wrk    *wrk
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu       sync.Mutex
	answered int
	failed   []string
	first    map[string]time.Time // of each server
	last     map[string]time.Time
	versions map[string]int
}

// startTraffic sends requests until stop.
func startTraffic(t *testing.T, address, host, path string) *traffic {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &traffic{
		t: t, wrk: startWrk(t, address, host, path), cancel: cancel,
		first: make(map[string]time.Time), last: make(map[string]time.Time), versions: make(map[string]int),
	}
	transport := &http.Transport{MaxIdleConnsPerHost: workers}
	client := &http.Client{Transport: transport, Timeout: lost}
	for range workers {
		l.ended.Go(func() {
			pace := time.NewTicker(2 * time.Millisecond) // two CPUs are for everybody
			defer pace.Stop()
			for range pace.C {
				begun := time.Now()
				a := get(ctx, client, address, host, path)
				if ctx.Err() != nil {
					return
				}
				l.note(&a, begun)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		l.ended.Wait()
		transport.CloseIdleConnections()
	})
	return l
}

func (l *traffic) note(a *answer, begun time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if a.status != http.StatusOK || a.server == "" {
		l.failed = append(l.failed, fmt.Sprintf("%s: after %v: status %d %q: %v",
			now.Format("15:04:05.000"), now.Sub(begun).Round(time.Millisecond), a.status, a.text, a.err))
		return
	}
	l.answered++
	l.versions[a.version]++
	if l.first[a.server].IsZero() {
		l.first[a.server] = now
	}
	l.last[a.server] = now
}

// firstFrom is when a server answered first; the zero time is not yet.
func (l *traffic) firstFrom(server string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first[server]
}

// since are the servers that have answered after a moment, sorted.
func (l *traffic) since(at time.Time) (servers []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s, last := range l.last {
		if last.After(at) {
			servers = append(servers, s)
		}
	}
	slices.Sort(servers)
	return servers
}

func (l *traffic) failures() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.failed)
}

// stop ends the traffic, of which no request may have failed.
func (l *traffic) stop() {
	l.t.Helper()
	l.cancel()
	l.ended.Wait()
	if failed := l.failures(); len(failed) > 0 {
		require.Fail(l.t, "requests failed", "%d of %d:\n%s", len(failed), l.answered+len(failed), strings.Join(failed[:min(20, len(failed))], "\n"))
	}
	require.Greater(l.t, l.answered, 10, "was there any traffic?")
	l.t.Logf("%d requests, none failed, versions %v", l.answered, l.versions)
	l.wrk.stop()
}
