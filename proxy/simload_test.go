package proxy

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// How much goes wrong in a simWorld.
const (
	faultsNone = iota // nothing: every request gets its answer
	faultsIdle        // backends close idle connections, one refuses: only what cannot be repeated may fail
	faultsAll         // anything
)

// simWorld is an engine among backends and clients that a seed has drawn, and
// what has gone wrong there.
type simWorld struct {
	*simBed
	rng      *rand.Rand
	level    int
	backends int
	plans    []*simPlan
	clients  []*simClient
	wrong    []string
	drainAt  int64
	holds    bool // there are times without a backend, and requests wait them out
}

func newSimWorld(t testing.TB, seed uint64) *simWorld {
	r := rand.New(rand.NewPCG(seed, 1))
	w := &simWorld{rng: r, level: int(seed % 3), simBed: newSimBed(t, seed, 1+r.IntN(2)), backends: 1 + r.IntN(4)}
	w.MaxRead, w.MaxWrite = pick(r, 0, 0, 0, 1, 7, 200, 5000), pick(r, 0, 0, 0, 1, 50, 5000)
	w.Window = pick(r, 64<<10, 64<<10, 64<<10, 1000, 3)
	w.Ragged, w.Shuffle = r.IntN(2) == 0, r.IntN(2) == 0
	w.Latency, w.ConnectDelay = pick[int64](r, 0, 0, 1e5, 3e6), pick[int64](r, 0, 1e6)
	if r.IntN(3) == 0 {
		w.service.MaxConnections = 1 + r.IntN(2)
	}
	if w.holds = r.IntN(3) == 0; w.holds {
		w.service.Hold = new(time.Minute)
	}
	w.opts.QueueTimeout = time.Hour
	w.opts.UpstreamKeepAlive = pick(r, 50*time.Second, 100*time.Millisecond)
	switch w.level {
	case faultsIdle:
		if w.backends > 1 {
			w.Refuse(simBack(0), syscall.ECONNREFUSED)
		}
	case faultsAll:
		w.spoil()
	}
	w.secure(rand.New(rand.NewPCG(seed, 2)))
	w.Collect = seed/3%2 == 1
	for n := range w.backends {
		w.serve(n)
	}
	w.use(w.some()...)
	for range 1 + r.IntN(6) {
		w.addClient()
	}
	w.disturb()
	return w
}

// secure draws who speaks TLS.
func (w *simWorld) secure(r *rand.Rand) {
	if r.IntN(4) == 0 {
		w.secureFront()
		w.front.MaxVersion = pick[uint16](r, tls.VersionTLS12, tls.VersionTLS13)
	}
	if r.IntN(4) == 0 {
		w.secureBack()
		w.back.MaxVersion = pick[uint16](r, tls.VersionTLS12, tls.VersionTLS13)
		if w.level < faultsAll {
			w.opts.ConnectTimeout = time.Hour // a handshake a byte at a time takes its time
		}
	}
}

// spoil draws faults and short timeouts.
func (w *simWorld) spoil() {
	r, o := w.rng, &w.opts
	w.ResetChance = pick(r, 0, 0, 0.001, 0.01)
	w.RefuseChance = pick(r, 0, 0, 0.1, 0.5)
	if r.IntN(4) == 0 {
		w.Drop(simBack(0))
	}
	draw := func(d *time.Duration) {
		if r.IntN(3) == 0 {
			*d = time.Duration(10e6 + r.Int64N(2e9))
		}
	}
	for _, d := range []*time.Duration{&o.HeaderTimeout, &o.BodyTimeout, &o.ConnectTimeout, &o.ResponseTimeout, &o.ResponseBodyTimeout,
		&o.WriteTimeout, &o.KeepAliveTimeout, &o.TunnelTimeout, &o.QueueTimeout} {
		draw(d)
	}
	if r.IntN(4) == 0 {
		draw(&o.TotalTimeout)
	}
	if w.holds {
		draw(w.service.Hold)
	}
	o.QueueLength = 1 + r.IntN(4)
	o.MaxBody = pick[int64](r, 0, 0, 1000)
	o.MaxConnections = pick(r, 0, 0, 2)
	o.Retries = r.IntN(4)
}

// some draws backends to use. With faultsIdle the first one refuses, so there is another.
func (w *simWorld) some() []int {
	all := w.rng.Perm(w.backends)
	if w.level == faultsIdle {
		return all
	}
	return all[:1+w.rng.IntN(len(all))]
}

// addClient draws a client that begins some time soon.
func (w *simWorld) addClient() {
	r := w.rng
	c := &simClient{w: w, pipelined: r.IntN(3) == 0, slow: r.IntN(4) == 0, halfClose: r.IntN(4) == 0}
	if w.Window < 100 && w.level < faultsAll {
		c.slow = false // it would take longer than a connection lingers
	}
	for range 1 + r.IntN(5) {
		p := w.newPlan()
		c.plans = append(c.plans, p)
		c.pipelined = c.pipelined && !p.expect && !p.tunnel
		if p.last {
			break
		}
	}
	w.clients = append(w.clients, c)
	start := r.Int64N(2e9)
	w.After(start, c.begin)
	if w.level == faultsAll && r.IntN(4) == 0 {
		end := pick(r, c.leave, func() { c.over = true; c.Reset() })
		w.After(start+1+r.Int64N(2e9), end)
	}
}

// disturb draws changes of the Table and, at times, a drain, after which nobody
// may be held.
func (w *simWorld) disturb() {
	if w.holds {
		for range w.rng.IntN(4) {
			w.After(w.rng.Int64N(3e9), w.vanish)
		}
	}
	for range w.rng.IntN(3) {
		w.After(w.rng.Int64N(3e9), func() {
			if w.drainAt == 0 {
				w.use(w.some()...)
			}
		})
	}
	if w.rng.IntN(4) == 0 && (!w.holds || w.level == faultsAll) {
		w.After(w.rng.Int64N(3e9), func() {
			w.drainAt = w.Now()
			w.drain()
		})
	}
}

// vanish takes all backends away for a while: out of the Table, or off the
// network, or both.
func (w *simWorld) vanish() {
	if w.drainAt != 0 {
		return
	}
	how, back := w.rng.IntN(3), w.rng.Int64N(2e9)
	if how > 0 {
		for n := range w.backends {
			w.Refuse(simBack(n), syscall.ECONNREFUSED)
			w.After(back, func() { w.Restore(simBack(n)) })
		}
	}
	if how < 2 {
		w.use()
		w.After(w.rng.Int64N(back+1), func() { // before they listen again, if they do not
			if w.drainAt == 0 {
				w.use(w.some()...)
			}
		})
	}
}

func (w *simWorld) complain(format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// unless complains in worlds with fewer faults than level.
func (w *simWorld) unless(level int, format string, args ...any) {
	if w.level < level {
		w.complain(format, args...)
	}
}

// watch checks what holds at any moment.
func (w *simWorld) watch() bool {
	for _, k := range w.cores {
		held := 0
		for _, n := range k.heldFor {
			held += n
		}
		if held != len(k.held) {
			w.complain("%d Exchanges are held, and %d are counted", len(k.held), held)
		}
		for _, x := range k.held {
			if !x.held || x.stage != stageQueued || x.client.x != x || x.up != nil || x.claimed {
				w.complain("an Exchange in stage %d is held", x.stage)
			}
		}
		for _, c := range k.clients {
			if c.Deadline() == 0 {
				w.complain("a client has no deadline in phase %d", c.phase)
			}
			if c.x == nil || c.x.up == nil {
				continue
			}
			if c.x.up.x != c.x || c.x.client != c {
				w.complain("an Exchange and its connections disagree in phase %d", c.phase)
			}
			if c.x.up.Deadline() == 0 {
				w.complain("an upstream has no deadline in stage %d", c.x.stage)
			}
		}
		for _, list := range k.idle {
			for i, u := range list.conns {
				if u.x != nil || u.Deadline() == 0 || int(u.slot) != i {
					w.complain("an idle upstream has an Exchange, no deadline or the wrong slot")
				}
			}
		}
	}
	return len(w.wrong) > 0
}

// judge checks what holds when all is over.
func (w *simWorld) judge() {
	for _, p := range w.plans {
		most := 1
		if p.idempotent() {
			most = 2 * (1 + min(w.opts.Retries, maxTries-1)) // each over a stale connection first
		}
		if p.hits > most {
			w.complain("request %d (%s) reached backends %d times, want at most %d", p.id, p.method, p.hits, most)
		}
		if p.bad && p.whole > 0 {
			w.complain("request %d, which is malformed, reached a backend as a whole one", p.id)
		}
	}
	for n, c := range w.clients {
		if c.simPeer == nil {
			w.complain("client %d never began", n)
		} else if !c.over && (c.tunnel == nil || !c.tunnel.over) {
			w.complain("client %d is left hanging with %d of %d answers", n, c.next, c.sent)
		}
		if w.level < faultsAll && c.next < len(c.plans) && !w.excused(c) {
			w.complain("client %d got %d of %d answers, broken: %v", n, c.next, len(c.plans), c.Broken())
		}
	}
}

// excused says whether a client has gone short for a reason.
func (w *simWorld) excused(c *simClient) bool {
	at := c.plans[c.next].sentAt
	switch {
	case w.level == faultsIdle && c.closing: // after a 502 to what could not be repeated
		return true
	case w.drainAt == 0:
		return false
	}
	return c.closing || at == 0 || at > w.drainAt+300e6 || c.Broken() == syscall.ECONNREFUSED
}

// simSeeds is how many worlds a run of the tests tries, the first being number
// LB_SIM_FIRST; LB_SIM_SEEDS asks for more.
const simSeeds = 1500

func envNumber(t *testing.T, name string, otherwise uint64) uint64 {
	text, set := os.LookupEnv(name)
	if !set {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err, name)
	return n
}

func TestSim_KeepsItsPromisesWhateverHappens(t *testing.T) {
	first := envNumber(t, "LB_SIM_FIRST", 0)
	failed := 0
	for seed := first; seed < first+envNumber(t, "LB_SIM_SEEDS", simSeeds); seed++ {
		w := newSimWorld(t, seed)
		w.step(w.watch)
		if len(w.wrong) == 0 {
			w.wrong = w.settle()
			w.judge()
		}
		if len(w.wrong) == 0 {
			continue
		}
		t.Errorf("seed %d (faults %d, %d loops): %q", seed, w.level, len(w.loops), w.wrong)
		if failed++; failed == 10 {
			t.Fatal("more seeds would fail")
		}
	}
}
