package discovery

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"arzur.net/lb/rules"
)

// Bursts settle: a View waits until nothing has changed for settleQuiet, which
// spans the events of one container start, but never longer than settleMost.
const (
	settleQuiet = 50 * time.Millisecond
	settleMost  = 500 * time.Millisecond
)

// Merge runs the Sources until ctx ends and hands each View, the last good
// Snapshots of all of them in the order given with names resolved, to onView
// together with what is wrong with it. onView is called from one goroutine; the
// first time as soon as every Source has published, or when those that have
// settled. What it is given is its own to keep, not to change.
// A Source that ends early is started again; its last Snapshot stays.
// Merge returns the cause of ctx's end once all Sources have returned.
func Merge(ctx context.Context, sources []Named, resolver *Resolver, log *zap.Logger,
	onView func(rules.Input, []rules.Problem)) error {
	m := &merger{last: make([]*Snapshot, len(sources)), changed: make(chan struct{}, 1)}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { resolver.run(ctx, log) })
	for i, s := range sources {
		running.Go(func() { keepWatching(ctx, s, log, func(s Snapshot) { m.put(i, s) }) })
	}
	for handed := false; m.wait(ctx, resolver.changed(), handed); handed = true {
		in, problems := m.view()
		in.Services = resolver.Resolve(in.Services)
		onView(in, problems)
	}
	return context.Cause(ctx)
}

// merger holds the last good Snapshot of each Source.
type merger struct {
	changed chan struct{} // holds one

	mu   sync.Mutex
	last []*Snapshot // nil until the Source has published
}

func (m *merger) put(i int, s Snapshot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last[i] = &s
	poke(m.changed)
}

// complete says whether every Source has published.
func (m *merger) complete() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.last {
		if s == nil {
			return false
		}
	}
	return true
}

// wait returns true when it is time for a View, false when ctx has ended. Until
// one was handed over nobody is served, so the first does not settle longer
// than it takes the last Source to publish.
func (m *merger) wait(ctx context.Context, names <-chan struct{}, handed bool) bool {
	var quiet, most <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return false
		case <-quiet:
			return true
		case <-most:
			return true
		case <-m.changed:
		case <-names:
		}
		if !handed && m.complete() {
			return true
		}
		quiet = time.After(settleQuiet)
		if most == nil {
			most = time.After(settleMost)
		}
	}
}

// view joins the Snapshots.
func (m *merger) view() (rules.Input, []rules.Problem) {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-m.changed: // is in what follows
	default:
	}
	var in rules.Input
	var problems []rules.Problem
	var services serviceSet
	for _, s := range m.last {
		if s == nil {
			continue
		}
		in.Rules = append(in.Rules, s.Rules...)
		problems = append(problems, s.Warnings...)
		for i := range s.Services {
			if p := services.add(&s.Services[i]); p != nil {
				problems = append(problems, *p)
			}
		}
	}
	in.Services = services.list
	return in, problems
}
