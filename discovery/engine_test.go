package discovery

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules/labels"
)

// fakeEngine answers as Docker 20.10 does, byte for byte where lb looks. It is
// reached over pipes, so that it can live in a bubble.
type fakeEngine struct {
	t     *testing.T
	conns chan net.Conn
	shut  chan struct{}

	mu         sync.Mutex
	containers map[string]*fakeContainer
	services   []object
	tasks      []object
	nodes      []object
	networks   []object
	streams    map[chan object]bool
	asked      map[string]int // requests by path, "GET /containers/json"
	getOnly    bool           // as behind a socket proxy
	version    string         // the newest API version it speaks; "" is 1.41
	oldest     string         // the oldest; "" is the newest
	broken     bool           // answers nothing but 500
	onList     func()         // called before the containers are listed
}

// object is some JSON.
type object map[string]any

func newFakeEngine(t *testing.T) *fakeEngine {
	t.Helper()
	e := &fakeEngine{
		t: t, conns: make(chan net.Conn), shut: make(chan struct{}),
		containers: make(map[string]*fakeContainer), streams: make(map[chan object]bool), asked: make(map[string]int),
	}
	server := &http.Server{Handler: e}
	done := make(chan struct{})
	go func() { // ends with Close
		defer close(done)
		_ = server.Serve(e)
	}()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		<-done
	})
	return e
}

// Accept, Close and Addr make it a net.Listener.
func (e *fakeEngine) Accept() (net.Conn, error) {
	select {
	case c := <-e.conns:
		return c, nil
	case <-e.shut:
		return nil, net.ErrClosed
	}
}

func (e *fakeEngine) Close() error { close(e.shut); return nil }

func (e *fakeEngine) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (e *fakeEngine) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case e.conns <- there:
		return here, nil
	case <-e.shut:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// config leads to e, from outside of all containers.
func (e *fakeEngine) config() DockerConfig {
	return DockerConfig{
		Endpoint: "unix:///fake", Labels: labels.DefaultOptions,
		own: func() []string { return nil }, dial: e.dial,
		links: func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} },
	}
}

func (e *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if strings.HasPrefix(path, "/v1.") {
		path = "/" + strings.SplitN(path, "/", 3)[2]
	}
	e.mu.Lock()
	e.asked[r.Method+" "+path]++
	refused := e.getOnly && r.Method != http.MethodGet
	broken := e.broken
	listed := e.onList
	e.mu.Unlock()
	switch {
	case broken:
		http.Error(w, `{"message":"broken"}`, http.StatusInternalServerError)
	case refused:
		http.Error(w, "forbidden", http.StatusForbidden)
	case path == "/_ping":
		w.Header().Set("Api-Version", cmp.Or(e.version, "1.41"))
		fmt.Fprint(w, "OK")
	case !e.speaks(r.URL.Path):
		http.Error(w, `{"message":"client version is not supported"}`, http.StatusBadRequest)
	case path == "/events":
		e.serveEvents(w, r)
	default:
		if path == "/containers/json" && listed != nil {
			listed()
		}
		e.serveObjects(w, r, path)
	}
}

// speaks says whether the version in a path is one that e has.
func (e *fakeEngine) speaks(path string) bool {
	minor := func(version string) int {
		n, err := strconv.Atoi(strings.TrimPrefix(version, "1."))
		require.NoError(e.t, err)
		return n
	}
	newest := cmp.Or(e.version, "1.41")
	asked := minor(strings.TrimPrefix(strings.SplitN(path, "/", 3)[1], "v"))
	return minor(cmp.Or(e.oldest, newest)) <= asked && asked <= minor(newest)
}

func (e *fakeEngine) serveEvents(w http.ResponseWriter, r *http.Request) {
	stream := make(chan object, 1024)
	e.mu.Lock()
	e.streams[stream] = true
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.streams, stream)
		e.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "application/json")
	w.(http.Flusher).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case m, open := <-stream:
			if !open {
				return
			}
			if json.NewEncoder(w).Encode(m) != nil {
				return
			}
			w.(http.Flusher).Flush()
		}
	}
}

func (e *fakeEngine) serveObjects(w http.ResponseWriter, r *http.Request, path string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var answer any
	id, inspected := strings.CutSuffix(strings.TrimPrefix(path, "/containers/"), "/json")
	switch {
	case path == "/containers/json":
		answer = e.list(r.URL.Query().Get("filters"))
	case path == "/services":
		answer = e.services
	case path == "/tasks":
		answer = e.tasks
	case path == "/nodes":
		answer = e.nodes
	case path == "/networks":
		answer = e.networks
	case inspected && e.byID(id) != nil:
		answer = e.byID(id).inspection(e.nameOf(id))
	default:
		w.WriteHeader(http.StatusNotFound)
		answer = object{"message": "no such thing"}
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		panic(err)
	}
}

// event tells all who listen; attributes are pairs.
func (e *fakeEngine) event(kind, action, id string, attributes ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	pairs := object{}
	for i := 0; i+1 < len(attributes); i += 2 {
		pairs[attributes[i]] = attributes[i+1]
	}
	for s := range e.streams {
		s <- object{"Type": kind, "Action": action, "Actor": object{"ID": id, "Attributes": pairs}, "scope": "local"}
	}
}

// cut ends all event streams.
func (e *fakeEngine) cut() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for s := range e.streams {
		close(s)
		delete(e.streams, s)
	}
}

func (e *fakeEngine) requests() map[string]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	asked := maps.Clone(e.asked)
	clear(e.asked)
	return asked
}
