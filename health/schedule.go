package health

import (
	"container/heap"
	"hash/crc32"
	"math/rand/v2"
	"time"
)

// job is one checked Backend in the Checker. Checker.mu guards it, except for
// probe, which never changes.
type job struct {
	backend *Backend
	service string
	probe   *probe
	due     int64 // Now when the next probe should start
	runs    int   // probes ended so far
	index   int   // in the queue; notQueued while a probe runs
	gone    bool  // no longer checked: forget it when its probe ends
}

const notQueued = -1

// firstWithin bounds how long a new server waits for its first probe, whatever
// its interval: a dead one should leave before many requests have met it.
const firstWithin = time.Second

// first is the wait before a new Backend's first probe.
func (j *job) first() time.Duration {
	return j.share(min(j.probe.check.Interval, firstWithin))
}

// next is the time of the probe after one that was due at j.due. The second
// probe takes the Backend's own place in the interval, which undoes the crowd
// of first ones; the others follow at the interval, give or take 5 %, so that
// checks do not march in step. now bounds it from below: lost time stays lost.
func (j *job) next(now int64) int64 {
	interval := j.probe.check.Interval
	wait := interval - interval/20 + rand.N(interval/10)
	if j.runs == 1 {
		wait = max(j.share(interval), interval/10)
	}
	return max(j.due+int64(wait), now)
}

// share is a part of d that is always the same for this Backend and evenly
// spread over all.
func (j *job) share(d time.Duration) time.Duration {
	h := crc32.ChecksumIEEE([]byte(j.backend.Addr.String() + " " + j.backend.Check))
	return time.Duration(float64(d) * float64(h) / (1 << 32))
}

// queue is a heap of jobs, the next due first.
type queue []*job

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due < q[j].due }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push and Pop are for container/heap.
func (q *queue) Push(x any) {
	j := x.(*job)
	j.index = len(*q)
	*q = append(*q, j)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	j := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	j.index = notQueued
	return j
}

func (q *queue) add(j *job)    { heap.Push(q, j) }
func (q *queue) remove(j *job) { heap.Remove(q, j.index) }
func (q *queue) take() *job    { return heap.Pop(q).(*job) }
