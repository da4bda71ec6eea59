package admin

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"arzur.net/lb/certs"
)

// certificateView is one certificate of /api/certificates. Times are missing
// while there is none yet.
type certificateView struct {
	Names      []string   `json:"names"`
	Source     string     `json:"source"`
	Origin     string     `json:"origin"`
	Default    bool       `json:"default,omitempty"`
	Issuer     string     `json:"issuer,omitempty"`
	Serial     string     `json:"serial,omitempty"`
	Key        string     `json:"key,omitempty"`
	NotBefore  *time.Time `json:"not_before,omitempty"`
	NotAfter   *time.Time `json:"not_after,omitempty"`
	OCSP       string     `json:"ocsp,omitempty"`
	MustStaple bool       `json:"must_staple,omitempty"`
	State      string     `json:"state,omitempty"`
	Error      string     `json:"error,omitempty"`
	NextTry    *time.Time `json:"next_try,omitempty"`
}

func viewCertificate(c *certs.Info) certificateView {
	v := certificateView{
		Names: c.Names, Source: c.Source, Origin: c.Origin, Default: c.Default, Issuer: c.Issuer, Serial: c.Serial, Key: c.Key,
		OCSP: c.OCSP, MustStaple: c.MustStaple, State: c.State, Error: c.Error,
	}
	if !c.NotAfter.IsZero() {
		v.NotBefore, v.NotAfter = new(c.NotBefore.UTC()), new(c.NotAfter.UTC())
	}
	if !c.NextTry.IsZero() {
		v.NextTry = new(c.NextTry.UTC())
	}
	return v
}

func (s *Server) certificates(w http.ResponseWriter, _ *http.Request) {
	list := []certificateView{}
	if s.Certs != nil {
		for _, c := range s.Certs.List() {
			list = append(list, viewCertificate(&c))
		}
	}
	s.reply(w, list)
}

var certificateEnds = prometheus.NewDesc("lb_certificate_expiry_seconds",
	"When the certificate ends that clients who ask for the name get, in seconds since 1970.", []string{"name", "source"}, nil)

// certificateExpiries is the metric of certificates, asked for at each scrape.
type certificateExpiries struct{ store *certs.Store }

// Describe implements prometheus.Collector.
func (certificateExpiries) Describe(ch chan<- *prometheus.Desc) { ch <- certificateEnds }

// orders has the metrics of the ACME in use, which a reload may change.
type orders struct{ acme func() *certs.ACME }

// Describe implements prometheus.Collector.
func (orders) Describe(ch chan<- *prometheus.Desc) { (*certs.ACME)(nil).Describe(ch) }

// Collect implements prometheus.Collector.
func (o orders) Collect(ch chan<- prometheus.Metric) {
	if o.acme != nil {
		o.acme().Collect(ch)
	}
}

// Collect implements prometheus.Collector.
func (c certificateExpiries) Collect(ch chan<- prometheus.Metric) {
	if c.store == nil {
		return
	}
	for _, e := range c.store.Expiries() {
		ch <- prometheus.MustNewConstMetric(certificateEnds, prometheus.GaugeValue, float64(e.NotAfter.Unix()), e.Name, e.Source)
	}
}
