package certs

import (
	"cmp"
	"crypto/tls"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// How it is with a name: ACMEStatus.State, and label values of lb_acme_names.
const (
	ACMEWaiting  = "waiting"  // not looked at yet, or another lb orders
	ACMEOrdering = "ordering" // this one does
	ACMEValid    = "valid"    // there is a certificate, and it is not due
	ACMEFailed   = "failed"   // ordering did not work; there may be an older certificate
	ACMECovered  = "covered"  // a certificate in a file has the name
	ACMERefused  = "refused"  // no certificate is to be had for such a name
)

var states = []string{ACMEWaiting, ACMEOrdering, ACMEValid, ACMEFailed, ACMECovered, ACMERefused}

// ACMEStatus is how it is with one name.
type ACMEStatus struct {
	Name    string
	State   string
	Error   string    // what went wrong the last time; "": nothing
	NextTry time.Time // the next order or look; zero: none
	Expires time.Time // of the certificate; zero: there is none

	Certificate *tls.Certificate // the best there is, with its Leaf; nil: none
}

// Status is how it is with all names, in their order.
func (a *ACME) Status() []ACMEStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]ACMEStatus, 0, len(a.names))
	for _, n := range a.names {
		s := ACMEStatus{Name: n.name, State: n.state, NextTry: n.next}
		if n.err != nil {
			s.Error = n.err.Error()
		}
		if n.cert != nil {
			s.Certificate, s.Expires = n.cert, n.cert.Leaf.NotAfter
		}
		if n.state == ACMERefused || n.state == ACMECovered {
			s.NextTry = time.Time{}
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(x, y ACMEStatus) int { return cmp.Compare(x.Name, y.Name) })
	return all
}

func (a *ACME) count(result string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.orders[result]++
}

// The metrics. docs/metrics.md says more about each.
var (
	ordersTotal = prometheus.NewDesc("lb_acme_orders_total", "Orders of certificates ended, by how.", []string{"result"}, nil)
	namesNow    = prometheus.NewDesc("lb_acme_names", "Names that are to have a certificate by ACME.", []string{"state"}, nil)
)

// Describe implements prometheus.Collector.
func (a *ACME) Describe(ch chan<- *prometheus.Desc) {
	ch <- ordersTotal
	ch <- namesNow
}

// Collect implements prometheus.Collector. Of a nil ACME there is nothing to say.
func (a *ACME) Collect(ch chan<- prometheus.Metric) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, result := range results {
		ch <- prometheus.MustNewConstMetric(ordersTotal, prometheus.CounterValue, float64(a.orders[result]), result)
	}
	count := make(map[string]int)
	for _, n := range a.names {
		count[n.state]++
	}
	for _, state := range states {
		ch <- prometheus.MustNewConstMetric(namesNow, prometheus.GaugeValue, float64(count[state]), state)
	}
}
