package discovery

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	// A query that failed is repeated after consulRetryFirst, doubled up to
	// consulRetryMost, each give or take a half.
	consulRetryFirst = 250 * time.Millisecond
	consulRetryMost  = 10 * time.Second
	// consulLag is how far behind its leader the server of a stale answer may be.
	consulLag = 10 * time.Second
	// consulAnswer is how long an answer may take that Consul does not hold back.
	consulAnswer = 10 * time.Second
	// consulTurn is how long a query waits when there are more than connections and
	// no scout can tell which has something to wait for.
	consulTurn = 2 * time.Second
	// consulGrace is how long a successor waits for what Consul answers with an
	// error: that may be for good, as where the datacenter is gone. It spans several
	// retries, and is less than a hand-over waits for what is silent.
	consulGrace = 8 * time.Second
)

// consulOutcome is what has become of a question so far.
type consulOutcome int

const (
	consulPending consulOutcome = iota
	consulFailed                // there was no answer, which says nothing
	consulRefused               // the answer was an error
	consulHeard                 // there was an answer, once
)

// miss notes an error in the place of an answer.
func (o *consulOutcome) miss(err error) {
	if *o == consulHeard {
		return
	}
	*o = consulFailed
	if errors.As(err, new(api.StatusError)) {
		*o = consulRefused
	}
}

var (
	errNoLeader = errors.New("the answering server knows no leader")
	errFiltered = errors.New("everything is gone because the token may no longer read it")
)

// question is a blocking query that is asked again and again.
type question[T any] struct {
	what  string // for logs: "catalog", "service blog"
	slots chan struct{}
	ask   func(*api.QueryOptions) (T, *api.QueryMeta, error)
	// sizes are how much there is, and how much the answer leaves. One that removes all
	// of it, or more than half of much, counts
	// when the leader confirms it after a pause.
	sizes func(T) (before, now int)
	pause time.Duration
	// pace is the least time between two queries: where things change all the
	// time, looking all the time gains nothing.
	pace time.Duration
	wait time.Duration // how long Consul may hold an answer back, at most; 0: consulWait
	use  func(T)
	fail func(error) // called when there is no answer
	// anew, if set, is called before use when Consul may count anew: after a failure,
	// and when the index went backwards.
	anew func()
	// rest, if set, returns when it is time to ask again, given the index of the
	// answer: no query waits at Consul then.
	rest func(index uint64)
}

// ask asks until ctx ends. An answer may be handed over that says nothing new.
func ask[T any](ctx context.Context, w *consulWatch, q question[T]) {
	var index uint64
	lost := false
	retry := consulRetryFirst
	for ctx.Err() == nil {
		next := time.After(q.pace)
		answer, meta, err := q.patiently(ctx, w, index)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			w.failed(q.what, err)
			q.fail(err)
			index, lost = 0, true // what there is now, not what comes after something forgotten
			w.pauseOrRecover(ctx, retry/2+rand.N(retry))
			retry = min(2*retry, consulRetryMost)
			continue
		}
		w.recovered(q.what)
		retry = consulRetryFirst
		if (lost || meta.LastIndex < index) && q.anew != nil {
			q.anew()
		}
		waited := index
		index, lost = nextIndex(index, meta.LastIndex), false
		if waited == 0 || meta.LastIndex != waited { // else it is what there was
			q.use(answer)
		}
		select {
		case <-next:
		case <-ctx.Done():
		}
		if q.rest != nil {
			q.rest(meta.LastIndex)
			index = 0
		}
	}
}

// nextIndex is what to wait for after an answer: below 1 would not wait, and an
// index that went backwards says that Consul counts anew.
func nextIndex(last, got uint64) uint64 {
	switch {
	case got < 1:
		return 1
	case got < last:
		return 0
	}
	return got
}

// patiently asks for what comes after index, and makes sure of an answer that
// would remove everything.
func (q *question[T]) patiently(ctx context.Context, w *consulWatch, index uint64) (T, *api.QueryMeta, error) {
	answer, meta, err := q.once(ctx, w, index, w.Config.Stale)
	if err == nil && w.Config.Stale && isStale(meta) {
		answer, meta, err = q.once(ctx, w, 0, false)
	}
	if err != nil || !shrinks(q.sizes(answer)) {
		return answer, meta, err
	}
	select {
	case <-ctx.Done():
		return answer, meta, ctx.Err()
	case <-time.After(q.pause/2 + rand.N(q.pause)):
	}
	answer, meta, err = q.once(ctx, w, 0, false)
	if before, now := q.sizes(answer); err == nil && before > 0 && now == 0 && meta.ResultsFilteredByACLs {
		err = errFiltered
	}
	return answer, meta, err
}

// fewLost is how many may go at once although they are most of what there is.
const fewLost = 4

// shrinks says whether so much is gone that it takes more than one answer to believe it.
func shrinks(before, now int) bool {
	lost := before - now
	return lost > 0 && (now == 0 || lost > fewLost && lost > before/2)
}

// isStale says whether a server lags too far behind for its answer to count.
func isStale(m *api.QueryMeta) bool { return m.LastContact > consulLag || !m.KnownLeader }

// once asks one time. With index 0 the answer comes at once.
func (q *question[T]) once(ctx context.Context, w *consulWatch, index uint64, stale bool) (answer T, meta *api.QueryMeta, err error) {
	if q.slots != nil {
		select {
		case q.slots <- struct{}{}:
			defer func() { <-q.slots }()
		case <-ctx.Done():
			return answer, nil, ctx.Err()
		}
	}
	o, err := w.Config.options()
	if err != nil {
		return answer, nil, err
	}
	o.WaitIndex, o.AllowStale = index, stale
	patience := consulAnswer
	if index > 0 {
		wait := cmp.Or(q.wait, consulWait)
		o.WaitTime = wait - rand.N(wait/5)
		if q.slots != nil && w.waiters.Load() > int64(cap(q.slots)) {
			o.WaitTime = consulTurn
		}
		patience += o.WaitTime + o.WaitTime/8 // Consul adds up to a sixteenth of its own
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer, meta, err = q.ask(o.WithContext(ctx))
	if err == nil && !stale && !meta.KnownLeader {
		err = errNoLeader // a server of Consul would have said so by a status
	}
	return answer, meta, err
}
