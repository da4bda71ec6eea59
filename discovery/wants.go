package discovery

import (
	"maps"
	"slices"
	"strings"
	"time"

	"arzur.net/lb/rules"
)

// Wanter is a Source that looks for what the rules of all Sources name, such as
// "consul:blog" or "dns:blog.example".
type Wanter interface {
	// Prefixes are what the service names begin with that the Source answers for;
	// always the same.
	Prefixes() []string
	// Want says which services with one of the Prefixes the rules name now: all of
	// them, sorted, each once. The Source announces each under exactly that name,
	// without instances where there are none, and nothing else for Want's sake.
	// Merge calls it whenever the names change, before and while Watch runs, from
	// one goroutine at a time. It does not block, and keeps the list unchanged.
	Want(services []string)
}

// Reporter is a Source that says how it fares. Any goroutine may ask.
type Reporter interface{ Report() Report }

// Report is how a Source fares at one moment.
type Report struct {
	Idle bool // nothing is asked of the Source, so that how it fares matters to nobody
	Well bool // what it announces is as fresh as it can be
	// Unheard says that something that was asked for has yet to be announced, so that
	// whoever knows what the Source said before knows more.
	Unheard bool
	Text    string        // in words, for the operator: "3 names", "2 of 3 names do not resolve: ..."
	Age     time.Duration // of what is in use although it may have changed since; 0 while all is well
}

// wants are the services that Merge wants from one Source.
type wants struct {
	Wanter
	source int // in merger.last
	names  []string
}

// want tells every Wanter what the rules name, if that has changed. It says
// whether there is nothing of that to wait for.
func (m *merger) want() (announced bool) {
	announced = true
	news := make(map[int][]string) // by index in m.wants
	m.mu.Lock()
	origins := m.wanted()
	for i := range m.wants {
		w := &m.wants[i]
		names := slices.DeleteFunc(slices.Sorted(maps.Keys(origins)), func(name string) bool { return !w.answersFor(name) })
		if !slices.Equal(names, w.names) {
			w.names = names
			news[i] = names
		}
		announced = announced && (m.failed[w.source] || m.last[w.source].has(names))
	}
	m.mu.Unlock() // a Wanter may hold its own lock while it publishes
	for i, names := range news {
		m.wants[i].Want(slices.Clone(names))
	}
	return announced
}

// has says whether the Snapshot, which may be nil, announces all these services.
func (s *Snapshot) has(names []string) bool {
	if len(names) == 0 {
		return true
	}
	if s == nil {
		return false
	}
	known := make(map[string]bool, len(s.Services))
	for i := range s.Services {
		known[s.Services[i].Name] = true
	}
	return !slices.ContainsFunc(names, func(name string) bool { return !known[name] })
}

// wanted maps the services that rules name and a Wanter answers for to the
// origin of the first such rule. m.mu is held.
func (m *merger) wanted() map[string]string {
	origins := make(map[string]string)
	for _, s := range m.last {
		if s == nil || len(m.wants) == 0 {
			continue
		}
		for i := range s.Rules {
			r := &s.Rules[i]
			if _, known := origins[r.Service]; !known && slices.ContainsFunc(m.wants, func(w wants) bool { return w.answersFor(r.Service) }) {
				origins[r.Service] = r.Origin
			}
		}
	}
	return origins
}

// answersFor says whether the service is one of those that the Wanter looks for.
func (w *wants) answersFor(service string) bool {
	return slices.ContainsFunc(w.Prefixes(), func(p string) bool { return strings.HasPrefix(service, p) })
}

// standIns are the wanted services that nobody has announced, without
// instances: their rules answer 503 instead of being rejected.
func standIns(wanted map[string]string, known *serviceSet) (list []rules.Service) {
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if _, announced := known.index[name]; !announced {
			list = append(list, rules.Service{Name: name, Origin: wanted[name]})
		}
	}
	return list
}
