package proxy

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"arzur.net/lb/health"
)

// metric is one name under which Prometheus finds something.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

// described are all metrics of Collector, filled by the table below.
var described []*metric

func counts(name, help string, labels ...string) *metric {
	return describe(prometheus.CounterValue, name, help, labels)
}

func gauges(name, help string, labels ...string) *metric {
	return describe(prometheus.GaugeValue, name, help, labels)
}

func histograms(name, help string, labels ...string) *metric {
	return describe(prometheus.UntypedValue, name, help, labels)
}

func describe(kind prometheus.ValueType, name, help string, labels []string) *metric {
	m := &metric{prometheus.NewDesc(name, help, labels, nil), kind}
	described = append(described, m)
	return m
}

// The metrics. docs/metrics.md says more about each.
var (
	requestsTotal = counts("lb_requests_total", "Exchanges ended, by rule, service, the backend asked last, and status.", "rule", "service", "backend", "code")
	durations     = histograms("lb_request_duration_seconds", "From the request head to the last byte of the response.", "rule", "service")
	requestBytes  = counts("lb_request_body_bytes_total", "Bytes of request bodies.", "rule", "service")
	responseBytes = counts("lb_response_body_bytes_total", "Bytes of response bodies.", "rule", "service")
	failuresTotal = counts("lb_failures_total", "Exchanges that did not end with a backend's complete answer.", "reason")
	attemptsTotal = counts("lb_attempts_total", "Attempts at a backend.")
	retriesTotal  = counts("lb_retries_total", "Attempts that followed a failed one.")
	queuedNow     = gauges("lb_queued_requests", "Requests that wait for a place on a backend, or for a backend.")
	tunnelsOpen   = gauges("lb_tunnels", "Connections that carry bytes as they come: tcp, tls, sni, and websockets.")
	sessionsOpen  = gauges("lb_udp_sessions", "Clients of udp rules that have been heard of lately.")
	datagramsLost = counts("lb_udp_dropped_datagrams_total", "Datagrams that were not passed on: no rule, server or room for them.")
	panicsTotal   = counts("lb_panics_total", "Contained panics of the engine; each is a defect.")

	connsOpen     = gauges("lb_client_connections", "Open client connections.")
	connsAccepted = counts("lb_client_connections_accepted_total", "Client connections accepted.")
	connsClosed   = counts("lb_client_connections_closed_total", "Client connections closed.")
	connsOver     = counts("lb_client_connections_over_limit_total", "Times that accepting paused at max_connections.")
	connsFailed   = counts("lb_accept_errors_total", "Errors of accept, and connections to servers that could not be tried.")
	bytesRead     = counts("lb_client_read_bytes_total", "Bytes read from clients, heads included.")
	bytesWritten  = counts("lb_client_written_bytes_total", "Bytes written to clients, heads included.")
	shakesTotal   = counts("lb_tls_handshakes_total", "TLS handshakes ended, by whom they were with and how they ended.", "side", "result")
	shakesNow     = gauges("lb_tls_handshakes_in_progress", "TLS handshakes under way.")
	upConnects    = counts("lb_upstream_connects_total", "Connections to backends begun.")
	upReused      = counts("lb_upstream_reused_total", "Attempts on a connection that was open already.")
	upIdle        = gauges("lb_upstream_idle_connections", "Connections to backends that wait for a request.")

	backendUp       = gauges("lb_backend_up", "1 if the active check finds the backend up, or there is none.", "service", "backend")
	backendEjected  = gauges("lb_backend_ejected", "1 while failures of live traffic keep requests away.", "service", "backend")
	backendInFlight = gauges("lb_backend_in_flight_requests", "Attempts under way.", "service", "backend")
	backendChecks   = counts("lb_backend_checks_total", "Active checks ended.", "service", "backend", "result")

	rulesInUse      = gauges("lb_rules", "Rules in use.")
	tableGeneration = gauges("lb_table_generation", "How many tables of rules were put into use.")
	reloadsTotal    = counts("lb_reloads_total", "Configurations read again, by whether they were taken into use.", "result")
	reloadedAt      = gauges("lb_reload_last_success_timestamp_seconds", "When a configuration was last taken into use.")
	logDropped      = counts("lb_access_log_dropped_lines_total", "Access log lines that could not be written in time.")
	loopsTotal      = gauges("lb_loops", "Event loops.")
	loopsSilent     = gauges("lb_loops_silent", "Event loops that did not answer this scrape; their last numbers are shown.")
)

// reloadStats count what happens to the configuration, outside the Loops.
type reloadStats struct {
	applied, good, bad atomic.Int64
	goodAt             atomic.Int64 // health.Now
}

// Reloaded counts an attempt to read the configuration again; ok says whether it
// was taken into use. The first configuration counts too.
func (p *Proxy) Reloaded(ok bool) {
	if !ok {
		p.reloads.bad.Add(1)
		return
	}
	p.reloads.good.Add(1)
	p.reloads.goodAt.Store(health.Now())
}

// BuildInfo is the metric lb_build_info.
func BuildInfo(version string) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "lb_build_info", Help: "1, with the version as a label.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	}, func() float64 { return 1 })
}

// patience is how long a scrape waits for the Loops.
const patience = 2 * time.Second

// Collector gives Prometheus the Proxy's metrics. Each scrape asks every Loop
// for its numbers; a Loop that does not answer within two seconds is counted
// in lb_loops_silent and stands with its previous numbers.
func (p *Proxy) Collector() prometheus.Collector {
	return &collector{proxy: p, last: make([]*snapshot, len(p.cores))}
}

type collector struct {
	proxy *Proxy
	mu    sync.Mutex
	last  []*snapshot // guarded by mu; by Loop, nil before its first answer
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, m := range described {
		to <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	s, silent := c.sum()
	e := emitter(to)
	e.traffic(s)
	e.connections(s)
	e.backends(c.proxy.Table())
	c.proxy.emit(e)
	e.put(loopsSilent, float64(silent))
}

// sum adds up the numbers of all Loops.
func (c *collector) sum() (total *sums, silent int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	type answer struct {
		loop int
		s    *snapshot
	}
	answers := make(chan answer, len(c.last)) // so that no Loop ever waits for us
	for i, k := range c.proxy.cores {
		k.loop.Post(func() { answers <- answer{i, k.snapshot()} })
	}
	timeout := time.After(patience)
	for silent = len(c.last); silent > 0; silent-- {
		select {
		case a := <-answers:
			c.last[a.loop] = a.s
		case <-timeout:
			return sumOf(c.last), silent
		}
	}
	return sumOf(c.last), 0
}

// Silent is how many Loops do not answer within d: 0 unless one is stuck or stopped.
func (p *Proxy) Silent(d time.Duration) int {
	answers := make(chan struct{}, len(p.cores))
	for _, k := range p.cores {
		k.loop.Post(func() { answers <- struct{}{} })
	}
	timeout := time.After(d)
	for i := range p.cores {
		select {
		case <-answers:
		case <-timeout:
			return len(p.cores) - i
		}
	}
	return 0
}
