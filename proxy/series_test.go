package proxy

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// tally is a seriesSet with a Proxy to ask for the Table.
type tally struct {
	seriesSet
	proxy *Proxy
}

func newTally(t *testing.T) *tally {
	p, err := New(Config{Loops: 1, Log: zap.NewNop()})
	require.NoError(t, err)
	p.table.Store(new(rules.Table))
	c := &tally{proxy: p}
	c.init()
	return c
}

func entryOf(id int, rule string) *rules.Entry {
	t := &rules.Target{Backend: &health.Backend{}, Service: "s"}
	return &rules.Entry{ID: id, Rule: &rules.Rule{Name: rule}, Pool: &rules.Pool{Targets: []*rules.Target{t}, Service: &rules.Service{Name: "s"}}}
}

func (c *tally) count(e *rules.Entry, at int64) *series {
	s := c.find(&Exchange{entry: e, target: e.Pool.Targets[0]}, c.proxy, at)
	s.count(200)
	return s
}

func TestSeries_OutliveReloads(t *testing.T) {
	c := newTally(t)
	old := entryOf(3, "r")
	c.count(old, 1)
	c.proxy.table.Store(new(rules.Table))
	c.count(entryOf(0, "r"), 2)
	s := c.count(old, 3) // began before the reload
	require.EqualValues(t, 3, s.codes[0].n)
	require.Len(t, c.all, 1)
}

func TestSeries_SameIDInTwoTables(t *testing.T) {
	c := newTally(t)
	a, b := entryOf(0, "a"), entryOf(0, "b")
	for range 3 {
		c.count(a, 1)
		c.count(b, 1)
	}
	require.EqualValues(t, 3, c.all[labels{rule: "a", service: "s", backend: a.Pool.Targets[0].Backend.Addr.String()}].codes[0].n)
	require.EqualValues(t, 3, c.count(b, 1).codes[0].n-1)
}

func TestSeries_RedirectAndNoTarget(t *testing.T) {
	c := newTally(t)
	redirect := &rules.Entry{ID: 0, Rule: &rules.Rule{Name: "r"}}
	require.Equal(t, labels{rule: "r"}, c.find(&Exchange{entry: redirect}, c.proxy, 1).labels)
	require.Equal(t, labels{rule: "x", service: "s"}, c.find(&Exchange{entry: entryOf(1, "x")}, c.proxy, 1).labels)
	require.Equal(t, labels{}, c.find(&Exchange{}, c.proxy, 1).labels)
	require.Same(t, c.find(&Exchange{}, c.proxy, 1), c.find(&Exchange{}, c.proxy, 2))
}

func TestSeries_LimitedNumber(t *testing.T) {
	c := newTally(t)
	c.limit = 10
	for i := range 100 {
		c.count(entryOf(i, "r"+strconv.Itoa(i)), 1)
	}
	require.Len(t, c.all, c.limit+1)
	other := c.all[labels{otherLabel, otherLabel, otherLabel}]
	require.EqualValues(t, 100-c.limit, other.codes[0].n)

	// What was idle for an hour makes room.
	now := seriesIdle + 60e9
	busy := entryOf(1, "r1")
	c.count(busy, now)
	s := c.count(entryOf(200, "new"), now+1)
	require.Equal(t, "new", s.rule)
	require.EqualValues(t, 2, c.count(busy, now+2).codes[0].n-1, "a busy one stays")
	require.Len(t, c.all, 2)
	require.Len(t, c.volumes, 2)
}

func TestSeries_LimitedCodes(t *testing.T) {
	var s series
	for i := range 900 {
		s.count(100 + i)
	}
	require.Len(t, s.codes, maxCodes+1)
	require.Equal(t, codeCount{otherStatus, 900 - maxCodes}, s.codes[maxCodes])
}

func TestVolume_Buckets(t *testing.T) {
	f := func(d int64, want int) {
		t.Helper()
		var v volume
		v.took(d)
		require.EqualValues(t, 1, v.within[want])
	}
	f(0, 0)
	f(500e3, 0)
	f(500e3+1, 1)
	f(60e9, len(buckets)-1)
	f(60e9+1, len(buckets))
}
