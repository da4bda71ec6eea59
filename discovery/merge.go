package discovery

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"arzur.net/lb/rules"
)

// Bursts settle: a View waits until nothing has changed for settleQuiet, which
// spans the events of one container start, but never longer than settleMost. What
// is urgent does not settle.
const (
	settleQuiet = 50 * time.Millisecond
	settleMost  = 500 * time.Millisecond
)

// firstMost is how long the first View waits for a Source that has neither
// published nor failed: until then a predecessor serves, and knows more.
const firstMost = 3 * time.Second

// Merge runs the Sources until ctx ends and hands each View, the last good
// Snapshots of all of them in the order given with names resolved, to onView
// together with what is wrong with it. onView is called from one goroutine; the
// first time as soon as every Source has published what is wanted of it or
// failed, but no later than 3 s after the first of them. What it is given is its
// own to keep, not to change. A service that a Wanter has yet to announce is in it
// without instances.
// A Source that ends early is started again; its last Snapshot stays.
// Merge returns the cause of ctx's end once all Sources have returned.
func Merge(ctx context.Context, sources []Named, resolver *Resolver, log *zap.Logger,
	onView func(rules.Input, []rules.Problem)) error {
	m := &merger{last: make([]*Snapshot, len(sources)), failed: make([]bool, len(sources)), changed: make(chan struct{}, 1)}
	for i, s := range sources {
		if w, ok := s.Source.(Wanter); ok {
			m.wants = append(m.wants, wants{Wanter: w, source: i})
		}
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { resolver.run(ctx, log) })
	for i, s := range sources {
		running.Go(func() { keepWatching(ctx, s, log, func(s Snapshot) { m.put(i, s) }, func() { m.fail(i) }) })
	}
	for handed := false; m.wait(ctx, resolver.changed(), handed); handed = true {
		m.want()
		in, problems := m.view()
		in.Services = resolver.Resolve(in.Services)
		onView(in, problems)
	}
	return context.Cause(ctx)
}

// merger holds the last good Snapshot of each Source.
type merger struct {
	changed chan struct{} // holds one
	wants   []wants       // Merge's goroutine alone

	mu     sync.Mutex
	last   []*Snapshot // nil until the Source has published
	failed []bool      // the Source has ended before
	urgent bool        // one of last is, and in no View yet
}

func (m *merger) put(i int, s Snapshot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last[i] = &s
	m.urgent = m.urgent || s.Urgent
	poke(m.changed)
}

// fail notes that a Source has ended. Nobody waits for its first Snapshot then.
func (m *merger) fail(i int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last[i] == nil && !m.failed[i] {
		m.failed[i] = true
		poke(m.changed)
	}
}

// complete says whether every Source has published or failed.
func (m *merger) complete() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, s := range m.last {
		if s == nil && !m.failed[i] {
			return false
		}
	}
	return true
}

// ready says whether there is enough for the first View.
func (m *merger) ready() bool {
	complete := m.complete() // before want, which has then seen all of them
	return m.want() && complete
}

func (m *merger) isUrgent() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.urgent
}

// wait returns true when it is time for a View, false when ctx has ended. Until
// one was handed over nobody is served, so the first does not settle, but is
// there to have every Source in it.
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
		switch {
		case !handed && m.ready(), handed && m.isUrgent():
			return true
		case !handed && most == nil:
			most = time.After(firstMost)
		case handed && most == nil:
			most = time.After(settleMost)
		}
		if handed {
			quiet = time.After(settleQuiet)
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
	m.urgent = false
	var in rules.Input
	var problems []rules.Problem
	var services serviceSet
	wanted := m.wanted()
	first, disputes := precedence{make(map[string]*owner)}, several(m.last)
	for i, s := range m.last {
		if s == nil {
			continue
		}
		list := s.Rules
		if disputes {
			var lost []rules.Problem
			list, lost = first.admit(i, list)
			problems = append(problems, lost...)
		}
		in.Rules = append(in.Rules, list...)
		problems = append(problems, s.Warnings...)
		for i := range s.Services {
			p := services.add(&s.Services[i])
			// Who names what a Wanter finds may say with which options.
			if _, expected := wanted[s.Services[i].Name]; p != nil && !expected {
				problems = append(problems, *p)
			}
		}
	}
	in.Services = append(services.list, standIns(wanted, &services)...)
	return in, problems
}
