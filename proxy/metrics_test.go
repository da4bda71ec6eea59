package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// exposition is the text that a scrape gets. Gathering finds samples that
// contradict their description, and label sets that occur twice.
func exposition(t *testing.T, cs ...prometheus.Collector) string {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(cs...)
	families, err := r.Gather()
	require.NoError(t, err)
	var b bytes.Buffer
	for _, f := range families {
		_, err := expfmt.MetricFamilyToText(&b, f)
		require.NoError(t, err)
	}
	return b.String()
}

// scrape is every sample by its name and labels as they stand in the exposition.
func (b *bed) scrape() map[string]float64 {
	b.t.Helper()
	for begun := time.Now(); ; {
		samples := map[string]float64{}
		for line := range strings.Lines(exposition(b.t, b.Collector())) {
			if line[0] == '#' {
				continue
			}
			i := strings.LastIndexByte(line, ' ')
			v, err := strconv.ParseFloat(strings.TrimSpace(line[i:]), 64)
			require.NoError(b.t, err)
			samples[line[:i]] = v
		}
		if samples["lb_loops_silent"] == 0 { // else what it does not say is missing
			return samples
		}
		require.Less(b.t, time.Since(begun), eventually, "a Loop does not answer")
	}
}

// sample spells a name with labels as the exposition does.
func sample(name string, labels ...string) string {
	var parts []string
	for i := 0; i < len(labels); i += 2 {
		parts = append(parts, fmt.Sprintf("%s=%q", labels[i], labels[i+1]))
	}
	return name + "{" + strings.Join(parts, ",") + "}"
}

func TestMetrics_CountByRuleServiceBackendAndCode(t *testing.T) {
	at := backend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/teapot" {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = io.WriteString(w, "four")
	})
	b := newBed(t, func(b *bed) { b.rule.Name, b.rule.Hostname = "r", "web" }, at)
	ask := func(path, host string) {
		b.exchange("POST " + path + " HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc")
	}
	ask("/", "web")
	ask("/teapot", "web")
	ask("/", "elsewhere")
	b.exchange("nonsense\r\n\r\n")
	b.apply() // counts outlive a reload
	ask("/", "web")

	got := b.scrape()
	f := func(want float64, name string, labels ...string) {
		t.Helper()
		key := name
		if len(labels) > 0 {
			key = sample(name, labels...)
		}
		require.Contains(t, got, key)
		require.Equal(t, want, got[key], key)
	}
	f(2, "lb_requests_total", "backend", at, "code", "200", "rule", "r", "service", "web")
	f(1, "lb_requests_total", "backend", at, "code", "418", "rule", "r", "service", "web")
	f(1, "lb_requests_total", "backend", "", "code", "404", "rule", "", "service", "")
	f(1, "lb_requests_total", "backend", "", "code", "400", "rule", "", "service", "")
	f(3, "lb_request_duration_seconds_count", "rule", "r", "service", "web")
	f(3, "lb_request_duration_seconds_bucket", "rule", "r", "service", "web", "le", "60")
	f(9, "lb_request_body_bytes_total", "rule", "r", "service", "web")
	f(12, "lb_response_body_bytes_total", "rule", "r", "service", "web")
	f(1, "lb_failures_total", "reason", "no_rule")
	f(1, "lb_failures_total", "reason", "bad_request")
	f(3, "lb_attempts_total")
	f(0, "lb_retries_total")
	f(5, "lb_client_connections_accepted_total")
	f(1, "lb_backend_up", "backend", at, "service", "web")
	f(0, "lb_backend_ejected", "backend", at, "service", "web")
	f(0, "lb_backend_in_flight_requests", "backend", at, "service", "web")
	f(1, "lb_rules")
	f(2, "lb_table_generation")
	f(2, "lb_loops")
	f(0, "lb_loops_silent")
	require.Equal(t, 3.0, got["lb_upstream_connects_total"]+got["lb_upstream_reused_total"])
}

func TestMetrics_FailuresAndRetries(t *testing.T) {
	gone, alive := refusing(t), named(t, "alive")
	b := newBed(t, func(b *bed) { b.rule.Name = "r" }, gone, alive)
	b.exchange(closing)
	got := b.scrape()
	require.Equal(t, 1.0, got["lb_retries_total"])
	require.Equal(t, 2.0, got["lb_attempts_total"])
	require.Equal(t, 1.0, got[sample("lb_requests_total", "backend", alive, "code", "200", "rule", "r", "service", "web")])
	require.NotContains(t, got, sample("lb_failures_total", "reason", "connect_failed"), "a retry made up for it")
	for _, be := range b.registry.All() {
		be.SetDown(true, &health.Verdict{Reason: "test"})
	}
	b.exchange(closing)
	got = b.scrape()
	require.Equal(t, 1.0, got[sample("lb_failures_total", "reason", "no_backend")])
	require.Equal(t, 0.0, got[sample("lb_backend_up", "backend", alive, "service", "web")])
	require.Equal(t, 1.0, got[sample("lb_requests_total", "backend", "", "code", "503", "rule", "r", "service", "web")])
}

func TestMetrics_Reloaded(t *testing.T) {
	b := newBed(t, nil)
	require.NotContains(t, b.scrape(), "lb_reload_last_success_timestamp_seconds")
	b.Reloaded(true)
	b.Reloaded(false)
	b.Reloaded(false)
	got := b.scrape()
	require.Equal(t, 1.0, got[sample("lb_reloads_total", "result", "success")])
	require.Equal(t, 2.0, got[sample("lb_reloads_total", "result", "rejected")])
	require.Greater(t, got["lb_reload_last_success_timestamp_seconds"], 1e9)
}

func TestMetrics_FollowPrometheusConventionsAndTheirDocs(t *testing.T) {
	b := newBed(t, func(b *bed) { b.service.Check = &health.Check{} }, named(t, "a"))
	b.exchange(closing)
	b.exchange("GET / HTTP/1.1\r\n\r\n")
	b.Reloaded(true)
	text := exposition(t, b.Collector(), BuildInfo("v1"))
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)

	docs, err := os.ReadFile("../docs/metrics.md")
	require.NoError(t, err)
	written := map[string]bool{}
	for line := range strings.Lines(string(docs)) {
		name, _, ok := strings.Cut(strings.TrimPrefix(line, "| `"), "`")
		others := regexp.MustCompile(`^lb_(source|certificate|acme)_`).MatchString(name) // those of admin and certs
		if ok && strings.HasPrefix(name, "lb_") && !others {
			written[name] = true
		}
	}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, _, _ := strings.Cut(rest, " ")
			require.True(t, written[name], "%s is not in docs/metrics.md", name)
			delete(written, name)
		}
	}
	require.Empty(t, written, "in docs/metrics.md, but not shown")
}

func TestMetrics_OneAddressUnderTwoChecksIsTwoBackends(t *testing.T) {
	at := named(t, "a")
	b := newBed(t, nil, at)
	other := newBedService(at)
	other.Name, other.Check = "other", &health.Check{}
	rule := b.rule
	rule.Service, rule.Hostname = "other", "other"
	table, problems := rules.Compile(rules.Input{Rules: []rules.Rule{b.rule, rule}, Services: []rules.Service{b.service, other}}, b.registry)
	require.Empty(t, problems)
	require.NoError(t, b.Apply(table, &b.opts))
	for _, be := range b.registry.All() {
		if be.Check != "" {
			be.SetDown(true, &health.Verdict{Reason: "test"})
		}
	}
	got := b.scrape()
	require.Equal(t, 1.0, got[sample("lb_backend_up", "backend", at, "service", "web")])
	require.Equal(t, 0.0, got[sample("lb_backend_up", "backend", at, "service", "other")])
}

func TestMetrics_NamesThatAreNotUTF8(t *testing.T) {
	b := newBed(t, func(b *bed) {
		b.rule.Name, b.rule.Service, b.service.Name = "r\xff", "s\xff", "s\xff"
	}, named(t, "a"))
	b.exchange(closing)
	require.Equal(t, 1.0, b.scrape()[sample("lb_request_duration_seconds_count", "rule", "r\uFFFD", "service", "s\uFFFD")])
}

// A Loop that does not answer must neither block a scrape nor let its counters
// fall back to 0, which would count everything twice.
func TestMetrics_SilentLoopKeepsItsNumbers(t *testing.T) {
	b := newBed(t, nil, named(t, "a"))
	b.exchange(closing)
	c := b.Collector().(*collector)
	before, silent := c.sum()
	require.Zero(t, silent)
	b.Stop()
	after, silent := c.sum()
	require.Equal(t, 2, silent)
	require.Equal(t, before, after)
	require.Equal(t, 2, b.Silent(0))
}

func TestObserve_AllocatesNothing(t *testing.T) {
	b := newBed(t, nil, named(t, "a"))
	b.Stop()
	k, x := b.observed()
	require.Zero(t, testing.AllocsPerRun(100, func() { k.observe(x) }))
}

// observed is an Exchange that has ended, on a Loop that has stopped.
func (b *bed) observed() (*core, *Exchange) {
	e := b.Table().Entries()[0]
	x := &Exchange{entry: e, pool: e.Pool, target: e.Pool.Targets[0], status: 200, attempts: 1, began: 1}
	return b.cores[0], x
}

func BenchmarkObserve(b *testing.B) {
	p, err := New(Config{Loops: 1, Log: zap.NewNop()})
	require.NoError(b, err)
	t := &rules.Target{Backend: &health.Backend{}, Service: "s"}
	e := &rules.Entry{Rule: &rules.Rule{Name: "r"}, Pool: &rules.Pool{Targets: []*rules.Target{t}}}
	p.table.Store(new(rules.Table))
	x := &Exchange{entry: e, pool: e.Pool, target: t, status: 200, attempts: 1, began: p.cores[0].loop.Now() - 3e6}
	for b.Loop() {
		p.cores[0].observe(x)
	}
}
