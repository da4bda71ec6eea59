package discovery

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"
)

// Services that are more than connections are scouted: instead of one blocking
// query for each there are three for all, which say that something has changed,
// and a look at each service tells where. A look has no instances in its answer,
// so that it costs a fraction of reading them.
const (
	scouts = 16 // looks at the same time
	// scoutAgain is when all are looked at once more: what answers a look may be a
	// server that had yet to hear of the change.
	scoutAgain = 2 * time.Second
	// scoutEvery is how often all are looked at without a cause, because there are
	// changes that the three do not see: a node with another address.
	scoutEvery = time.Minute
	// scoutRest is the least time between two looks at all: where something changes
	// all the time, looking all the time gains nothing.
	scoutRest = 250 * time.Millisecond
	// scoutYield is how long the looks pause once the first change is found: most
	// often it is the only one, and to have it in the table comes first.
	scoutYield = 100 * time.Millisecond
	// noTag is a tag that no service has.
	noTag = "\x01"
)

// consulScout is what the goroutines that scout have in common.
type consulScout struct {
	now, later chan struct{} // hold one: all services are to be looked at
	services   atomic.Pointer[[]*consulService]
}

func newScout() *consulScout {
	s := &consulScout{now: make(chan struct{}, 1), later: make(chan struct{}, 1)}
	s.services.Store(new([]*consulService))
	return s
}

// isHome says whether a query is about the same datacenter and namespace as the
// catalog, where a scout can see it.
func (c *ConsulConfig) isHome(q consulQuery) bool {
	return (q.dc == "" || q.dc == c.Datacenter) && q.namespace == "" && q.partition == ""
}

// startScouting has services scouted from now on, until the run ends.
func (w *consulWatch) startScouting() {
	w.scouting = true
	for q, s := range w.services {
		s.cancel() // its query may take minutes yet
		w.follow(q, s)
	}
	w.running.Go(w.lookout)
	for _, status := range []string{api.HealthCritical, api.HealthWarning} {
		w.running.Go(func() { w.followChecks(status) })
	}
}

// scouted are the services that scouts are to look at.
func (w *consulWatch) scouted() []*consulService {
	list := make([]*consulService, 0, len(w.services))
	for q, s := range w.services {
		if w.Config.isHome(q) {
			list = append(list, s)
		}
	}
	return list
}

// lookout looks at all services when there is a cause, and now and then without.
func (w *consulWatch) lookout() {
	var again <-chan time.Time
	retry := consulRetryFirst
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-w.scout.later:
			if again == nil {
				again = time.After(scoutAgain)
			}
			continue
		case <-w.scout.now:
			again = time.After(scoutAgain)
		case <-again:
			again = nil
		case <-time.After(scoutEvery - rand.N(scoutEvery/5)):
		}
		const what = "look at all services"
		switch err := w.look(*w.scout.services.Load()); {
		case w.ctx.Err() != nil:
			return
		case err != nil:
			w.failed(what, err)
			w.pauseOrRecover(w.ctx, retry/2+rand.N(retry))
			retry = min(2*retry, consulRetryMost)
			poke(w.scout.now)
		default:
			w.recovered(what)
			retry = consulRetryFirst
			w.pauseOrRecover(w.ctx, scoutRest)
		}
	}
}

// look has those of the services read that have changed. It returns the first error.
func (w *consulWatch) look(services []*consulService) error {
	ctx, cancel := context.WithCancelCause(w.ctx)
	defer cancel(nil)
	next, found := make(chan *consulService), make(chan struct{}, len(services))
	var looks sync.WaitGroup
	for range min(scouts, len(services)) {
		looks.Go(func() { // ends with next
			for s := range next {
				changed, err := w.lookAt(ctx, s)
				if err != nil {
					cancel(err)
				} else if changed {
					found <- struct{}{}
				}
			}
		})
	}
	for yielded := false; len(services) > 0 && ctx.Err() == nil; {
		if !yielded && len(found) > 0 {
			yielded = true
			w.pauseOrRecover(ctx, scoutYield)
		}
		next <- services[0]
		services = services[1:]
	}
	close(next)
	looks.Wait()
	return context.Cause(ctx)
}

// lookAt has the service read again if its index is another.
func (w *consulWatch) lookAt(ctx context.Context, s *consulService) (changed bool, err error) {
	known := s.index.Load()
	if known == 0 {
		return false, nil // it is being read
	}
	o, err := w.Config.options()
	if err != nil {
		return false, err
	}
	o.AllowStale = w.Config.Stale
	ctx, cancel := context.WithTimeout(ctx, consulAnswer)
	defer cancel()
	_, meta, err := w.client.Health().ServiceMultipleTags(s.name, []string{noTag}, false, o.WithContext(ctx))
	if err != nil {
		return false, err
	}
	if changed = meta.LastIndex != known || w.Config.Stale && isStale(meta); changed {
		poke(s.changed)
	}
	return changed, nil
}

// failingCheck is a check with its state, without what it says.
type failingCheck struct{ node, service, id, status string }

// followChecks keeps an eye on the checks that are in one state, which are few, and
// has those services read whose checks come to be in it or leave it.
func (w *consulWatch) followChecks(status string) {
	last := map[failingCheck]bool{}
	ask(w.ctx, w, question[api.HealthChecks]{
		what: status + " checks",
		ask: func(o *api.QueryOptions) (api.HealthChecks, *api.QueryMeta, error) {
			return w.client.Health().State(status, o)
		},
		sizes: func(api.HealthChecks) (before, now int) { return 0, 0 }, // what they are about is read before it counts
		pace:  servicePace,
		use: func(checks api.HealthChecks) {
			now := make(map[failingCheck]bool, len(checks))
			for _, c := range checks {
				now[failingCheck{c.Node, c.ServiceName, c.CheckID, c.Status}] = true
			}
			names := map[string]bool{}
			for _, pair := range [][2]map[failingCheck]bool{{last, now}, {now, last}} {
				for c := range pair[0] {
					if !pair[1][c] {
						names[c.service] = true
					}
				}
			}
			last = now
			w.changed(names)
		},
		fail: func(error) {},
	})
}

// changed has the services of these names read; all are looked at if there is one
// without a name, which stands for a node.
func (w *consulWatch) changed(names map[string]bool) {
	if len(names) == 0 {
		return
	}
	for _, s := range *w.scout.services.Load() {
		if names[s.name] {
			poke(s.changed)
		}
	}
	if names[""] {
		poke(w.scout.now)
	}
	poke(w.scout.later)
}

// changedAll has all services read that are scouted.
func (w *consulWatch) changedAll() {
	for _, s := range *w.scout.services.Load() {
		poke(s.changed)
	}
}
