// Package loop is an event loop: one thread, the sockets it watches, their
// deadlines and the buffers they share. It knows no HTTP.
//
// A Loop runs in rounds: it waits for events, reads the clock once, and calls the
// Handlers whose sockets have something to say. All that belongs to a Loop is used
// by its goroutine alone, without locks. The operating system is behind System, of
// which Real is the true one and Sim one made of memory, for tests.
package loop

import (
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// batch is how many events one round takes at most: enough that a busy loop
// polls seldom, few enough that posts and timers do not wait for long.
const batch = 512

// A Loop whose first deadline passed half a second ago has stood still: a
// suspended machine, a stopped process, a container without its share of the CPU.
// What was due meanwhile may have come in time and wait among the events, and
// what the round under way then began was given deadlines by a clock that had
// stopped. So nobody's deadline passes for a second.
const (
	standstill = int64(500e6)
	reprieve   = int64(1e9)
)

// Loop runs Handlers on one goroutine. Only Post and Stop may be called from
// others.
type Loop struct {
	// OnPanic is told of a panic in a Handler, a post, a timer or a Release,
	// with its stack. The connection involved is reset and the Loop goes on. Set
	// it before Run; without it panics are not contained.
	OnPanic func(v any, stack []byte)
	// OnApart is told why the System has stopped sending together, if it does. Set
	// it before Run.
	OnApart func(why error)

	sys   System
	now   int64
	wheel wheel
	conns []*Conn // by descriptor
	gen   uint32  // of the last attachment

	// The current batch. A round that panicked picks up from these.
	events    []Event // still to be delivered
	grace     int64   // no deadline passes before, 0: none
	turn      []uint64
	running   []func()
	releasing int
	sends     []Send    // done, to be told to
	sentTo    []waiting // these
	current   attachment

	eventBuf   [batch]Event
	again      []uint64 // tokens whose Conn wants another turn
	turnBuf    []uint64
	finalizers []Finalizer
	soon       []waiting // have something to send
	sendBuf    []Send
	sentBuf    []waiting
	collects   bool
	together   bool // the System sends so

	posted  atomic.Bool
	stopped atomic.Bool
	mu      sync.Mutex
	posts   []func() // guarded by mu
	spare   []func() // guarded by mu; what posts was before

	in, out []byte
	sealed  []byte // ciphertext on its way out of a TLS
	free    [len(classes)][][]byte
	lent    int
}

// attachment is whom the running call was made for.
type attachment struct {
	conn    *Conn
	handler Handler
	gen     uint32
}

// Finalizer is released by Loop.Defer.
type Finalizer interface{ Release() }

// New returns a Loop on sys, which it owns from now on.
func New(sys System) *Loop {
	l := &Loop{
		sys: sys,
		now: sys.Now(),
		in:  make([]byte, ScratchSize),
		out: make([]byte, 0, outSize),
	}
	l.wheel.init(l.now)
	return l
}

// Sys is the System that l runs on.
func (l *Loop) Sys() System { return l.sys }

// Now is the clock as it was when l last woke up, in nanoseconds.
func (l *Loop) Now() int64 { return l.now }

// Defer calls f.Release when the current batch is done: the place to hand a
// Conn's owner back for reuse, when no later event can mean the old one.
func (l *Loop) Defer(f Finalizer) { l.finalizers = append(l.finalizers, f) }

// Post has f run in the Loop soon, in order. Any goroutine may call it. What is
// posted after the last round never runs.
func (l *Loop) Post(f func()) {
	l.mu.Lock()
	first := len(l.posts) == 0
	l.posts = append(l.posts, f)
	l.posted.Store(true)
	l.mu.Unlock()
	if first {
		l.sys.Wake()
	}
}

// Run runs rounds until Stop. The caller locks the thread, and afterwards closes
// what is left and calls Sys().Shut.
func (l *Loop) Run() {
	for !l.stopped.Load() {
		l.Step(-1)
	}
}

// Stop ends Run after the round under way. Any goroutine may call it.
func (l *Loop) Stop() {
	l.stopped.Store(true)
	l.sys.Wake()
}

// Step is one round: it waits for events, for timeout nanoseconds at most (below
// 0: as long as it takes), then delivers them, second turns, posts, deadlines,
// what SendSoon collected and releases, in this order.
func (l *Loop) Step(timeout int64) {
	if w := l.patience(); timeout < 0 || w >= 0 && w < timeout {
		timeout = w
	}
	n, err := l.sys.Wait(l.eventBuf[:], timeout)
	if err != nil {
		panic("BUG: wait for events: " + err.Error())
	}
	l.now = l.sys.Now()
	l.wheel.turn(l.now)
	l.events = l.eventBuf[:n]
	if at := l.wheel.next(); at != never && l.now-max(at, l.grace) > standstill {
		l.grace = l.now + reprieve
	}
	l.turn, l.again, l.turnBuf = l.again, l.turnBuf[:0], l.again
	least, why := l.sys.Together()
	l.collects = least > 0 && n+len(l.turn) >= least
	if l.together && why != nil && l.OnApart != nil {
		l.OnApart(why)
	}
	l.together = why == nil
	if l.posted.Load() {
		l.takePosts()
	}
	for !l.round() { // a panic ends a round early
	}
}

// patience is how long the next Wait may last, below 0 for ever.
func (l *Loop) patience() int64 {
	if len(l.again) > 0 || len(l.soon) > 0 {
		return 0
	}
	at := l.wheel.next()
	if at == never {
		return -1
	}
	return max(0, max(at, l.grace)-l.now)
}

func (l *Loop) takePosts() {
	l.mu.Lock()
	l.running, l.posts, l.spare = l.posts, l.spare[:0], l.posts
	l.posted.Store(false)
	l.mu.Unlock()
}

// round delivers what is left of the batch.
func (l *Loop) round() (done bool) {
	defer l.contain()
	l.tellSenders()
	for len(l.events) > 0 {
		e := l.events[0]
		l.events = l.events[1:]
		if c := l.find(e.Token); c != nil {
			l.current = attachment{c, c.handler, c.gen}
			c.handler.Ready(e.Ready)
		}
		if len(l.soon) >= sendBatch {
			l.sendCollected()
		}
	}
	for len(l.turn) > 0 {
		t := l.turn[0]
		l.turn = l.turn[1:]
		if c := l.find(t); c != nil && c.again != 0 {
			r := c.again
			c.again = 0
			l.current = attachment{c, c.handler, c.gen}
			c.handler.Ready(r)
		}
	}
	l.current = attachment{}
	for len(l.running) > 0 {
		f := l.running[0]
		l.running[0] = nil
		l.running = l.running[1:]
		f()
	}
	l.expire()
	if len(l.soon) > 0 {
		l.sendCollected()
	}
	l.release()
	return true
}

// expire tells those whose deadline has passed.
func (l *Loop) expire() {
	if l.now < l.grace {
		return
	}
	for c := l.wheel.expired(); c != nil; c = l.wheel.expired() {
		l.current = attachment{c, c.handler, c.gen}
		c.handler.Expired()
	}
	l.current = attachment{}
	l.grace = 0
}

// release runs the finalizers, those included that they add.
func (l *Loop) release() {
	for l.releasing < len(l.finalizers) {
		f := l.finalizers[l.releasing]
		l.finalizers[l.releasing] = nil
		l.releasing++
		f.Release()
	}
	l.releasing, l.finalizers = 0, l.finalizers[:0]
}

// contain ends the panic of a round, if OnPanic wants to know of it.
func (l *Loop) contain() {
	if l.OnPanic == nil {
		return
	}
	v := recover()
	if v == nil {
		return
	}
	stack := debug.Stack()
	a := l.current
	l.current = attachment{}
	// A listener stays: one bad connection must not close the port.
	if a.conn != nil && a.conn.gen == a.gen && !a.conn.listener {
		l.Reset(a.conn)
	}
	l.OnPanic(v, stack)
	if p, ok := a.handler.(interface{ Panicked() }); ok {
		l.guard(p.Panicked)
	}
}

// guard runs f and reports its panic, if any.
func (l *Loop) guard(f func()) {
	defer func() {
		if v := recover(); v != nil {
			l.OnPanic(v, debug.Stack())
		}
	}()
	f()
}
