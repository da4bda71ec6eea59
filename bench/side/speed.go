//go:build linux

package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// round is one measurement of one contender.
type round struct {
	load
	cpu float64 // of the contender's processes, µs a request
}

// speed is what one contender did under one load, in all rounds.
type speed struct {
	contender   string
	connections int
	path        string
	rounds      []round
}

// load is what it was loaded with, in words.
func (m speed) load() string { return fmt.Sprintf("%s, %d connections", m.path, m.connections) }

// running is a contender that serves.
type running struct {
	contender
	*process
	addr netip.AddrPort
	site site
}

// startAll starts all contenders. stop ends those that run, after an error too.
func startAll(s site, contenders []contender) (all []running, stop func(), err error) {
	stop = func() {
		for _, r := range all {
			r.stop()
		}
	}
	for _, c := range contenders {
		p, addr, err := c.start(s)
		if err != nil {
			return all, stop, err
		}
		all = append(all, running{c, p, addr, s})
	}
	return all, stop, nil
}

// measureSpeed starts all contenders and loads one after another, round by round.
// The order turns by one place each round, so that nobody always follows the same one.
func measureSpeed(ctx context.Context, o options, s site, contenders []contender) ([]speed, error) {
	all, stop, err := startAll(s, contenders)
	defer stop()
	if err != nil {
		return nil, err
	}

	var results []speed
	for _, path := range o.paths {
		for _, connections := range o.connections {
			fmt.Printf("%s, %d connections: %d rounds of %s\n", path, connections, o.rounds, o.duration)
			m := make([]speed, len(all))
			for i, r := range all {
				m[i] = speed{contender: r.name, connections: connections, path: path}
				if _, err := r.round(ctx, path, connections, s.threads, time.Second); err != nil { // warm up
					return nil, err
				}
			}
			for n := range o.rounds {
				for i := range all {
					at := (i + n) % len(all)
					r, err := all[at].round(ctx, path, connections, s.threads, o.duration)
					if err != nil {
						return nil, err
					}
					fmt.Printf("  round %d  %-14s %7.0f requests/s  %6.2f µs/request\n", n+1, all[at].name, r.perSecond, r.cpu)
					m[at].rounds = append(m[at].rounds, r)
				}
			}
			results = append(results, m...)
		}
	}
	return results, nil
}

func (r running) round(ctx context.Context, path string, connections, threads int, d time.Duration) (round, error) {
	before, err := r.usage()
	if err != nil {
		return round{}, fmt.Errorf("measure %s: %w", r.name, err)
	}
	l, err := runWrk(ctx, r.url(path), connections, threads, d)
	if err != nil {
		return round{}, fmt.Errorf("measure %s: %w", r.name, err)
	}
	after, err := r.usage()
	if err != nil {
		return round{}, fmt.Errorf("measure %s: %w", r.name, err)
	}
	cpu := float64((after.cpu - before.cpu).Microseconds()) / float64(l.requests)
	return round{load: l, cpu: cpu}, nil
}

func (r running) url(path string) string {
	if r.site.secure != nil {
		return "https://" + r.addr.String() + path
	}
	return "http://" + r.addr.String() + path
}

// median returns the median over the rounds of what get picks.
func (m speed) median(get func(round) float64) float64 {
	var v []float64
	for _, r := range m.rounds {
		v = append(v, get(r))
	}
	return median(v)
}

func (m speed) perSecond() float64 { return m.median(func(r round) float64 { return r.perSecond }) }
func (m speed) p50() float64       { return m.median(func(r round) float64 { return r.p50.Seconds() }) }
func (m speed) p99() float64       { return m.median(func(r round) float64 { return r.p99.Seconds() }) }
func (m speed) cpu() float64       { return m.median(func(r round) float64 { return r.cpu }) }

func (m speed) failed() int {
	n := 0
	for _, r := range m.rounds {
		n += r.failed
	}
	return n
}

// median returns the middle of v, which it sorts; between two, their mean.
func median(v []float64) float64 {
	slices.Sort(v)
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}
