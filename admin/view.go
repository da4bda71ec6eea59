package admin

import (
	"cmp"
	"time"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// ruleView is one rule of /api/rules.
type ruleView struct {
	Listen   string       `json:"listen"`
	Match    string       `json:"match"`
	Name     string       `json:"name"`
	Priority int          `json:"priority,omitempty"`
	Service  string       `json:"service,omitempty"`
	Redirect string       `json:"redirect,omitempty"`
	Refused  string       `json:"refused,omitempty"` // why every request is answered with 503
	Origin   string       `json:"origin"`
	Targets  []targetView `json:"targets"`
}

// targetView is one weighted choice.
type targetView struct {
	Address  string `json:"address"`
	Host     string `json:"host"` // as the operator wrote it
	Service  string `json:"service"`
	Weight   int    `json:"weight"`
	Backup   bool   `json:"backup,omitempty"`
	State    string `json:"state,omitempty"` // missing where no lb runs that knows it
	Reason   string `json:"reason,omitempty"`
	InFlight int    `json:"in_flight"`
}

// serviceView is one set of choices of /api/services: a service, or several that
// rules with the same match have merged. A limit that is missing is the default.
type serviceView struct {
	Name            string       `json:"name"`
	Origin          string       `json:"origin"`
	Rules           []string     `json:"rules"`
	Balance         string       `json:"balance"`
	Check           string       `json:"check,omitempty"`
	MaxConnections  int          `json:"max_connections,omitempty"`
	QueueTimeout    string       `json:"queue_timeout,omitempty"`
	ConnectTimeout  string       `json:"connect_timeout,omitempty"`
	ResponseTimeout string       `json:"response_timeout,omitempty"`
	Hold            string       `json:"hold,omitempty"`
	Retries         *int         `json:"retries,omitempty"`
	WhenAllDown     string       `json:"when_all_down"`
	Usable          int          `json:"usable"`
	Servers         []targetView `json:"servers"`
}

// backendView is one server of /api/backends.
type backendView struct {
	Address      string     `json:"address"`
	State        string     `json:"state"`
	Reason       string     `json:"reason,omitempty"`
	Since        *time.Time `json:"since,omitempty"`
	EjectedUntil *time.Time `json:"ejected_until,omitempty"`
	InFlight     int        `json:"in_flight"`
	Services     []useView  `json:"services"` // none: no rule names it any more
	Check        string     `json:"check,omitempty"`
	Phase        string     `json:"phase,omitempty"`
	LastCheck    *checkView `json:"last_check,omitempty"`
}

// useView says for which service a Backend is a choice.
type useView struct {
	Name   string `json:"name"`
	Weight int    `json:"weight"`
	Backup bool   `json:"backup,omitempty"`
}

// checkView is what the active check has found.
type checkView struct {
	At     time.Time `json:"at"`
	Result string    `json:"result"`
	TookMS float64   `json:"took_ms"`
	Passed uint64    `json:"passed"`
	Failed uint64    `json:"failed"`
}

// problemView is one line of /api/rejected.
type problemView struct {
	Rule    string `json:"rule,omitempty"`
	Origin  string `json:"origin"`
	Other   string `json:"other_origin,omitempty"`
	Reason  string `json:"reason"`
	InForce bool   `json:"in_force"` // a warning only
}

// versionView is /api/version.
type versionView struct {
	Version  string    `json:"version"`
	Go       string    `json:"go"`
	Platform string    `json:"platform"`
	PID      int       `json:"pid"`
	Started  time.Time `json:"started"`
}

func viewRule(e *rules.Entry, now int64) ruleView {
	v := ruleView{
		Listen:   e.Listen.String(),
		Match:    e.Match(),
		Name:     e.Rule.Name,
		Priority: e.Rule.Priority,
		Origin:   e.Rule.Origin,
		Targets:  []targetView{},
	}
	v.Refused = e.Rule.Refuse
	if e.Rule.Redirect != nil {
		v.Redirect = e.Rule.Redirect.String()
	}
	if e.Pool == nil {
		return v
	}
	v.Service = e.Pool.Name
	v.Targets = viewTargets(e.Pool, now)
	return v
}

func viewTargets(p *rules.Pool, now int64) []targetView {
	list := make([]targetView, 0, len(p.Targets))
	for _, t := range p.Targets {
		list = append(list, targetView{
			Address:  t.Backend.Addr.String(),
			Host:     t.Host,
			Service:  t.Service,
			Weight:   t.Weight,
			Backup:   t.Backup,
			State:    t.Backend.State(now),
			Reason:   reason(t.Backend, now),
			InFlight: t.Backend.InFlight(),
		})
	}
	return list
}

// reason is why the Backend is not up, "" if it is: the newest verdict may be
// about an ejection that is over.
func reason(b *health.Backend, now int64) string {
	if v := b.Verdict(); v != nil && !b.Usable(now) {
		return v.Reason
	}
	return ""
}

func viewServices(t *rules.Table, now int64) []serviceView {
	names := map[*rules.Pool][]string{}
	for _, e := range t.Entries() {
		if e.Pool != nil {
			names[e.Pool] = append(names[e.Pool], e.Rule.Name)
		}
	}
	list := make([]serviceView, 0, len(t.Pools()))
	for _, p := range t.Pools() {
		list = append(list, serviceView{
			Name:            p.Name,
			Origin:          p.Service.Origin,
			Rules:           names[p],
			Balance:         cmp.Or(p.Service.Balance, rules.DefaultBalance),
			Check:           p.Service.Check.Key(),
			MaxConnections:  p.Service.MaxConnections,
			QueueTimeout:    own(p.QueueTimeout),
			ConnectTimeout:  own(p.ConnectTimeout),
			ResponseTimeout: own(p.ResponseTimeout),
			Hold:            own(p.Hold),
			Retries:         p.Retries,
			WhenAllDown:     map[rules.WhenAllDown]string{rules.Fail: "fail", rules.Try: "try"}[p.WhenAllDown],
			Usable:          usable(p, now),
			Servers:         viewTargets(p, now),
		})
	}
	return list
}

// own is a limit that the service itself sets, "" if it does not.
func own(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

func viewBackends(all []*health.Backend, pools []*rules.Pool, now int64) []backendView {
	uses := map[*health.Backend][]useView{}
	for _, p := range pools {
		for _, t := range p.Targets {
			uses[t.Backend] = append(uses[t.Backend], useView{t.Service, t.Weight, t.Backup})
		}
	}
	list := make([]backendView, 0, len(all))
	for _, b := range all {
		list = append(list, viewBackend(b, uses[b], now))
	}
	return list
}

func viewBackend(b *health.Backend, uses []useView, now int64) backendView {
	v := backendView{
		Address:  b.Addr.String(),
		State:    b.State(now),
		Reason:   reason(b, now),
		InFlight: b.InFlight(),
		Services: uses,
		Check:    b.Check,
	}
	if uses == nil {
		v.Services = []useView{}
	}
	if s := b.Status(); s != nil {
		v.Phase = s.Phase.String()
		v.Since = clock(s.Since)
		if s.Last.Reason != "" {
			v.LastCheck = &checkView{*clock(s.Last.At), s.Last.Reason, float64(s.Took.Microseconds()) / 1e3, s.Passed, s.Failed}
		}
	}
	if until := b.Ejected(now); until != 0 {
		v.EjectedUntil = clock(until)
		if verdict := b.Verdict(); verdict != nil {
			v.Since = clock(verdict.At)
		}
	}
	return v
}

// clock is a reading of health.Now as people read time.
func clock(at int64) *time.Time {
	return new(health.Time(at).UTC().Truncate(time.Millisecond))
}
