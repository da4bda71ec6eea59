package proxy

import (
	"slices"
	"time"
)

// While servers are replaced there may be a moment without any. An Exchange that
// no Target of its Pool could take, and of which no Backend has seen more than
// may be repeated, waits for that moment to pass: for a new Table with another
// Target, or for the Targets there are to come back.

// Those that are held try again as soon as there is a new Table; and now and
// then, since a server may listen a while after it was announced: soon at first,
// more rarely the longer they have waited, so that many of them are no storm.
const (
	holdTriesAtOnce = int64(time.Millisecond) // the new Table was there before the wait began
	holdTriesFirst  = int64(50 * time.Millisecond)
	holdTriesLast   = int64(500 * time.Millisecond)
)

// hold has x wait. It is false where nothing is to be expected, or x has waited
// for long enough.
func (k *core) hold(x *Exchange) bool {
	most := x.holdTime()
	if most == 0 || !x.replay || k.draining || x.client.lst.closed.Load() {
		return false // no Table comes for a listener that has ended
	}
	now := k.loop.Now()
	if x.heldFrom == 0 {
		x.heldFrom, x.known = now, x.state
	}
	waited := now - x.heldFrom
	left := most - waited
	if left <= 0 || k.heldFor[x.pool] >= x.queueLength() {
		return false
	}
	x.stage, x.held = stageQueued, true
	x.ntried = 0
	k.held = append(k.held, x)
	k.heldFor[x.pool]++
	k.stats.queued.add(1)
	pause := max(holdTriesFirst, min(waited/4, holdTriesLast))
	if x.known != x.client.lst.state.Load() {
		pause = holdTriesAtOnce
	}
	x.deadline(min(left, pause))
	return true
}

// holdTime is how long x may be held. What others give back soon is waited for as
// a place on a Backend is.
func (x *Exchange) holdTime() int64 {
	if x.failed == &failures[exhausted] {
		return max(int64(x.queueTimeout()), int64(x.pool.Hold))
	}
	return int64(x.pool.Hold)
}

// release ends the wait of x.
func (k *core) release(x *Exchange) {
	if k.held[0] == x { // it mostly is
		k.held[0] = nil
		k.held = k.held[1:]
	} else {
		i := slices.Index(k.held, x)
		k.held = slices.Delete(k.held, i, i+1)
	}
	if k.heldFor[x.pool]--; k.heldFor[x.pool] == 0 {
		delete(k.heldFor, x.pool)
	}
	x.held = false
	k.stats.queued.add(-1)
}

// runHeld has all that are held try again, those first who came first.
func (k *core) runHeld() {
	for range len(k.held) { // who goes on waiting stands behind these
		k.resume(k.held[0])
	}
}

// resume has x try again, by the rules of the Table in use.
func (k *core) resume(x *Exchange) {
	k.release(x)
	if x.giveUp > 0 && k.loop.Now() >= x.giveUp {
		x.fail(&failures[totalTimeout], "")
		return
	}
	if state := x.client.lst.state.Load(); state != x.known {
		x.known = state
		next := state.table.Successor(x.entry)
		if next == nil {
			x.unserved()
			return
		}
		x.entry, x.pool, x.target = next, next.Pool, nil // one that was tried is not of this Pool
	}
	x.attempt()
}

// nobody has an Exchange that no Target can take wait for one, or ends it.
func (x *Exchange) nobody() {
	if !x.core.hold(x) {
		x.unserved()
	}
}

// unserved ends an Exchange that no Target can take.
func (x *Exchange) unserved() {
	if x.failed != nil { // what the last Attempt met with says more
		x.fail(x.failed, x.detail)
		return
	}
	x.fail(&failures[noBackend], "")
}
