package proxy

import (
	"math/rand/v2"
	"net/netip"

	"arzur.net/lb/health"
	"arzur.net/lb/proxy/hello"
	"arzur.net/lb/proxy/http1"
	"arzur.net/lb/proxy/loop"
	"arzur.net/lb/rules"
)

// core is what one Loop knows of HTTP: its connections, its idle upstream
// connections, its counters and its scratch. Only the Loop's own goroutine
// touches it; others reach it through loop.Post.
type core struct {
	proxy  *Proxy
	number int
	loop   *loop.Loop
	sys    loop.System
	rand   *rand.Rand

	req    http1.Request  // the head being handled; valid inside one event
	resp   http1.Response // the same for responses
	hello  hello.Hello    // the ClientHello being handled; valid inside one event
	match  rules.Request  // what Lookup sees of req
	host   [256]byte      // normalised host of req
	path   []byte         // cleaned path of req, when it needed cleaning
	edited []byte         // path of req after the rule's edits

	clients  []*client // all open client connections, in no order
	idle     map[*health.Backend]*idleList
	queues   map[*rules.Pool]*queue
	held     []*Exchange         // wait for a Target; see hold.go
	heldFor  map[*rules.Pool]int // how many of them for each Pool
	budgets  map[*rules.Pool]*budget
	pipes    []pipe // idle ones
	piped    int    // those in use
	noSplice bool   // the system has none
	queueRun func() // runQueues, bound once
	draining bool
	ending   int // doors that are about to close

	freeClients   []*client
	freeUpstreams []*upstream
	freeExchanges []*Exchange

	stats stats
	lines logChunk // of the access log
}

func newCore(p *Proxy, l *loop.Loop, number int, seed uint64) *core {
	k := &core{
		proxy:   p,
		number:  number,
		loop:    l,
		sys:     l.Sys(),
		rand:    rand.New(rand.NewPCG(seed, seed^0x9e3779b97f4a7c15)),
		idle:    map[*health.Backend]*idleList{},
		queues:  map[*rules.Pool]*queue{},
		heldFor: map[*rules.Pool]int{},
		budgets: map[*rules.Pool]*budget{},
	}
	k.match.Fields = &k.req
	k.queueRun = k.runQueues
	k.stats.init()
	k.lines.init()
	return k
}

// adopt takes a freshly accepted connection.
func (k *core) adopt(fd int, peer netip.AddrPort, l *listener) {
	c := k.newClient()
	c.core, c.lst, c.peer = k, l, peer
	if err := k.loop.Attach(&c.Conn, fd, c); err != nil {
		k.sys.Close(fd)
		k.proxy.connections.Add(-1)
		k.freeClients = append(k.freeClients, c)
		return
	}
	c.slot = int32(len(k.clients))
	k.clients = append(k.clients, c)
	k.stats.accepted.inc()
	state := l.state.Load()
	wait := int64(state.opts.HeaderTimeout)
	if l.closed.Load() {
		wait = min(wait, lastMoment)
	}
	c.SetDeadline(k.loop.Now() + wait)
	c.welcome(state)
}

// forget removes a closed client from the list and gives its record back after
// the batch, when no event can name it any more.
func (k *core) forget(c *client) {
	last := k.clients[len(k.clients)-1]
	k.clients[c.slot] = last
	last.slot = c.slot
	k.clients[len(k.clients)-1] = nil
	k.clients = k.clients[:len(k.clients)-1]
	k.proxy.connections.Add(-1)
	k.stats.closed.inc()
	k.loop.Defer(c)
	k.sayEmpty()
}

func (k *core) newClient() *client {
	if n := len(k.freeClients); n > 0 {
		c := k.freeClients[n-1]
		k.freeClients = k.freeClients[:n-1]
		return c
	}
	return new(client)
}

func (k *core) newUpstream() *upstream {
	if n := len(k.freeUpstreams); n > 0 {
		u := k.freeUpstreams[n-1]
		k.freeUpstreams = k.freeUpstreams[:n-1]
		return u
	}
	return new(upstream)
}

func (k *core) newExchange() *Exchange {
	if n := len(k.freeExchanges); n > 0 {
		x := k.freeExchanges[n-1]
		k.freeExchanges = k.freeExchanges[:n-1]
		return x
	}
	return new(Exchange)
}

// maxFree bounds each free list: enough to serve a burst without the allocator,
// little enough that the memory of a past peak goes back.
const maxFree = 4096

// Release implements loop.Finalizer: the record may be used again.
func (c *client) Release() {
	k := c.core
	*c = client{}
	if len(k.freeClients) < maxFree {
		k.freeClients = append(k.freeClients, c)
	}
}

// Release implements loop.Finalizer.
func (u *upstream) Release() {
	k := u.core
	*u = upstream{}
	if len(k.freeUpstreams) < maxFree {
		k.freeUpstreams = append(k.freeUpstreams, u)
	}
}

// Release implements loop.Finalizer.
func (x *Exchange) Release() {
	k := x.core
	*x = Exchange{note: x.note[:0]}
	if len(k.freeExchanges) < maxFree {
		k.freeExchanges = append(k.freeExchanges, x)
	}
}
