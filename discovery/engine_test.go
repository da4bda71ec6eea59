package discovery

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules"
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
	broken     bool           // answers nothing but 500
	onList     func()         // called before the containers are listed
}

// object is some JSON.
type object map[string]any

// fakeContainer has a name, and everything else if it is not the usual.
type fakeContainer struct {
	id         string
	name       string // where it is not the one that the test uses
	created    int
	labels     map[string]string
	state      string // "running"
	health     string
	mode       string            // "web"
	networks   map[string]string // name -> IPv4 or IPv6 address; nil: web
	gateway    string
	ports      map[string][][2]string // "80/tcp" -> host address and port
	exposed    []string               // known to the image alone
	stopSignal string
	stopTime   int
}

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
		w.Header().Set("Api-Version", "1.41")
		fmt.Fprint(w, "OK")
	case !strings.HasPrefix(r.URL.Path, "/v1.41/"):
		http.Error(w, `{"message":"client version is too new"}`, http.StatusBadRequest)
	case path == "/events":
		e.serveEvents(w, r)
	default:
		if path == "/containers/json" && listed != nil {
			listed()
		}
		e.serveObjects(w, r, path)
	}
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

func (e *fakeEngine) list(filters string) []object {
	list := []object{}
	for _, name := range slices.Sorted(maps.Keys(e.containers)) {
		c := e.containers[name]
		var f struct{ ID map[string]bool }
		if filters != "" {
			if err := json.Unmarshal([]byte(filters), &f); err != nil {
				panic(err)
			}
		}
		matches := len(f.ID) == 0
		for id := range f.ID {
			matches = matches || strings.HasPrefix(c.id, id)
		}
		if matches {
			list = append(list, c.summary(name))
		}
	}
	return list
}

func (e *fakeEngine) byID(id string) *fakeContainer { return e.containers[e.nameOf(id)] }

func (e *fakeEngine) nameOf(id string) string {
	for name, c := range e.containers {
		if c.id == id {
			return name
		}
	}
	return ""
}

func (c *fakeContainer) summary(name string) object {
	status := "Up 2 minutes"
	switch c.health {
	case "":
	case "starting":
		status += " (health: starting)"
	default:
		status += " (" + c.health + ")"
	}
	ports := []object{}
	for port, bindings := range c.ports {
		number, proto, _ := strings.Cut(port, "/")
		p := object{"PrivatePort": json.Number(number), "Type": proto}
		if len(bindings) == 0 {
			ports = append(ports, p)
		}
		for _, b := range bindings {
			bound := maps.Clone(p)
			bound["IP"], bound["PublicPort"] = b[0], json.Number(b[1])
			ports = append(ports, bound)
		}
	}
	return object{
		"Id": c.id, "Names": []string{"/" + cmp.Or(c.name, name)}, "Created": c.created, "Labels": c.labels, "State": cmp.Or(c.state, "running"),
		"Status": status, "HostConfig": object{"NetworkMode": cmp.Or(c.mode, "web")},
		"NetworkSettings": object{"Networks": c.endpoints()}, "Ports": ports,
	}
}

func (c *fakeContainer) endpoints() object {
	all := object{}
	for name, address := range c.networks {
		end := object{"NetworkID": "id-" + name, "IPAddress": address, "GlobalIPv6Address": "", "Gateway": c.gateway, "MacAddress": ""}
		if strings.Contains(address, ":") {
			end["IPAddress"], end["GlobalIPv6Address"] = "", address
		}
		all[name] = end
	}
	return all
}

func (c *fakeContainer) inspection(name string) object {
	state := object{"Status": cmp.Or(c.state, "running")}
	if c.health != "" {
		state["Health"] = object{"Status": c.health}
	}
	ports, exposed := object{}, object{}
	for port, bindings := range c.ports {
		var list []object
		for _, b := range bindings {
			list = append(list, object{"HostIp": b[0], "HostPort": b[1]})
		}
		ports[port] = list
	}
	for _, port := range c.exposed {
		exposed[port] = object{}
	}
	config := object{"Labels": c.labels, "ExposedPorts": exposed, "StopSignal": c.stopSignal}
	if c.stopTime != 0 {
		config["StopTimeout"] = c.stopTime
	}
	return object{
		"Id": c.id, "Name": "/" + cmp.Or(c.name, name), "Created": time.Unix(int64(c.created), 123456789).UTC().Format(time.RFC3339Nano),
		"State": state, "Config": config, "HostConfig": object{"NetworkMode": cmp.Or(c.mode, "web")},
		"NetworkSettings": object{"Networks": c.endpoints(), "Ports": ports},
	}
}

// idOf is the ID of a container, as long as real ones.
func idOf(name string) string { return fmt.Sprintf("%064x", name)[:64] }

// set makes a container of that name, or another one of it; without anything said
// it runs in the network web and exposes port 80. No event tells of it.
func (e *fakeEngine) set(name string, c fakeContainer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c.id == "" {
		c.id = idOf(name)
	}
	if c.networks == nil && c.mode == "" {
		c.networks = map[string]string{"web": fmt.Sprint("10.0.0.", len(name)+int(name[len(name)-1]))}
	}
	if c.ports == nil && c.mode == "" {
		c.ports = map[string][][2]string{"80/tcp": nil}
	}
	e.containers[name] = &c
}

// turn changes one that there is.
func (e *fakeEngine) turn(name string, change func(c *fakeContainer)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := *e.containers[name]
	change(&c)
	e.containers[name] = &c
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
