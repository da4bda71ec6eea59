package proxy

import "sync/atomic"

// counter is written by one Loop and read by anybody.
type counter struct{ v atomic.Int64 }

func (c *counter) inc()        { c.v.Store(c.v.Load() + 1) }
func (c *counter) add(n int)   { c.v.Store(c.v.Load() + int64(n)) }
func (c *counter) load() int64 { return c.v.Load() }

// stats are one Loop's counters; a scrape sums them.
type stats struct {
	accepted, closed, overLimit, acceptErrors counter
	connects, reused, retries, queued         counter
	tunnels, bytesIn, bytesOut                counter
}

func (s *stats) init() {}

func (k *core) observe(x *Exchange)     {}
func (k *core) noteRequest(x *Exchange) {}
func (k *core) noteRefused(x *Exchange) {}

type AccessLog struct{}
type logLine struct{}
