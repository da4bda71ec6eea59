package discovery

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// DNSConfig says how DNS is asked for services.
type DNSConfig struct {
	Servers []string      // host:port of name servers, in order; empty: those of /etc/resolv.conf, with its search list
	Keep    time.Duration // how long the last answer stays in use once DNS says that there is nothing; 0: not at all
	MinTTL  time.Duration // shorter TTLs count as this; above 0
	MaxTTL  time.Duration // longer TTLs count as this; at least MinTTL
}

// DefaultDNS is what an empty configuration means.
var DefaultDNS = DNSConfig{
	Keep: 5 * time.Minute,
	// The answers of Consul have a TTL of 0, so something has to say how often it is asked.
	MinTTL: time.Second,
	// Those of Docker have 600 s, while the tasks behind a name change by the minute.
	MaxTTL: 30 * time.Second,
}

// DNS is the Source of the services that rules name as dns:NAME, dns:NAME:PORT
// (A and AAAA records) or dns+srv:NAME (SRV records). It looks them up in the
// background, again when their TTL has ended. Make it with NewDNS.
type DNS struct {
	exchange exchangeFunc
	news     chan struct{} // holds one: something is to be looked up or to be published

	mu     sync.Mutex
	config DNSConfig
	wanted []string
	names  map[string]*wantedName // by service: the wanted ones, once Watch runs
	dirty  bool                   // there is something to publish
}

// NewDNS is a Source that asks as c says.
func NewDNS(c DNSConfig) *DNS {
	return &DNS{exchange: exchangeBySocket, news: make(chan struct{}, 1), config: c}
}

// Configure changes how DNS is asked; other servers are asked at once. Any
// goroutine may call it.
func (d *DNS) Configure(c DNSConfig) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.names {
		if !slices.Equal(c.Servers, d.config.Servers) {
			n.due = time.Time{}
		}
		d.dirty = d.dirty || n.failure != "" && c.Keep != d.config.Keep // it is in the warning
	}
	d.config = c
	poke(d.news)
}

// Prefixes implements Wanter.
func (d *DNS) Prefixes() []string { return []string{DNSPrefix, SRVPrefix} }

// Want implements Wanter.
func (d *DNS) Want(services []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = services
	poke(d.news)
}

// Watch implements Source. It does not fail.
func (d *DNS) Watch(ctx context.Context, publish func(Snapshot)) error {
	var lookups sync.WaitGroup
	defer lookups.Wait()
	slots := make(chan struct{}, maxLookups)
	timer := time.NewTimer(0)
	defer timer.Stop()
	d.begin()
	for {
		due, pause := d.due(time.Now())
		for _, n := range due {
			lookups.Go(func() {
				select {
				case slots <- struct{}{}:
				case <-ctx.Done():
					return
				}
				defer func() { <-slots }()
				d.refresh(ctx, n)
			})
		}
		if s, news := d.snapshot(); news {
			publish(s)
		}
		timer.Reset(pause)
		select {
		case <-ctx.Done():
			return nil
		case <-d.news:
		case <-timer.C:
		}
	}
}

// begin forgets what an earlier Watch knew. Without names there is nothing to
// wait for before the first Snapshot.
func (d *DNS) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names = make(map[string]*wantedName)
	d.dirty = len(d.wanted) == 0
}

// use makes names of what is wanted. d.mu is held.
func (d *DNS) use() {
	names := make(map[string]*wantedName, len(d.wanted))
	for _, service := range d.wanted {
		n := d.names[service]
		if n == nil {
			n = newWantedName(service)
			d.dirty = d.dirty || n.answered
		}
		names[service] = n
	}
	for service, n := range d.names {
		d.dirty = d.dirty || n.answered && names[service] == nil
	}
	d.names = names
}

// due takes the names whose time has come, and says when to look again.
func (d *DNS) due(now time.Time) (due []*wantedName, pause time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.use()
	pause = time.Hour
	for _, n := range d.inUse() {
		if n.expires() {
			end := n.gone.Add(d.config.Keep)
			if end.After(now) {
				pause = min(pause, end.Sub(now))
			} else {
				n.instances, d.dirty = nil, true
			}
		}
		switch {
		case n.busy || n.invalid:
		case n.due.After(now):
			pause = min(pause, n.due.Sub(now))
		default:
			n.busy = true
			due = append(due, n)
		}
	}
	return due, pause
}

// refresh looks one name up.
func (d *DNS) refresh(ctx context.Context, n *wantedName) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	d.mu.Lock()
	servers := d.config.Servers
	d.mu.Unlock()
	client, err := newDNSClient(servers, d.exchange)
	var a dnsAnswer
	if err == nil {
		a, err = client.lookup(ctx, &n.dnsService)
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return // the end, no answer
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	changed := false
	if err != nil {
		changed = n.fail(err, time.Now(), &d.config)
	} else {
		changed = n.answer(a, time.Now(), &d.config)
	}
	// It may have been taken out of use meanwhile.
	d.dirty = d.dirty || changed && d.names[n.service] == n
	poke(d.news)
}

// snapshot is what there is to announce; news is false when that was published before.
func (d *DNS) snapshot() (s Snapshot, news bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.dirty {
		return s, false
	}
	d.dirty = false
	for _, n := range d.inUse() {
		if !n.answered {
			continue
		}
		s.Services = append(s.Services, n.announce())
		if n.failure != "" {
			s.Warnings = append(s.Warnings, n.problem(d.config.Keep))
		}
	}
	return s, true
}

// inUse lists the names in the order of wanted. d.mu is held.
func (d *DNS) inUse() []*wantedName {
	list := make([]*wantedName, 0, len(d.wanted))
	for _, service := range d.wanted {
		if n := d.names[service]; n != nil { // else Watch has not seen it yet
			list = append(list, n)
		}
	}
	return list
}

// Report implements Reporter.
func (d *DNS) Report() Report {
	d.mu.Lock()
	defer d.mu.Unlock()
	return dnsReport(d.inUse(), d.config.Keep, time.Now())
}
