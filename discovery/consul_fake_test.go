package discovery

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// fakeConsul answers as an agent does, without a socket, so that a bubble's clock
// holds for it. Every change is of all there is.
type fakeConsul struct {
	mu       sync.Mutex
	index    uint64
	changed  chan struct{} // closed by the next change
	services map[string][]*api.ServiceEntry
	kv       map[string]string
	broken   func(*http.Request) *http.Response // not nil: instead of an answer
	asked    []string                           // path and query of all requests
	agent    map[string]*api.AgentServiceRegistration
	noLeader bool
	filtered bool
	versions map[string]fakeVersion // of services, as they were answered last
}

// fakeVersion is what a service was when it changed last, and the index since then.
type fakeVersion struct {
	text  string
	index uint64
}

func newFakeConsul() *fakeConsul {
	return &fakeConsul{
		index: 1, changed: make(chan struct{}), services: map[string][]*api.ServiceEntry{}, kv: map[string]string{},
		agent: map[string]*api.AgentServiceRegistration{}, versions: map[string]fakeVersion{},
	}
}

// indexOf is the index of a service, which other services do not change.
func (f *fakeConsul) indexOf(name string) uint64 {
	text, err := json.Marshal(f.services[name])
	if err != nil {
		panic(err)
	}
	if f.versions[name].text != string(text) {
		f.versions[name] = fakeVersion{string(text), f.index}
	}
	return f.versions[name].index
}

// checks are those in one state.
func (f *fakeConsul) checks(status string) api.HealthChecks {
	list := api.HealthChecks{}
	for name, entries := range f.services {
		for _, e := range entries {
			for _, c := range e.Checks {
				if c.Status == status {
					list = append(list, &api.HealthCheck{Node: e.Node.Node, CheckID: e.Service.ID + c.CheckID, ServiceName: name, Status: status})
				}
			}
		}
	}
	return list
}

// change changes what there is and ends the queries that wait.
func (f *fakeConsul) change(edit func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	edit()
	f.index++
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeConsul) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.asked
	f.asked = nil
	return asked
}

// RoundTrip implements http.RoundTripper.
func (f *fakeConsul) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.asked = append(f.asked, r.URL.Path+"?"+r.URL.RawQuery)
	broken, changed, index := f.broken, f.changed, f.index
	f.mu.Unlock()
	if broken != nil {
		if answer := broken(r); answer != nil {
			return answer, nil
		}
		return nil, fmt.Errorf("connection refused")
	}
	q := r.URL.Query()
	if want, _ := strconv.ParseUint(q.Get("index"), 10, 64); want >= index && want > 0 {
		wait, err := time.ParseDuration(q.Get("wait"))
		if err != nil {
			wait = 5 * time.Minute
		}
		select {
		case <-changed:
		case <-time.After(wait):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil {
		return nil, fmt.Errorf("connection reset")
	}
	return f.answer(r), nil
}

func (f *fakeConsul) answer(r *http.Request) *http.Response {
	body, _ := io.ReadAll(orEmpty(r.Body))
	path := r.URL.Path
	switch {
	case path == "/v1/catalog/services":
		names := map[string][]string{"consul": {}}
		for name, entries := range f.services {
			names[name] = []string{}
			for _, e := range entries {
				names[name] = append(names[name], e.Service.Tags...)
			}
		}
		return f.reply(200, names)
	case strings.HasPrefix(path, "/v1/health/service/"):
		var list []*api.ServiceEntry
		name := strings.TrimPrefix(path, "/v1/health/service/")
		for _, e := range f.services[name] {
			if tag := r.URL.Query().Get("tag"); tag == "" || slices.Contains(e.Service.Tags, tag) {
				list = append(list, e)
			}
		}
		r := f.reply(200, list)
		r.Header.Set("X-Consul-Index", strconv.FormatUint(f.indexOf(name), 10))
		return r
	case strings.HasPrefix(path, "/v1/health/state/"):
		return f.reply(200, f.checks(strings.TrimPrefix(path, "/v1/health/state/")))
	case strings.HasPrefix(path, "/v1/kv/"):
		pairs := []*api.KVPair{}
		for key, value := range f.kv {
			if strings.HasPrefix(key, strings.TrimPrefix(path, "/v1/kv/")) {
				pairs = append(pairs, &api.KVPair{Key: key, Value: []byte(value)})
			}
		}
		if len(pairs) == 0 {
			return f.reply(404, nil)
		}
		return f.reply(200, pairs)
	case path == "/v1/agent/service/register":
		var s api.AgentServiceRegistration
		if err := json.Unmarshal(body, &s); err != nil {
			return f.reply(400, err.Error())
		}
		f.agent[s.ID] = &s
		return f.reply(200, nil)
	case strings.HasPrefix(path, "/v1/agent/service/deregister/"):
		delete(f.agent, strings.TrimPrefix(path, "/v1/agent/service/deregister/"))
		return f.reply(200, nil)
	case strings.HasPrefix(path, "/v1/agent/service/"):
		s := f.agent[strings.TrimPrefix(path, "/v1/agent/service/")]
		if s == nil {
			return f.reply(404, "unknown service ID")
		}
		return f.reply(200, api.AgentService{ID: s.ID, Service: s.Name, Meta: s.Meta})
	}
	return f.reply(404, nil)
}

func (f *fakeConsul) reply(status int, v any) *http.Response {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	r := plainReply(status, string(text))
	r.Header.Set("X-Consul-Index", strconv.FormatUint(f.index, 10))
	r.Header.Set("X-Consul-Lastcontact", "0")
	r.Header.Set("X-Consul-Knownleader", strconv.FormatBool(!f.noLeader))
	r.Header.Set("X-Consul-Results-Filtered-By-Acls", strconv.FormatBool(f.filtered))
	return r
}

func plainReply(status int, text string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text))}
}

func orEmpty(r io.Reader) io.Reader {
	if r == nil {
		return strings.NewReader("")
	}
	return r
}

// instance is one that passes, at 10.0.0.n:8080.
func consulEntry(service string, n int, tags ...string) *api.ServiceEntry {
	return &api.ServiceEntry{
		Node: &api.Node{Node: "node", Address: "10.9.9.9"},
		Service: &api.AgentService{
			ID: fmt.Sprint(service, "-", n), Service: service, Tags: tags,
			Address: fmt.Sprint("10.0.0.", n), Port: 8080, Weights: api.AgentWeights{Passing: 1, Warning: 1},
		},
		Checks: api.HealthChecks{{CheckID: "alive", Status: api.HealthPassing}},
	}
}
