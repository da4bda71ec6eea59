package proxy

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// sums are the numbers of all Loops together.
type sums struct {
	counters
	idle     int
	failed   map[string]int64
	requests map[requestKey]int64
	volumes  map[[2]string]*volume
}

type requestKey struct {
	labels
	status int
}

// sumOf adds up what the Loops answered; nil stands for one that never has.
func sumOf(all []*snapshot) *sums {
	t := &sums{failed: map[string]int64{}, requests: map[requestKey]int64{}, volumes: map[[2]string]*volume{}}
	for _, s := range all {
		if s != nil {
			t.add(s)
		}
	}
	return t
}

func (t *sums) add(s *snapshot) {
	t.counters.add(&s.counters)
	t.idle += s.idle
	for _, f := range s.failed {
		t.failed[f.word] += f.n
	}
	for _, r := range s.requests {
		t.requests[requestKey{r.labels, r.status}] += r.n
	}
	for _, v := range s.volumes {
		key := [2]string{v.rule, v.service}
		if sum := t.volumes[key]; sum != nil {
			sum.add(&v)
		} else {
			t.volumes[key] = &v
		}
	}
}

func (c *counters) add(o *counters) {
	c.accepted += o.accepted
	c.closed += o.closed
	c.overLimit += o.overLimit
	c.acceptErrors += o.acceptErrors
	c.connects += o.connects
	c.reused += o.reused
	c.retries += o.retries
	c.attempts += o.attempts
	c.queued += o.queued
	c.tunnels += o.tunnels
	c.sessions += o.sessions
	c.datagramsLost += o.datagramsLost
	c.bytesIn += o.bytesIn
	c.bytesOut += o.bytesOut
	c.shakes.add(&o.shakes)
}

func (v *volume) add(o *volume) {
	for i, n := range o.within {
		v.within[i] += n
	}
	v.nanoseconds += o.nanoseconds
	v.bytesIn += o.bytesIn
	v.bytesOut += o.bytesOut
}

// emitter sends samples to a scrape.
type emitter chan<- prometheus.Metric

func (e emitter) put(m *metric, v float64, labels ...string) {
	e <- prometheus.MustNewConstMetric(m.desc, m.kind, v, labels...)
}

func (e emitter) traffic(s *sums) {
	for r, n := range s.requests {
		code := otherLabel
		if r.status != otherStatus {
			code = strconv.Itoa(r.status)
		}
		e.put(requestsTotal, float64(n), r.rule, r.service, r.backend, code)
	}
	for _, v := range s.volumes {
		e.put(requestBytes, float64(v.bytesIn), v.rule, v.service)
		e.put(responseBytes, float64(v.bytesOut), v.rule, v.service)
		e.histogram(v)
	}
	for word, n := range s.failed {
		e.put(failuresTotal, float64(n), word)
	}
	e.put(attemptsTotal, float64(s.attempts))
	e.put(retriesTotal, float64(s.retries))
	e.put(queuedNow, float64(s.queued))
	e.put(tunnelsOpen, float64(s.tunnels))
	e.put(sessionsOpen, float64(s.sessions))
	e.put(datagramsLost, float64(s.datagramsLost))
}

func (e emitter) histogram(v *volume) {
	below := make(map[float64]uint64, len(buckets))
	n := uint64(0)
	for i, bound := range buckets {
		n += uint64(v.within[i])
		below[float64(bound)/1e9] = n
	}
	n += uint64(v.within[len(buckets)])
	e <- prometheus.MustNewConstHistogram(durations.desc, n, float64(v.nanoseconds)/1e9, below, v.rule, v.service)
}

func (e emitter) connections(s *sums) {
	e.put(connsAccepted, float64(s.accepted))
	e.put(connsClosed, float64(s.closed))
	e.put(connsOver, float64(s.overLimit))
	e.put(connsFailed, float64(s.acceptErrors))
	e.put(bytesRead, float64(s.bytesIn))
	e.put(bytesWritten, float64(s.bytesOut))
	for side, results := range s.shakes {
		for r, n := range results {
			e.put(shakesTotal, float64(n), sideWords[side], shakeWords[r])
		}
	}
	e.put(upConnects, float64(s.connects))
	e.put(upReused, float64(s.reused))
	e.put(upIdle, float64(s.idle))
}

// backends reads the live records. An address that serves two services stands
// under both.
func (e emitter) backends(t *rules.Table) {
	if t == nil {
		return
	}
	now := health.Now()
	seen := map[[2]string]bool{}
	for _, use := range t.Backends() {
		b := use.Backend
		for _, service := range use.Services {
			at := [2]string{label(service), b.Addr.String()}
			if seen[at] {
				continue
			}
			seen[at] = true
			e.put(backendUp, oneIf(!b.Down()), at[:]...)
			e.put(backendEjected, oneIf(b.Ejected(now) != 0), at[:]...)
			e.put(backendInFlight, float64(b.InFlight()), at[:]...)
			if s := b.Status(); s != nil {
				e.put(backendChecks, float64(s.Passed), at[0], at[1], "passed")
				e.put(backendChecks, float64(s.Failed), at[0], at[1], "failed")
			}
		}
	}
	e.put(rulesInUse, float64(len(t.Entries())))
}

// emit sends what the Proxy itself knows, rather than its Loops.
func (p *Proxy) emit(e emitter) {
	e.put(connsOpen, float64(p.connections.Load()))
	e.put(shakesNow, float64(p.shaking.Load()))
	panicked, _ := p.Panics()
	e.put(panicsTotal, float64(panicked))
	e.put(tableGeneration, float64(p.reloads.applied.Load()))
	e.put(reloadsTotal, float64(p.reloads.good.Load()), "success")
	e.put(reloadsTotal, float64(p.reloads.bad.Load()), "rejected")
	if at := p.reloads.goodAt.Load(); at != 0 {
		e.put(reloadedAt, float64(health.Time(at).UnixNano())/1e9)
	}
	e.put(loopsTotal, float64(len(p.cores)))
	var dropped int64
	if a := p.access.Load(); a != nil {
		dropped = a.Dropped()
	}
	e.put(logDropped, float64(dropped))
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
