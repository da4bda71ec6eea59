package health

import "time"

// Phase is what an orchestrator wants to know of a checked server. Routing
// looks at Backend.Usable alone.
type Phase uint8

const (
	// Initializing: no check has passed yet, and it is early days.
	Initializing Phase = iota
	// Healthy: the checks pass.
	Healthy
	// Unhealthy: marked down, or not up in time.
	Unhealthy
	// Reinitializing: it was healthy, went down, and its checks pass again, though not often enough yet.
	Reinitializing
)

// String is the Phase as Rancher spells it.
func (p Phase) String() string {
	return [...]string{"initializing", "healthy", "unhealthy", "reinitializing"}[p]
}

// Status is the book an active check keeps of one Backend. It is immutable.
type Status struct {
	Phase  Phase
	Since  int64 // Now when the Phase began
	Down   bool
	Passed uint64        // checks passed since the Backend exists
	Failed uint64        // checks failed
	Streak int           // passes in a row, negative for failures
	Last   Verdict       // the newest result; Reason "" before the first
	Took   time.Duration // by the newest check
}

// after is the Status that follows s once a check has ended with v, its reason
// "" for a pass.
func (s Status) after(v Verdict, took time.Duration, c *Check) Status {
	first := s.Passed+s.Failed == 0
	passed := v.Reason == ""
	if passed {
		v.Reason = ok
		s.Passed++
		s.Streak = max(s.Streak, 0) + 1
	} else {
		s.Failed++
		s.Streak = min(s.Streak, 0) - 1
	}
	s.Last, s.Took = v, took
	switch {
	case s.Down && s.Streak >= c.HealthyThreshold:
		s.Down = false
	case !s.Down && !passed && (first || -s.Streak >= c.UnhealthyThreshold):
		// Nothing speaks for a server that fails its very first check.
		s.Down = true
	}
	if p := s.phase(v.At, c); p != s.Phase {
		s.Phase, s.Since = p, v.At
	}
	return s
}

// ok is the reason of a passed check.
const ok = "ok"

func (s *Status) phase(now int64, c *Check) Phase {
	age := time.Duration(now - s.Since)
	switch {
	case !s.Down:
		return Healthy
	case s.Phase == Initializing && age < c.Initializing:
		return Initializing
	case s.Phase == Reinitializing && age < c.Reinitializing:
		return Reinitializing
	case s.Phase == Unhealthy && s.Streak == 1:
		return Reinitializing
	default:
		return Unhealthy
	}
}

// Status is the newest of the active check, nil without one.
func (b *Backend) Status() *Status { return b.status.Load() }

// State sums the Backend up for people: "up", "down" by active check, or
// "ejected" by live traffic.
func (b *Backend) State(now int64) string {
	switch {
	case b.Down():
		return "down"
	case b.Ejected(now) != 0:
		return "ejected"
	default:
		return "up"
	}
}

// expect opens the book of a Backend that is going to be checked.
func (b *Backend) expect(down bool, now int64) {
	b.status.Store(&Status{Phase: Initializing, Since: now, Down: down})
	if down {
		b.SetDown(true, &Verdict{At: now, Reason: "no check has passed yet"})
	}
}

// judge enters one result and reports whether it took the Backend up or down.
// proven says that a pass shows more than an open port: such a pass also ends
// a passive ejection, which a mere connect must not do.
func (b *Backend) judge(v Verdict, took time.Duration, c *Check, proven bool) (s *Status, changed bool) {
	old := b.status.Load()
	if old == nil {
		old = &Status{Since: v.At}
	}
	next := old.after(v, took, c)
	b.status.Store(&next)
	switch changed = next.Down != b.down.Load(); {
	case changed:
		b.SetDown(next.Down, &next.Last)
	case b.Ejected(v.At) == 0:
		b.reason.Store(&next.Last)
	case proven && v.Reason == "":
		b.SetDown(false, &next.Last)
	}
	return &next, changed
}
