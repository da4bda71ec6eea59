package health

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// maxProbes bounds the probes under way. A probe that is answered takes about
// a millisecond, so this matters only when very many servers are silent at
// once; it keeps them from eating the descriptors that traffic needs.
const maxProbes = 512

// Use is one Backend to check, how, for which service (for the log), and how the
// server is spoken to.
type Use struct {
	Backend   *Backend
	Check     *Check
	Service   string
	Transport Transport
}

// Checker runs active checks: one goroutine that keeps the schedule, and one
// per probe under way. What it finds out lives on the Backends.
type Checker struct {
	// OnChange, if set before Run, is told of each Backend that goes down or
	// comes up, from several goroutines at once.
	OnChange func(b *Backend, down bool, v *Verdict)

	log     *zap.Logger
	changed chan struct{} // holds one: the head of the queue may be another
	slots   chan struct{}
	starved atomic.Bool // probes are failing for reasons of our own
	probe   func(context.Context, *probe) error

	mu    sync.Mutex
	jobs  map[*Backend]*job
	queue queue
}

// NewChecker returns a Checker with nothing to check.
func NewChecker(log *zap.Logger) *Checker {
	return &Checker{
		log:     log,
		changed: make(chan struct{}, 1),
		slots:   make(chan struct{}, maxProbes),
		probe:   func(ctx context.Context, p *probe) error { return p.run(ctx) },
		jobs:    make(map[*Backend]*job),
	}
}

// Set replaces the set of checked Backends. One that was in it keeps its
// schedule; a new one is probed within a second. Uses without a Check are
// skipped, and of several Uses of one Backend the first counts. Safe from any
// goroutine, before and during Run.
func (c *Checker) Set(uses []Use) {
	now := Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	wanted := make(map[*Backend]bool, len(uses))
	for _, u := range uses {
		if u.Check == nil || wanted[u.Backend] {
			continue
		}
		wanted[u.Backend] = true
		if j := c.jobs[u.Backend]; j != nil {
			j.service, j.gone = u.Service, false
			continue
		}
		c.start(u, now)
	}
	for b, j := range c.jobs {
		if wanted[b] {
			continue
		}
		if j.index == notQueued {
			j.gone = true
			continue
		}
		c.queue.remove(j)
		delete(c.jobs, b)
	}
	c.signal()
}

func (c *Checker) start(u Use, now int64) {
	p, err := newProbe(u.Backend.Addr, u.Check, &u.Transport)
	if err != nil {
		c.log.Error("server is not checked", zap.Stringer("backend", u.Backend.Addr),
			zap.String("service", u.Service), zap.Error(err))
		return
	}
	j := &job{backend: u.Backend, service: u.Service, probe: p}
	j.due = now + int64(j.first())
	c.jobs[u.Backend] = j
	c.queue.add(j)
}

// Run keeps the schedule until ctx ends, and returns when no probe is left.
func (c *Checker) Run(ctx context.Context) {
	var probes sync.WaitGroup
	defer probes.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.changed:
		case <-timer.C:
		}
		for j := c.take(Now()); j != nil; j = c.take(Now()) {
			select {
			case c.slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			probes.Go(func() {
				defer func() { <-c.slots }()
				c.check(ctx, j)
			})
		}
		timer.Reset(c.pause(Now()))
	}
}

// take removes the job that is due, nil if none is.
func (c *Checker) take(now int64) *job {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 || c.queue[0].due > now {
		return nil
	}
	return c.queue.take()
}

// pause is how long nothing will be due.
func (c *Checker) pause(now int64) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return time.Hour // Set ends it
	}
	return time.Duration(c.queue[0].due - now)
}

// check makes one probe and enters what it found.
func (c *Checker) check(ctx context.Context, j *job) {
	begun := Now()
	err := c.probe(ctx, j.probe)
	now := Now()
	if ctx.Err() != nil {
		return // cut short: no verdict
	}
	service, gone := c.stillWanted(j)
	if !gone && !c.ours(err) {
		c.enter(j, service, now, time.Duration(now-begun), err)
	}
	c.finish(j, now)
}

// enter writes the result down before the job is queued again, so that each
// Backend has one writer at a time.
func (c *Checker) enter(j *job, service string, now int64, took time.Duration, err error) {
	v := Verdict{At: now}
	if err != nil {
		v.Reason = err.Error()
	}
	proven := j.probe.request != nil
	if s, changed := j.backend.judge(v, took, &j.probe.check, proven); changed {
		c.report(j.backend, service, s)
	}
}

func (c *Checker) stillWanted(j *job) (service string, gone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return j.service, j.gone
}

// finish puts the job back into the queue, or forgets it.
func (c *Checker) finish(j *job, now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if j.gone {
		delete(c.jobs, j.backend)
		return
	}
	j.runs++
	j.due = j.next(now)
	c.queue.add(j)
	if j.index == 0 {
		c.signal()
	}
}

// ours says whether the probe failed on our side, and logs when that begins.
func (c *Checker) ours(err error) bool {
	if !errors.Is(err, errOurs) {
		c.starved.Store(false)
		return false
	}
	if !c.starved.Swap(true) {
		c.log.Error("health checks are not possible; servers keep their state", zap.Error(err))
	}
	return true
}

func (c *Checker) report(b *Backend, service string, s *Status) {
	log, text := c.log.Info, "server is up"
	if s.Down {
		log, text = c.log.Warn, "server is down"
	}
	log(text, zap.Stringer("backend", b.Addr), zap.String("service", service),
		zap.String("reason", s.Last.Reason))
	if c.OnChange != nil {
		c.OnChange(b, s.Down, &s.Last)
	}
}

// signal makes Run look at the queue again.
func (c *Checker) signal() {
	select {
	case c.changed <- struct{}{}:
	default: // it is going to look anyway
	}
}
