package proxy

import "cmp"

// counter belongs to one Loop. It is a plain number: a scrape asks the Loop for
// a copy (Collector), so that counting costs the hot path no atomic operation.
type counter int64

func (c *counter) inc()      { *c++ }
func (c *counter) add(n int) { *c += counter(n) }

// counters are what a Loop counts that has no labels.
type counters struct {
	accepted, closed, overLimit, acceptErrors counter // client connections
	connects, reused, retries, attempts       counter
	queued, tunnels, sessions                 counter // under way now
	datagramsLost                             counter
	bytesIn, bytesOut                         counter // on client connections, heads and framing included
	shakes                                    shakeCounts
}

// stats are all that one Loop counts.
type stats struct {
	counters
	failed []wordCount
	seriesSet
}

// wordCount counts the Exchanges that ended with one failure.
type wordCount struct {
	word string
	n    int64
}

func (s *stats) init() { s.seriesSet.init() }

// observe counts an Exchange that ends and hands its line to the access log.
func (k *core) observe(x *Exchange) {
	now := k.loop.Now()
	ended := now
	switch { // a tunnel's age says nothing about the Backend
	case x.stream:
		ended = cmp.Or(x.answered, x.connected, now)
	case x.status == 101:
		ended = x.answered
	}
	s := k.stats.find(x, k.proxy, now)
	s.count(x.status)
	s.volume.took(ended - x.began)
	s.volume.bytesIn += x.reqBytes
	s.volume.bytesOut += x.respBytes
	k.stats.attempts.add(x.attempts)
	if x.failed != nil {
		k.stats.fail(x.failed.word)
	}
	if len(x.note) > 0 {
		k.logExchange(x)
	}
}

// fail counts a failure. There are as many words as outcome.go has.
func (s *stats) fail(word string) {
	for i := range s.failed {
		if s.failed[i].word == word {
			s.failed[i].n++
			return
		}
	}
	s.failed = append(s.failed, wordCount{word, 1})
}

// snapshot is a copy of a Loop's stats, for other goroutines.
type snapshot struct {
	counters
	idle     int // upstream connections that wait for a request
	failed   []wordCount
	requests []requestCount
	volumes  []volume
}

// requestCount is one sample of lb_requests_total.
type requestCount struct {
	labels
	codeCount
}

func (k *core) snapshot() *snapshot {
	s := &k.stats
	c := &snapshot{
		counters: s.counters,
		failed:   append([]wordCount(nil), s.failed...),
		requests: make([]requestCount, 0, 2*len(s.all)),
		volumes:  make([]volume, 0, len(s.volumes)),
	}
	for _, list := range k.idle {
		c.idle += len(list.conns)
	}
	for _, one := range s.all {
		for _, code := range one.codes {
			c.requests = append(c.requests, requestCount{one.labels, code})
		}
	}
	for _, v := range s.volumes {
		c.volumes = append(c.volumes, *v)
	}
	return c
}
