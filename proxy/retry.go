package proxy

import (
	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// May we try again? This file is the only one that answers.
//
//	what happened                          nothing sent   sent, replayable   sent, not replayable
//	no connection                          next Target    next Target        -
//	reused connection died unanswered      -              same Target, new   answer 502
//	new connection died unanswered         -              next Target *      answer 502
//	no answer in time, broken answer       -              answer             answer
//
// Replayable: an idempotent method (RFC 9110 section 9.2.2) whose bytes are all
// still in the buffer. * counts against `retries`, and spends the Pool's retry
// budget, so that a sick service is not hit twice as hard. A connection that was
// not to be had costs the service nothing: each Target is tried, up to maxTries.
// Where none is left the Exchange may be held; see hold.go.

// attemptFailed ends the present Attempt and decides what follows.
func (x *Exchange) attemptFailed(o health.Outcome, f *failure, detail string) {
	u := x.up
	reused := u != nil && u.served > 0
	x.dropUpstream()
	x.dropPipes()
	x.failed, x.detail = f, detail
	switch {
	case x.stage >= stageRespond:
		x.settleBackend(o)
		x.cut(f, detail)
		return
	case o == health.Broken && reused && x.replayable():
		// It had gone stale: no verdict on the Backend, and it is asked once more.
		x.core.stats.retries.inc()
		x.fresh = true
		x.attempts++
		x.connect()
		return
	case o == health.Refused, o == health.Broken && x.mayRepeat():
		x.settleBackend(o)
		x.next()
		return
	}
	x.settleBackend(o)
	x.fail(f, detail)
}

// next goes on to a Target that was not tried yet.
func (x *Exchange) next() {
	if x.ntried == maxTries {
		x.nobody()
		return
	}
	x.tried[x.ntried] = x.target.Backend
	x.ntried++
	x.attempt()
}

func (x *Exchange) replayable() bool { return x.replay && x.method.idempotent() }

// mayRepeat says whether what a Backend has left unanswered may be sent to
// another, and counts it.
func (x *Exchange) mayRepeat() bool {
	retries := x.state.opts.Retries
	if r := x.pool.Retries; r != nil {
		retries = *r
	}
	if !x.replayable() || x.repeats >= min(retries, maxTries-1) || !x.core.budget(x.pool).spend() {
		return false
	}
	x.repeats++
	return true
}

// budget bounds how much of a Pool's traffic may be repeated after something
// was sent: a share of its requests, with a reserve for a burst such as one
// server's death.
type budget struct {
	tokens int64 // hundredths of a retry
}

// budgetReserve is the burst: more than the connections of a busy Loop to one server.
const budgetReserve = 256 * 100

func (k *core) budget(p *rules.Pool) *budget {
	b := k.budgets[p]
	if b == nil {
		b = &budget{tokens: budgetReserve}
		k.budgets[p] = b
	}
	return b
}

// earn counts one request: share percent of a retry.
func (b *budget) earn(share int64) { b.tokens = min(b.tokens+share, budgetReserve) }

func (b *budget) spend() bool {
	if b.tokens < 100 {
		return false
	}
	b.tokens -= 100
	return true
}
