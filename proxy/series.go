package proxy

import (
	"strings"

	"arzur.net/lb/rules"
)

// maxSeries bounds the label sets that one Loop counts under: what containers
// that come and go announce must not fill the memory, nor hold the Loop up for
// longer than the 3 ms that a scrape takes it then.
const maxSeries = 20_000

// otherLabel stands for what came after maxSeries label sets.
const otherLabel = "other"

// seriesIdle is for how long nothing was counted under a label set that has to
// make room for a new one. Its counter begins at 0 if it comes back.
const seriesIdle = int64(3600e9)

// labels name what an Exchange is counted under. They are text rather than an
// Entry and a Target, so that counts outlive reloads.
type labels struct{ rule, service, backend string }

// series counts the Exchanges of one rule, service and Backend by status.
type series struct {
	labels
	codes  []codeCount
	volume *volume
	used   int64 // Loop.Now when it was looked up last
}

// codeCount is how often one status was answered.
type codeCount struct {
	status int
	n      int64
}

// maxCodes bounds the statuses of one series; Backends may invent them.
const maxCodes = 32

// otherStatus counts the statuses beyond maxCodes.
const otherStatus = -1

func (s *series) count(status int) {
	for i := range s.codes {
		if s.codes[i].status == status {
			s.codes[i].n++
			return
		}
	}
	switch n := len(s.codes); {
	case n < maxCodes:
		s.codes = append(s.codes, codeCount{status, 1})
	case n == maxCodes:
		s.codes = append(s.codes, codeCount{otherStatus, 1})
	default:
		s.codes[maxCodes].n++
	}
}

// buckets are the upper bounds of the duration histogram, in nanoseconds: from
// what a Backend on the same machine takes to the default response timeout.
var buckets = [...]int64{
	500e3, 1e6, 2500e3, 5e6, 10e6, 25e6, 50e6, 100e6, 250e6, 500e6, 1e9, 2500e6, 5e9, 10e9, 30e9, 60e9,
}

// volume is how long the Exchanges of one rule and service took and what they moved.
type volume struct {
	rule, service     string
	within            [len(buckets) + 1]int64 // not cumulative; the last is above all bounds
	nanoseconds       int64
	bytesIn, bytesOut int64 // of bodies
	used              int64
}

func (v *volume) took(d int64) {
	i := 0
	for i < len(buckets) && d > buckets[i] {
		i++
	}
	v.within[i]++
	v.nanoseconds += d
}

// seriesSet holds the series of one Loop and finds that of an Exchange.
type seriesSet struct {
	all     map[labels]*series
	volumes map[[2]string]*volume
	unruled *series // of Exchanges without a rule, nil until there is one
	limit   int
	swept   int64 // Loop.Now when room was made last

	table *rules.Table
	slots []slot // by Entry.ID of table
}

// slot is the short way to the series of one Entry: one for each Target, behind
// that for no Target.
type slot struct {
	entry  *rules.Entry
	series []*series
}

func (s *seriesSet) init() {
	s.limit = maxSeries
	s.all = map[labels]*series{}
	s.volumes = map[[2]string]*volume{}
}

// find is the series of x. Only the first Exchange of an Entry and Target after
// a change of the Table takes the long way.
func (s *seriesSet) find(x *Exchange, p *Proxy, now int64) *series {
	one := s.unruled
	if x.entry != nil {
		one = s.findRuled(x, p, now)
	} else if one == nil {
		one = s.resolve(labels{}, now)
		s.unruled = one
	}
	one.used, one.volume.used = now, now
	return one
}

func (s *seriesSet) findRuled(x *Exchange, p *Proxy, now int64) *series {
	e := x.entry
	if e.ID >= len(s.slots) || s.slots[e.ID].entry != e {
		s.bind(e, p.Table())
	}
	i := 0
	if x.target != nil {
		i = 1 + x.target.Index
	}
	one := s.slots[e.ID].series[i]
	if one == nil {
		one = s.resolve(labelsOf(x), now)
		if s.slots[e.ID].entry == e { // unless making room has just emptied it
			s.slots[e.ID].series[i] = one
		}
	}
	return one
}

// bind makes the slot of e, which need not be of table if the Exchange began before a reload.
func (s *seriesSet) bind(e *rules.Entry, table *rules.Table) {
	if s.table != table {
		s.table = table
		clear(s.slots)
	}
	if want := max(len(table.Entries()), e.ID+1); want > len(s.slots) {
		s.slots = append(s.slots, make([]slot, want-len(s.slots))...)
	}
	targets := 0
	if e.Pool != nil {
		targets = len(e.Pool.Targets)
	}
	s.slots[e.ID] = slot{e, make([]*series, 1+targets)}
}

// labelsOf says what x is counted under.
func labelsOf(x *Exchange) labels {
	l := labels{rule: label(x.entry.Rule.Name), service: label(x.service())}
	if x.target != nil {
		l.backend = x.target.Backend.Addr.String()
	}
	return l
}

// service is the name of the service that the Target came with, without a
// Target that of the rule. x has an Entry.
func (x *Exchange) service() string {
	switch {
	case x.target != nil:
		return x.target.Service
	case x.entry.Pool != nil:
		return x.entry.Pool.Service.Name
	}
	return ""
}

// label is a name as a label value, which has to be valid UTF-8.
func label(name string) string { return strings.ToValidUTF8(name, "\uFFFD") }

func (s *seriesSet) resolve(l labels, now int64) *series {
	if one := s.all[l]; one != nil {
		return one
	}
	if len(s.all) >= s.limit {
		s.makeRoom(now)
	}
	if len(s.all) >= s.limit {
		l = labels{otherLabel, otherLabel, otherLabel}
		if one := s.all[l]; one != nil {
			return one
		}
	}
	return s.add(l)
}

func (s *seriesSet) add(l labels) *series {
	key := [2]string{l.rule, l.service}
	v := s.volumes[key]
	if v == nil {
		v = &volume{rule: l.rule, service: l.service}
		s.volumes[key] = v
	}
	one := &series{labels: l, volume: v}
	s.all[l] = one
	return one
}

// makeRoom forgets what was not used for long. It looks at most once a minute.
func (s *seriesSet) makeRoom(now int64) {
	if s.swept != 0 && now-s.swept < 60e9 {
		return
	}
	s.swept = now
	for l, one := range s.all {
		if now-one.used > seriesIdle {
			delete(s.all, l)
		}
	}
	for key, v := range s.volumes {
		if now-v.used > seriesIdle {
			delete(s.volumes, key)
		}
	}
	clear(s.slots)
	s.unruled = nil
}
