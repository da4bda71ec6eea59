package main

import (
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
	states  []admin.Source
	reports []func() (s admin.Source, idle bool)
}

// report has the Source itself say how it is.
func (o *outages) report(name string, r discovery.Reporter) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reports = append(o.reports, func() (s admin.Source, idle bool) {
		report := r.Report()
		s.Name = name
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
	o.states = append(o.states, admin.Source{Name: name, Failure: "has not been heard of yet"})
	return func(err error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.states[i].Failure = ""
		if err != nil {
			o.states[i].Failure = err.Error()
		}
	}
}

func (o *outages) list() []admin.Source {
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
