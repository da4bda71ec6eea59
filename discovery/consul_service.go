package discovery

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"

	"arzur.net/lb/rules"
)

const (
	// Each answer about the catalog holds all of it, so it is not looked at more often.
	catalogPace = 250 * time.Millisecond
	servicePace = 20 * time.Millisecond
	// catalogWait is short, because this is where it shows that the answering server
	// has lost its leader: as long as Consul holds answers back, it says nothing.
	catalogWait = time.Minute
	// catalogPause is what a catalog that is suddenly empty gets to come back: a
	// server that restarts may answer before it has read all it knows.
	catalogPause = time.Second
	servicePause = 200 * time.Millisecond
)

// consulService is what is known of a service that matters. It is Watch's.
type consulService struct {
	name    string        // never changed
	changed chan struct{} // holds one: it has been seen to change, by scouts alone
	index   atomic.Uint64 // of the newest answer to a service that is scouted, else 0

	cancel    context.CancelFunc
	outcome   consulOutcome    // of the question about it
	instances []consulInstance // by node and ID
	variants  []consulVariant  // of one label set each, if the catalog lists it
}

func newConsulService(name string) *consulService {
	return &consulService{name: name, changed: make(chan struct{}, 1)}
}

// followCatalog keeps an eye on which services there are; last are those of the cache.
func (w *consulWatch) followCatalog(last []string) {
	listed := false
	var problems []rules.Problem
	ask(w.ctx, w, question[map[string][]string]{
		what: "catalog",
		ask:  w.client.Catalog().Services,
		sizes: func(services map[string][]string) (before, now int) {
			return len(last), len(w.routed(services))
		},
		pause: catalogPause,
		pace:  catalogPace,
		wait:  catalogWait,
		anew:  w.changedAll, // equal indexes need not be of equal answers
		use: func(services map[string][]string) {
			poke(w.scout.now) // there is no news but of some service
			names, unread := w.routed(services), w.Config.misspelt(services)
			if slices.Equal(names, last) && slices.Equal(unread, problems) && listed {
				return
			}
			last, problems, listed = names, unread, true
			w.tell(func() {
				w.listing = consulHeard
				w.news = w.news || !slices.Equal(unread, w.unread)
				w.catalog, w.unread = names, unread
				w.watchServices()
			})
		},
		fail: func(err error) { w.tell(func() { w.listing.miss(err) }) },
	})
}

// routed are those services of the catalog that matter, sorted.
func (w *consulWatch) routed(services map[string][]string) (names []string) {
	for name, tags := range services {
		if name == "consul" {
			continue // Consul's own servers
		}
		if w.Config.Labels.ExposedByDefault || slices.ContainsFunc(tags, w.Config.routes) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// follow begins to keep an eye on the instances of one service.
func (w *consulWatch) follow(q consulQuery, s *consulService) {
	ctx, cancel := context.WithCancel(w.ctx)
	s.cancel = cancel
	had := len(s.instances)
	question := question[[]*api.ServiceEntry]{
		what:  q.String(),
		slots: w.slots,
		ask: func(o *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) {
			return w.readService(q, o)
		},
		sizes: func(entries []*api.ServiceEntry) (before, now int) { return had, len(entries) },
		pause: servicePause,
		pace:  servicePace,
		use: func(entries []*api.ServiceEntry) {
			had = len(entries)
			instances := w.Config.instances(entries)
			w.tell(func() {
				if ctx.Err() == nil { // else another one follows it by now
					w.take(s, q.name, instances)
				}
			})
		},
		fail: func(err error) { w.tell(func() { s.outcome.miss(err) }) },
	}
	if w.scouting && w.Config.isHome(q) {
		question.rest = func(index uint64) {
			s.index.Store(index)
			select {
			case <-s.changed:
			case <-ctx.Done():
			}
		}
	}
	w.running.Go(func() { ask(ctx, w, question) })
}

// readService asks for the instances of a service.
func (w *consulWatch) readService(q consulQuery, o *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) {
	o.Datacenter = cmp.Or(q.dc, o.Datacenter)
	o.Namespace = cmp.Or(q.namespace, o.Namespace)
	o.Partition = cmp.Or(q.partition, o.Partition)
	o.Filter = w.Config.Filter
	var tags []string
	if q.tags != "" {
		tags = strings.Split(q.tags, tagSeparator)
	}
	return w.client.Health().ServiceMultipleTags(q.name, tags, false, o)
}

// take takes over the instances of a service.
func (w *consulWatch) take(s *consulService, name string, instances []consulInstance) {
	asked := s.outcome != consulPending
	s.outcome = consulHeard
	if asked && slices.EqualFunc(s.instances, instances, func(a, b consulInstance) bool { return a.same(&b) }) {
		return
	}
	w.urgent = w.urgent || loses(s.instances, instances)
	s.instances = instances
	s.group(name)
	w.news = true
}
