package main

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"arzur.net/lb/admin"
	"arzur.net/lb/configs"
	"arzur.net/lb/discovery"
)

// dockerPause is the longest pause before an Engine is tried again: most are on
// this machine, and after a restart every address may be another.
const dockerPause = 5 * time.Second

// sources are the files and what else announces rules.
func (s *server) sources() []discovery.Named {
	list := []discovery.Named{{Name: "file", Source: s.source}, {Name: "dns", Source: s.dns}}
	s.outages.report("dns", s.dns)
	if d := s.first.Sources.Docker; d != nil {
		n := discovery.Named{Name: "docker", Source: &discovery.Docker{DockerConfig: d.DockerConfig}}
		if d.Swarm {
			n = discovery.Named{Name: "swarm", Source: &discovery.Swarm{DockerConfig: d.DockerConfig}}
		}
		n.MostPause, n.OnState = dockerPause, s.outages.of(n.Name)
		list = append(list, n)
	}
	if c := s.first.Sources.Consul; c != nil {
		source := &discovery.Consul{Config: *c, ParseFragment: configs.ParseFragment, Succeeded: s.succeeded.Load, Log: s.log}
		s.outages.report("consul", source)
		list = append(list, discovery.Named{Name: "consul", Source: source})
	}
	return list
}

// outages are the Sources besides files, and what is wrong with them. They are
// for any goroutine.
type outages struct {
	mu      sync.Mutex
	states  []state
	reports []func() (s state, idle bool)
}

// state is how a Source is.
type state struct {
	admin.Source
	heard bool // there was something of it to serve
}

// report has the Source itself say how it is.
func (o *outages) report(name string, r discovery.Reporter) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reports = append(o.reports, func() (s state, idle bool) {
		report := r.Report()
		s.Name, s.heard = name, !report.Unheard
		if s.Age = report.Age; !report.Well {
			s.Failure = report.Text
		}
		return s, report.Idle
	})
}

// of begins to keep the state of a Source; what it returns is told every change.
func (o *outages) of(name string) func(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := len(o.states)
	o.states = append(o.states, state{Source: admin.Source{Name: name, Failure: "has not been heard of yet"}})
	return func(err error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		s := &o.states[i]
		if s.Failure = ""; err != nil {
			s.Failure = err.Error()
		}
		s.heard = s.heard || err == nil
	}
}

func (o *outages) all() []state {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := slices.Clone(o.states)
	for _, report := range o.reports {
		if s, idle := report(); !idle {
			list = append(list, s)
		}
	}
	return list
}

func (o *outages) list() (list []admin.Source) {
	for _, s := range o.all() {
		list = append(list, s.Source)
	}
	return list
}

// silent says which Source has not been heard of yet, and why; nil if none.
func (o *outages) silent() error {
	for _, s := range o.all() {
		if !s.heard {
			return fmt.Errorf("source %s: %s", s.Name, s.Failure)
		}
	}
	return nil
}
