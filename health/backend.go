package health

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// base is the zero of Now.
var base = time.Now()

// Now is the clock that every health decision uses: monotonic nanoseconds
// since the program started, never zero. Wall clock steps do not move it.
func Now() int64 { return int64(time.Since(base)) + 1 }

// Time turns a reading of Now into a wall clock time, for people.
func Time(now int64) time.Time { return base.Add(time.Duration(now - 1)) }

// Outcome is how one Attempt at a Backend ended, as far as its health goes.
type Outcome uint8

const (
	// Served: a complete, well-formed response arrived, whatever its status.
	Served Outcome = iota
	// Refused: no connection, or none in time. Nothing was sent.
	Refused
	// Broken: the connection died or talked nonsense before or inside a response.
	Broken
	// Slow: no response head in time.
	Slow
	// Unjudged: the Attempt ended for reasons that say nothing about the Backend
	// (the client left, a reused connection had gone stale).
	Unjudged
)

// Key names a Backend: the same address under two checks, or spoken to in two
// ways, is two facts.
type Key struct {
	Addr      netip.AddrPort
	Check     string // canonical text of the active check, "" without one
	Transport string // canonical text of the Transport, "" for a bare connection
}

// Backend is the live record of one address: in flight, failures, up or down.
// It outlives Tables. Loops read and write it without locks; the checker and
// the admin API may do so at the same time.
type Backend struct {
	Key

	inFlight atomic.Int32
	waiting  atomic.Int32 // exchanges queued for a place here; see Waiting
	down     atomic.Bool  // by active check
	fails    atomic.Int32 // consecutive failures of live traffic
	rounds   atomic.Int32 // consecutive ejections, for the growing back-off
	ejected  atomic.Int64 // Now until which live traffic stays away, 0 if none
	trial    atomic.Bool  // ejected is for the time of one Attempt, which may end it
	reason   atomic.Pointer[Verdict]
	seen     atomic.Int64           // Now when a Table last named it
	status   atomic.Pointer[Status] // the active check's book
}

// Verdict is what is known of a Backend's health, in words.
type Verdict struct {
	At     int64  // Now when it was reached
	Reason string // "connect: connection refused", "status 500, want 200-399", "ok"
}

// Passive ejection: three failures in a row, because one may be chance and two
// may be one restart seen by two loops; then a second, doubled up to a minute.
// Afterwards one Attempt finds out how things stand, while the others go on to
// keep away: where connections are lost in silence each would wait for
// connect_timeout. If it is not decided in trialTime, which is longer than the
// default of that, the next one tries.
const (
	ejectAfter   = 3
	ejectFirst   = int64(time.Second)
	ejectLongest = int64(time.Minute)
	trialTime    = int64(3 * time.Second)
)

// Usable says whether the Backend may get a request now. It is the only place
// that decides this.
func (b *Backend) Usable(now int64) bool {
	if b.down.Load() {
		return false
	}
	e := b.ejected.Load()
	return e == 0 || now >= e
}

// TryBegin claims a place for one Attempt. It fails when max places are taken;
// max 0 means no limit. Every successful TryBegin is followed by exactly one Done.
// The first after an ejection is a trial: until it is decided, the Backend is not
// Usable.
func (b *Backend) TryBegin(max int32, now int64) bool {
	if n := b.inFlight.Add(1); max > 0 && n > max {
		b.inFlight.Add(-1)
		return false
	}
	if e := b.ejected.Load(); e != 0 && now >= e && b.ejected.CompareAndSwap(e, now+trialTime) {
		b.trial.Store(true)
	}
	return true
}

// Answered says that an Attempt has met with an answer, however it will end: a
// trial is over. It returns true when that lets somebody in who waits for a place.
func (b *Backend) Answered() (wake bool) {
	if !b.trial.Load() || !b.trial.CompareAndSwap(true, false) {
		return false
	}
	b.ejected.Store(0)
	return b.waiting.Load() > 0
}

// Done gives the place back and reports how the Attempt went. It returns true
// when somebody waits for a place on this Backend.
func (b *Backend) Done(o Outcome, now int64) (wake bool) {
	b.inFlight.Add(-1)
	switch o {
	case Served:
		if b.fails.Load() != 0 {
			b.fails.Store(0)
		}
		if b.rounds.Load() != 0 {
			b.rounds.Store(0)
			b.trial.Store(false)
			b.ejected.Store(0)
		}
	case Refused, Broken, Slow:
		b.failed(o, now)
	}
	return b.waiting.Load() > 0
}

func (b *Backend) failed(o Outcome, now int64) {
	n := b.fails.Add(1)
	// After an ejection has run out one more failure is enough: the Backend is on trial.
	if n < ejectAfter && b.rounds.Load() == 0 {
		return
	}
	onTrial := b.trial.Swap(false)
	if b.ejected.Load() > now && !onTrial {
		return // already out; stragglers do not prolong it
	}
	round := min(b.rounds.Add(1), 7)
	pause := min(ejectFirst<<(round-1), ejectLongest)
	b.ejected.Store(now + pause)
	b.reason.Store(&Verdict{At: now, Reason: "ejected for " + time.Duration(pause).String() + ": " + o.String()})
}

// String is the outcome as logs and metrics spell it.
func (o Outcome) String() string {
	return [...]string{"served", "connection refused", "broken response", "no response in time", "unjudged"}[o]
}

// Wait counts one Exchange in (+1) or out (-1) of the queue for this Backend.
func (b *Backend) Wait(delta int32) { b.waiting.Add(delta) }

// InFlight is the number of Attempts under way.
func (b *Backend) InFlight() int { return int(b.inFlight.Load()) }

// Ejected is the Now until which live traffic stays away, 0 if it does not.
func (b *Backend) Ejected(now int64) int64 {
	if e := b.ejected.Load(); e > now {
		return e
	}
	return 0
}

// Ejections is how many times in a row live traffic has found the Backend
// failing; 0 once it has answered again.
func (b *Backend) Ejections() int { return int(b.rounds.Load()) }

// Down says whether the active check has marked the Backend down.
func (b *Backend) Down() bool { return b.down.Load() }

// Verdict is the newest judgement, nil before the first.
func (b *Backend) Verdict() *Verdict { return b.reason.Load() }

// SetDown is the checker's: it marks the Backend down or up, with the reason.
// Marking it up also ends a passive ejection.
func (b *Backend) SetDown(down bool, v *Verdict) {
	b.down.Store(down)
	b.reason.Store(v)
	if !down {
		b.fails.Store(0)
		b.rounds.Store(0)
		b.trial.Store(false)
		b.ejected.Store(0)
	}
}
