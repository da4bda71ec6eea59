package discovery

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	// Each answer about the catalog holds all of it, so it is not looked at more often.
	catalogPace = 250 * time.Millisecond
	servicePace = 20 * time.Millisecond
	// catalogPause is what a catalog that is suddenly empty gets to come back: a
	// server that restarts may answer before it has read all it knows.
	catalogPause = time.Second
	servicePause = 200 * time.Millisecond
)

// consulService is what is known of a service that matters. It is Watch's.
type consulService struct {
	cancel    context.CancelFunc
	answered  bool
	instances []consulInstance // by node and ID
	variants  []consulVariant  // of one label set each, if the catalog lists it
}

// followCatalog keeps an eye on which services there are.
func (w *consulWatch) followCatalog() {
	first := true
	var last []string
	ask(w.ctx, w, question[map[string][]string]{
		what: "catalog",
		ask:  w.client.Catalog().Services,
		wipes: func(services map[string][]string) bool {
			return len(last) > 0 && len(w.routed(services)) == 0
		},
		pause: catalogPause,
		pace:  catalogPace,
		use: func(services map[string][]string) {
			names := w.routed(services)
			if slices.Equal(names, last) && !first {
				return
			}
			last = names
			w.tell(func() {
				w.heard(&first)
				w.catalog = names
				w.watchServices()
			})
		},
		fail: func() { w.tell(func() { w.heard(&first) }) },
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

// followService keeps an eye on the instances of one service.
func (w *consulWatch) followService(ctx context.Context, q consulQuery, s *consulService) {
	had := false
	health := w.client.Health()
	ask(ctx, w, question[[]*api.ServiceEntry]{
		what:  q.String(),
		slots: w.slots,
		ask: func(o *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) {
			o.Datacenter = cmp.Or(q.dc, o.Datacenter)
			o.Namespace = cmp.Or(q.namespace, o.Namespace)
			o.Partition = cmp.Or(q.partition, o.Partition)
			o.Filter = w.Config.Filter
			var tags []string
			if q.tags != "" {
				tags = strings.Split(q.tags, tagSeparator)
			}
			return health.ServiceMultipleTags(url.PathEscape(q.name), tags, false, o)
		},
		wipes: func(entries []*api.ServiceEntry) bool { return had && len(entries) == 0 },
		pause: servicePause,
		pace:  servicePace,
		use: func(entries []*api.ServiceEntry) {
			had = len(entries) > 0
			instances := w.Config.instances(entries)
			w.tell(func() {
				if s.answered && slices.EqualFunc(s.instances, instances, func(a, b consulInstance) bool { return a.same(&b) }) {
					return
				}
				w.urgent = w.urgent || loses(s.instances, instances)
				s.answered, s.instances = true, instances
				s.group(q.name)
				w.news = true
			})
		},
		fail: func() { w.tell(func() { s.answered = true }) },
	})
}
