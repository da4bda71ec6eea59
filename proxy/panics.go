package proxy

import (
	"sync"

	"arzur.net/lb/health"
)

// panics are the defects that showed. One costs one request; many in a short
// time mean that this process should not get traffic.
type panics struct {
	mu    sync.Mutex
	total int64
	at    [panicsTolerated]int64 // when the newest came, as a ring
}

// panicsTolerated within panicSpan are the most that a well process has.
const (
	panicsTolerated = 10
	panicSpan       = int64(60e9)
)

func (p *panics) add() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at[p.total%panicsTolerated] = health.Now()
	p.total++
}

// Panics is how many panics of the engine were contained, and whether there were
// so many of late that traffic should go elsewhere.
func (p *Proxy) Panics() (total int64, tooMany bool) {
	p.panics.mu.Lock()
	defer p.panics.mu.Unlock()
	oldest := p.panics.at[p.panics.total%panicsTolerated]
	return p.panics.total, oldest > 0 && health.Now()-oldest < panicSpan
}
