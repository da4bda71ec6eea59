package proxy

import "sync"

// workers run what takes longer than a Loop may: the steps of TLS handshakes.
// What is queued is bounded by the handshakes under way, each of which has one
// step at most.
type workers struct {
	mu      sync.Mutex
	waiting sync.Cond // for work
	idle    sync.Cond // for all work to be done
	queue   []func()  // guarded by mu
	busy    int       // guarded by mu; running now
	ended   bool      // guarded by mu
	running sync.WaitGroup
}

func newWorkers() *workers {
	w := &workers{}
	w.waiting.L, w.idle.L = &w.mu, &w.mu
	return w
}

// start runs n goroutines, which end with stop.
func (w *workers) start(n int) {
	for range n {
		w.running.Go(w.run)
	}
}

// do has f run soon. Any goroutine may call it.
func (w *workers) do(f func()) {
	w.mu.Lock()
	w.queue = append(w.queue, f)
	w.mu.Unlock()
	w.waiting.Signal()
}

// rest waits until all that was queued has run.
func (w *workers) rest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) > 0 || w.busy > 0 {
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
		for len(w.queue) == 0 {
			if w.ended {
				return
			}
			w.waiting.Wait()
		}
		f := w.queue[0]
		w.queue = w.queue[1:]
		w.busy++
		w.mu.Unlock()
		f()
		w.mu.Lock()
		if w.busy--; w.busy == 0 && len(w.queue) == 0 {
			w.idle.Broadcast()
		}
	}
}
