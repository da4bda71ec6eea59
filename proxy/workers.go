package proxy

import (
	"net/netip"
	"sync"
)

// workers run what takes longer than a Loop may: the steps of TLS handshakes.
// Each address has a lane of its own, and the lanes take turns, so that a step
// waits for one of every other address at most and not for all that a flood has
// brought. What is queued is bounded by the handshakes under way, each of which
// has one step at most.
type workers struct {
	mu      sync.Mutex
	waiting sync.Cond            // for work
	idle    sync.Cond            // for all work to be done
	lanes   map[netip.Addr]*lane // guarded by mu; those that have work
	turns   []*lane              // guarded by mu; the same, the next one first
	busy    int                  // guarded by mu; running now
	ended   bool                 // guarded by mu
	running sync.WaitGroup
}

// lane is the work of one address, in order.
type lane struct {
	who   netip.Addr
	queue []func()
}

func newWorkers() *workers {
	w := &workers{lanes: map[netip.Addr]*lane{}}
	w.waiting.L, w.idle.L = &w.mu, &w.mu
	return w
}

// start runs n goroutines, which end with stop.
func (w *workers) start(n int) {
	for range n {
		w.running.Go(w.run)
	}
}

// do has f run soon, on behalf of who. Any goroutine may call it.
func (w *workers) do(who netip.Addr, f func()) {
	w.mu.Lock()
	l := w.lanes[who]
	if l == nil {
		l = &lane{who: who}
		w.lanes[who] = l
		w.turns = append(w.turns, l)
	}
	l.queue = append(l.queue, f)
	w.mu.Unlock()
	w.waiting.Signal()
}

// next takes the work whose turn it is. There is some, and the caller has mu.
func (w *workers) next() (f func()) {
	l := w.turns[0]
	w.turns = w.turns[1:]
	f, l.queue = l.queue[0], l.queue[1:]
	if len(l.queue) > 0 {
		w.turns = append(w.turns, l)
	} else {
		delete(w.lanes, l.who)
	}
	return f
}

// rest waits until all that was queued has run.
func (w *workers) rest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.turns) > 0 || w.busy > 0 {
		w.idle.Wait()
	}
}

// stop ends the goroutines after all that was queued.
func (w *workers) stop() {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	w.waiting.Broadcast()
	w.running.Wait()
}

func (w *workers) run() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for len(w.turns) == 0 {
			if w.ended {
				return
			}
			w.waiting.Wait()
		}
		f := w.next()
		w.busy++
		w.mu.Unlock()
		f()
		w.mu.Lock()
		if w.busy--; w.busy == 0 && len(w.turns) == 0 {
			w.idle.Broadcast()
		}
	}
}
