package main

import (
	"fmt"
	"time"

	"go.uber.org/zap"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// warmUpMost is how long a successor waits for what it does not know yet. First
// checks are made within a second and names answer at once or not at all, so
// who waits longer waits for something that its predecessor has not got either.
const warmUpMost = 5 * time.Second

const (
	// hearMost is how long a successor waits for Sources that it has not heard of,
	// less than handoverMost.
	hearMost = 10 * time.Second
	// hearPause is how long it may take from a Source to the view of what it said.
	hearPause = time.Second
)

// hear returns when a successor has heard of every Source, and what they said is
// in the view; with an error if that takes too long. Without them it would serve
// next to nothing, while its predecessor knows what they said. v or a later view
// is returned.
func (s *server) hear(v view) (view, error) {
	if len(s.outages.all()) == 0 {
		return v, nil
	}
	start, before := time.Now(), s.outages.silent()
	for {
		v = s.settled(v)
		now := s.outages.silent()
		switch {
		case before == nil && now == nil:
			return v, nil
		case now != nil && time.Since(start) >= hearMost:
			return v, fmt.Errorf("%w; this process would serve without it", now)
		}
		before = now
	}
}

// settled waits for hearPause. v or the latest view by then is returned.
func (s *server) settled(v view) view {
	for pause := time.After(hearPause); ; {
		select {
		case v = <-s.views:
		case <-pause:
			return v
		}
	}
}

// warmUp returns when a successor knows what its predecessor does: which servers
// are up and where names lead. Until then it must not serve, because requests
// would meet servers that are known to be down. v or a later view is returned.
func (s *server) warmUp(v view) view {
	checked := s.watch(v)
	most, tick := time.NewTimer(warmUpMost), time.NewTicker(10*time.Millisecond)
	defer most.Stop()
	defer tick.Stop()
	for !v.resolved() || !judged(checked) {
		select {
		case v = <-s.views:
			checked = s.watch(v)
		case <-tick.C:
		case <-most.C:
			s.log.Warn("takes over without having heard of every server", zap.Duration("waited", warmUpMost))
			return v
		}
	}
	return v
}

// watch checks the servers of v, which is not in use yet.
func (s *server) watch(v view) []health.Use {
	table, _ := rules.Compile(v.Input, s.registry) // apply reports the problems
	checked := checks(table)
	s.checker.Set(checked)
	return checked
}

// resolved says whether each name has an address.
func (v *view) resolved() bool {
	for i := range v.Services {
		for _, instance := range v.Services[i].Instances {
			if !instance.Addr.IsValid() {
				return false
			}
		}
	}
	return true
}

// judged says whether each server has been checked.
func judged(checked []health.Use) bool {
	for _, u := range checked {
		if s := u.Backend.Status(); s == nil || s.Passed+s.Failed == 0 {
			return false
		}
	}
	return true
}
