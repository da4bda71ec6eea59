package discovery

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
	"go.uber.org/zap"

	"arzur.net/lb/rules"
)

// ConsulPrefix begins the names of services that a rule wants from Consul:
// consul:blog, consul:blog@dc2, consul:blog?tag=v2.
const ConsulPrefix = "consul:"

// Consul is the Source of the services in a Consul catalog, and of the rules
// that their tags and Consul's KV store hold. One blocking query watches the
// catalog, one each service that matters: one with a routing tag, or one that a
// rule names. More than connections are scouted. While Consul does not answer,
// what it said last stays.
type Consul struct {
	Config ConsulConfig
	// ParseFragment reads the value of a KV key, which is a rules file. With a Fatal
	// Problem the value does not count. nil: there is no KV to watch.
	ParseFragment func(key string, data []byte) Fragment
	// Succeeded says at the end of Watch whether another process goes on in the place
	// of this one; what is registered is left to it then. nil: none does.
	Succeeded func() bool
	Log       *zap.Logger

	consulHealth
	once sync.Once
	poke chan struct{} // holds one: what is wanted has changed

	mu     sync.Mutex
	wanted []string
}

// Fragment is what one KV key adds.
type Fragment struct {
	Rules    []rules.Rule
	Services []rules.Service
	Problems []rules.Problem
}

func (c *Consul) wake() chan struct{} {
	c.once.Do(func() { c.poke = make(chan struct{}, 1) })
	return c.poke
}

// Prefixes implements Wanter.
func (c *Consul) Prefixes() []string { return []string{ConsulPrefix} }

// Want implements Wanter.
func (c *Consul) Want(services []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = slices.Clone(services)
	poke(c.wake())
}

func (c *Consul) wants() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wanted
}

// Watch publishes what Consul knows once every query has been answered, or an
// empty Snapshot when that is not to be had now; then after every change.
func (c *Consul) Watch(ctx context.Context, publish func(Snapshot)) error {
	client, err := c.Config.connect()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &consulWatch{
		Consul: c, ctx: ctx, client: client,
		slots:    make(chan struct{}, c.Config.connections()),
		answers:  make(chan func()),
		services: make(map[consulQuery]*consulService),
		scout:    newScout(),
		news:     true,
		grace:    time.After(consulGrace),
	}
	c.begin(c.Log)
	w.remind(c.readCache())
	defer w.saveLast()
	defer w.running.Wait()
	defer cancel()
	w.start()
	w.want()
	var rest <-chan time.Time // nil: the next Snapshot may be published at once
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-rest:
			rest = nil
		case <-w.patience:
			w.hasty = true
		case <-w.grace:
			w.lenient = true
		case <-w.save:
			w.saveNow()
		case <-c.wake():
			w.want()
		case f := <-w.answers:
			f()
		}
		w.takeMore()
		if w.news && rest == nil && w.complete() {
			rest = time.After(snapshotPace)
			s := w.snapshot()
			s.Urgent = w.urgent
			if !w.published && w.Config.Register != nil {
				w.running.Go(w.register) // not earlier: there were no rules to serve
			}
			w.news, w.urgent, w.published, w.unsaved = false, false, true, true
			publish(s)
		}
		w.judge()
		w.remember()
	}
}

// consulWatch is one run of Watch, and but for what is said it is its goroutine's.
type consulWatch struct {
	*Consul
	ctx     context.Context // of the run; it ends every query
	client  *api.Client
	running sync.WaitGroup
	slots   chan struct{} // one for each connection that queries about services may hold
	answers chan func()   // run by Watch, so that what follows needs no lock
	scout   *consulScout

	listing   consulOutcome // of the question about the catalog
	kv        consulOutcome // of the one about the KV store
	catalog   []string      // services whose tags route, sorted
	services  map[consulQuery]*consulService
	scouting  bool // for good: services were more than connections
	wishes    []consulWish
	misnamed  []rules.Problem // wanted names that cannot be read
	unread    []rules.Problem // tags that nobody reads
	fragments consulFragments
	decoded   int // label sets when all were read last
	published bool
	news      bool // there is something to publish
	urgent    bool // an instance is not to get requests any more

	reminded   map[consulQuery][]consulInstance // what the cache says
	patience   <-chan time.Time                 // ends the wait for what is newer than that
	hasty      bool                             // it has ended
	grace      <-chan time.Time                 // ends the wait for what Consul refuses to say
	lenient    bool                             // it has ended
	save       <-chan time.Time                 // when to write the cache
	unsaved    bool                             // there is something that is not in it
	saving     bool                             // it is being written
	unwritable bool                             // the last time that failed
}

// start asks the questions that are always asked.
func (w *consulWatch) start() {
	names := w.catalog
	w.running.Go(func() { w.followCatalog(names) })
	if w.Config.KV == "" || w.ParseFragment == nil {
		w.kv = consulHeard // there is nothing to hear
		return
	}
	values := maps.Clone(w.fragments.values)
	w.running.Go(func() { w.followKV(values) })
}

// tell has Watch run f, unless the run ends first. Any goroutine may call it.
func (w *consulWatch) tell(f func()) {
	select {
	case w.answers <- f:
	case <-w.ctx.Done():
	}
}

// takeMore takes what has come in at the same time, so that it makes one Snapshot.
func (w *consulWatch) takeMore() {
	for {
		select {
		case f := <-w.answers:
			f()
		default:
			return
		}
	}
}

// complete says whether there is something to publish: at first, when all that is
// asked has had an answer, be it an error. Afterwards nobody waits for what is new.
func (w *consulWatch) complete() bool {
	if w.published || w.hasty {
		return true
	}
	return w.each(func(o consulOutcome) bool { return o != consulPending })
}

// each says whether all outcomes are as they should be.
func (w *consulWatch) each(is func(consulOutcome) bool) bool {
	if !is(w.listing) || !is(w.kv) {
		return false
	}
	for _, s := range w.services {
		if !is(s.outcome) {
			return false
		}
	}
	return true
}

// judge tells consulHealth how much of what is asked has been heard and published.
func (w *consulWatch) judge() {
	if !w.published || w.listing != consulHeard {
		return
	}
	if !w.known.Load() && w.each(func(o consulOutcome) bool { return o != consulPending }) {
		w.known.Store(true)
	}
	w.whole.Store(w.each(func(o consulOutcome) bool {
		return o == consulHeard || o == consulRefused && w.lenient
	}))
}

// want takes over what the rules name.
func (w *consulWatch) want() {
	w.wishes, w.misnamed = parseWishes(w.wants())
	w.news = true
	w.watchServices()
}

// watchServices asks about the services that matter, and about none else.
func (w *consulWatch) watchServices() {
	matter := make(map[consulQuery]bool, len(w.catalog)+len(w.wishes))
	for _, name := range w.catalog {
		matter[consulQuery{name: name}] = true
	}
	for _, wish := range w.wishes {
		matter[wish.query] = true
	}
	home := 0 // services that scouts can see
	for q := range matter {
		if w.Config.isHome(q) {
			home++
		}
	}
	if !w.scouting && home > w.Config.connections() {
		w.startScouting()
	}
	w.waiters.Store(int64(len(matter)))
	if w.scouting {
		w.waiters.Store(int64(len(matter) - home))
	}
	for q, s := range w.services {
		if !matter[q] {
			s.cancel()
			delete(w.services, q)
			w.recovered(q.String())
			w.news = true
		}
	}
	w.crowd.Store(int64(len(matter)))
	for q := range matter {
		if w.services[q] == nil {
			w.services[q] = newConsulService(q.name)
			if !w.known.Load() {
				w.services[q].instances = w.reminded[q]
				w.services[q].group(q.name)
			}
			w.follow(q, w.services[q])
		}
	}
	list := w.scouted()
	w.scout.services.Store(&list)
}

// snapshotPace is the least time between two Snapshots: each is of all services,
// and where hundreds change in a second each change must not make one of its own.
const snapshotPace = 20 * time.Millisecond

// consulWait is how long Consul may hold an answer back, at most; each query
// takes up to a fifth less, so that many do not end together.
const consulWait = 5 * time.Minute
