package proxy

import (
	"slices"
	"time"

	"arzur.net/lb/rules"
)

// queue holds the Exchanges that wait on one Loop for a place in a Pool, first
// come, first served.
type queue struct{ waiting []*Exchange }

func (k *core) enqueue(x *Exchange) {
	q := k.queues[x.pool]
	if q == nil {
		q = &queue{}
		k.queues[x.pool] = q
	}
	if len(q.waiting) >= x.queueLength() {
		x.fail(&failures[queueFull], "")
		return
	}
	q.waiting = append(q.waiting, x)
	x.stage = stageQueued
	for _, t := range x.pool.Targets {
		t.Backend.Wait(1)
	}
	k.stats.queued.add(1)
	x.deadline(int64(x.queueTimeout()))
	// A place may have come free between Pick and Wait, unseen by its giver.
	k.proxy.wakeQueues()
}

// queueLength bounds how many Exchanges of a Pool may wait in one Loop.
func (x *Exchange) queueLength() int {
	if max := x.pool.QueueLength; max > 0 {
		return max
	}
	return x.state.opts.QueueLength
}

// queueTimeout is how long an Exchange may wait.
func (x *Exchange) queueTimeout() time.Duration {
	if d := x.pool.QueueTimeout; d > 0 {
		return d
	}
	return x.state.opts.QueueTimeout
}

// dequeue takes x out of its queue, wherever it stands.
func (k *core) dequeue(x *Exchange) {
	if x.held {
		k.release(x)
		return
	}
	q := k.queues[x.pool]
	if q == nil || !slices.Contains(q.waiting, x) {
		return // it has come to its end before it came to a queue
	}
	q.waiting = slices.DeleteFunc(q.waiting, func(w *Exchange) bool { return w == x })
	k.left(x.pool)
	if len(q.waiting) == 0 {
		delete(k.queues, x.pool)
	}
}

func (k *core) left(p *rules.Pool) {
	for _, t := range p.Targets {
		t.Backend.Wait(-1)
	}
	k.stats.queued.add(-1)
}

// runQueues starts those that can be served now.
func (k *core) runQueues() {
	k.proxy.queueWake[k.number].Store(false)
	for pool, q := range k.queues {
		for len(q.waiting) > 0 {
			x := q.waiting[0]
			t, res := pool.Pick(k.loop.Now(), x.tried[:x.ntried])
			if res == rules.AllFull {
				break
			}
			k.dequeue(x)
			if res != rules.Picked {
				x.nobody()
				continue
			}
			x.take(t)
		}
	}
}

// wakeQueues tells every Loop that a place has come free.
func (p *Proxy) wakeQueues() {
	for i, k := range p.cores {
		if !p.queueWake[i].Swap(true) {
			k.loop.Post(k.queueRun)
		}
	}
}
