package admin

import "github.com/prometheus/client_golang/prometheus"

var (
	sourceUp = prometheus.NewDesc("lb_source_up",
		"1 while a source other than files is heard of, 0 while what it last said stays in use.", []string{"source"}, nil)
	sourceAge = prometheus.NewDesc("lb_source_age_seconds",
		"How long a source other than files has not been heard of; 0 while it is.", []string{"source"}, nil)
)

// sourceAges are the metrics of Sources, asked for at each scrape.
type sourceAges struct{ list func() []Source }

// Describe implements prometheus.Collector.
func (sourceAges) Describe(ch chan<- *prometheus.Desc) {
	ch <- sourceUp
	ch <- sourceAge
}

// Collect implements prometheus.Collector.
func (s sourceAges) Collect(ch chan<- prometheus.Metric) {
	if s.list == nil {
		return
	}
	for _, source := range s.list() {
		up := 1.0
		if source.Failure != "" {
			up = 0
		}
		ch <- prometheus.MustNewConstMetric(sourceUp, prometheus.GaugeValue, up, source.Name)
		ch <- prometheus.MustNewConstMetric(sourceAge, prometheus.GaugeValue, source.Age.Seconds(), source.Name)
	}
}
