// Package proxy is the engine: event loops that move requests to Backends by the
// rules of a Table.
//
// Read exchange.go first: it is the story of a request. attempt.go and retry.go
// are its tries, request.go and respond.go the bytes in both directions,
// settle.go its end. client.go and upstream.go are the connections that carry it.
package proxy

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"arzur.net/lb/health"
	"arzur.net/lb/proxy/loop"
	"arzur.net/lb/rules"
)

// Proxy owns the Loops and the listeners. Apply, Retire, Drain and the readers
// may be called from any goroutine.
type Proxy struct {
	log    *zap.Logger
	listen opener
	bind   opener // for datagrams
	work   func(who netip.Addr, f func())
	labor  *workers // behind work, nil if that is somebody else's
	cores  []*core

	mu        sync.Mutex // guards the three below
	listeners map[rules.Listen]*listener
	leaving   []*listener            // whose sockets may still be open
	inherited map[rules.Listen][]int // by address, even if that is all

	table       atomic.Pointer[rules.Table]
	connections atomic.Int64
	sessions    atomic.Int64 // those of udp among them
	scarceAt    atomic.Int64 // health.Now when logScarce spoke last
	shaking     atomic.Int64 // TLS handshakes under way
	greeting    shares       // of those, with clients
	identities  identities
	questions   atomic.Int64 // challenges that wait for their answer
	panics      panics
	queueWake   []atomic.Bool
	empty       chan struct{} // a core has no connections left
	running     sync.WaitGroup
	access      atomic.Pointer[AccessLog]
	reloads     reloadStats
	shared      atomic.Bool // see Shared
	leavingAll  atomic.Bool // Drain has begun
}

// Config is what a Proxy is made with.
type Config struct {
	Loops int    // event loops, 0: one per CPU
	Seed  uint64 // of request ids
	// NoRing has every send be a system call of its own, io_uring or not.
	NoRing bool
	Log    *zap.Logger

	// System and Listen are the seams where a simulated network stands in: one
	// System for each Loop, and n listening sockets for one address. The defaults
	// are the operating system's.
	System func() (loop.System, error)
	Listen func(addr netip.Addr, port uint16, n int) ([]int, error)
	// ListenUDP is Listen for datagrams.
	ListenUDP func(addr netip.Addr, port uint16, n int) ([]int, error)
	// Work runs f soon, on a goroutine that is not locked to its thread: the
	// steps of TLS handshakes. The default has a goroutine for each CPU.
	Work func(f func())
}

// New makes a Proxy that listens nowhere yet.
func New(c Config) (*Proxy, error) {
	if c.Loops <= 0 {
		c.Loops = runtime.GOMAXPROCS(0)
	}
	if c.System == nil {
		c.System = func() (loop.System, error) { return loop.Real(health.Now, !c.NoRing) }
	}
	if c.Listen == nil {
		c.Listen = loop.Listen
	}
	if c.ListenUDP == nil {
		c.ListenUDP = loop.ListenUDP
	}
	p := &Proxy{
		log:       c.Log,
		listen:    c.Listen,
		bind:      c.ListenUDP,
		listeners: map[rules.Listen]*listener{},
		inherited: map[rules.Listen][]int{},
		queueWake: make([]atomic.Bool, c.Loops),
		empty:     make(chan struct{}, c.Loops),
	}
	p.work = func(_ netip.Addr, f func()) { c.Work(f) }
	if c.Work == nil {
		p.labor = newWorkers()
		p.work = p.labor.do
	}
	for i := range c.Loops {
		sys, err := c.System()
		if err != nil {
			return nil, fmt.Errorf("event loop %d: %w", i, err)
		}
		if _, why := sys.Together(); i == 0 && why != nil {
			c.Log.Info("every send is a system call of its own", zap.Error(why))
		}
		l := loop.New(sys)
		l.OnPanic = func(v any, stack []byte) {
			p.log.Error("panic in the engine", zap.Any("value", v), zap.ByteString("stack", stack))
		}
		l.OnApart = func(why error) {
			p.log.Warn("from now on every send is a system call of its own", zap.Int("loop", i), zap.Error(why))
		}
		p.cores = append(p.cores, newCore(p, l, i, c.Seed+uint64(i)))
	}
	return p, nil
}

// Start runs the Loops, each on a thread of its own, until Stop.
func (p *Proxy) Start() {
	if p.labor != nil {
		p.labor.start(runtime.GOMAXPROCS(0))
	}
	for _, k := range p.cores {
		p.running.Add(1)
		go func() { // ends with Stop, which waits for it
			defer p.running.Done()
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			k.loop.Run()
		}()
	}
}

// Stop ends the Loops at once and waits for them.
func (p *Proxy) Stop() {
	for _, k := range p.cores {
		k.loop.Stop()
	}
	p.running.Wait()
	if p.labor != nil {
		p.labor.rest() // then nobody but us has to do with a handshake
	}
	for _, k := range p.cores {
		k.lines.handOver()
		k.abandonShakes()
	}
	if p.labor != nil {
		p.labor.stop()
	}
}

// Apply puts a Table and Options into use: new listeners are opened first, and
// if one cannot be, nothing changes and its error is returned. Requests under
// way keep the Table that they started with.
func (p *Proxy) Apply(t *rules.Table, o *Options) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := checkServed(t.Ports()); err != nil {
		return err
	}
	want := map[rules.Listen]rules.Listen{}
	for _, at := range t.Ports() {
		want[at.Socket()] = at
	}
	opened, err := p.openAll(t.Ports())
	if err != nil {
		return err
	}
	p.table.Store(t)
	p.reloads.applied.Add(1)
	for socket, l := range p.listeners {
		if at, wanted := want[socket]; wanted {
			l.use(at.Protocol, t.On(at), o)
		}
	}
	for _, l := range opened {
		p.begin(l)
		p.log.Info("listening", zap.Stringer("listener", l))
	}
	for at, l := range p.listeners {
		if _, wanted := want[at]; !wanted {
			delete(p.listeners, at)
			p.end(l, 0)
			p.log.Info("stopped listening", zap.Stringer("listener", l))
		}
	}
	for _, k := range p.cores {
		k.loop.Post(k.tableChanged)
	}
	return nil
}

// openAll opens the listeners that are missing, all of them or none.
func (p *Proxy) openAll(ports []rules.Listen) (opened []*listener, err error) {
	for _, at := range ports {
		if p.listeners[at.Socket()] != nil {
			continue
		}
		l, err := p.open(at)
		if err != nil {
			for _, l := range opened {
				closeAll(l.fds)
				delete(p.listeners, l.socket)
			}
			return nil, err
		}
		opened = append(opened, l)
		p.listeners[l.socket] = l
	}
	return opened, nil
}

// tableChanged lets go of the Pools of earlier Tables, and so of the Tables.
func (k *core) tableChanged() {
	clear(k.budgets)
	k.runHeld()
}

// Table is the Table in use.
func (p *Proxy) Table() *rules.Table { return p.table.Load() }

// Retire closes the idle connections to Backends that are no longer named.
func (p *Proxy) Retire(gone []*health.Backend) {
	if len(gone) == 0 {
		return
	}
	for _, k := range p.cores {
		k.loop.Post(func() { k.retire(gone) })
	}
}

// Sockets are the listening sockets, for a new process to take over.
func (p *Proxy) Sockets() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var fds []int
	for _, l := range p.listeners {
		fds = append(fds, l.fds...)
	}
	return fds
}

// logScarce says at most once a second that op met with a lack of descriptors or
// memory. Loops call it, so it takes no lock: those who hold mu may wait for them.
func (p *Proxy) logScarce(op string, l *listener, err error) {
	last, now := p.scarceAt.Load(), health.Now()
	if last != 0 && now-last < int64(time.Second) || !p.scarceAt.CompareAndSwap(last, now) {
		return
	}
	p.log.Error(op, zap.Stringer("listener", l), zap.Error(err))
}

// Drain stops accepting and lets what is under way end: each open connection is
// answered once more, with Connection: close. It returns nil when all have
// gone, or ctx's error after cutting the rest.
func (p *Proxy) Drain(ctx context.Context) error {
	p.leavingAll.Store(true)
	p.mu.Lock()
	for at, l := range p.listeners {
		delete(p.listeners, at)
		moment := handshakeTime
		if p.shared.Load() {
			moment = 0
		}
		p.end(l, moment)
	}
	p.mu.Unlock()
	for _, k := range p.cores {
		k.loop.Post(k.drain)
	}
	for range p.cores {
		select {
		case <-p.empty:
		case <-ctx.Done():
			return fmt.Errorf("drain: %d connections cut: %w", p.connections.Load(), ctx.Err())
		}
	}
	return nil
}

// drain is Drain's part in one Loop.
func (k *core) drain() {
	k.draining = true
	for _, c := range k.clients {
		if c.quiet() {
			c.SetDeadline(k.loop.Now() + lastMoment)
		}
	}
	for b := range k.idle {
		k.dropIdleOf(b)
	}
	k.runHeld()
	k.sayEmpty()
}

// sayEmpty lets Drain know when nothing is under way in this Loop any more and
// nothing can come.
func (k *core) sayEmpty() {
	if !k.draining || len(k.clients) > 0 || k.ending > 0 {
		return
	}
	select {
	case k.proxy.empty <- struct{}{}:
	default: // said before
	}
}
