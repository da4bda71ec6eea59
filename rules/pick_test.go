package rules

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/health"
)

// pool makes a Pool of servers a, b, c, ... from their weights; "2b" is a
// backup of weight 2.
func pool(t testing.TB, weights string, set ...func(*Service)) *Pool {
	t.Helper()
	s := Service{Name: "s"}
	for i, w := range strings.Fields(weights) {
		inst := service("", fmt.Sprintf("10.0.%d.%d:80", i/250, i%250+1)).Instances[0]
		inst.Host = string(rune('a' + i))
		inst.Weight = new(0)
		_, err := fmt.Sscan(strings.TrimSuffix(w, "b"), inst.Weight)
		require.NoError(t, err)
		inst.Backup = strings.HasSuffix(w, "b")
		s.Instances = append(s.Instances, inst)
	}
	for _, f := range set {
		f(&s)
	}
	table, problems := Compile(Input{Rules: []Rule{{Port: 80, Service: "s"}}, Services: []Service{s}}, NoBackends{})
	require.Empty(t, problems)
	return table.Pools()[0]
}

// picks names the servers of the next n Picks, "-" for none usable, "+" for all full.
func picks(p *Pool, now int64, n int, tried ...*health.Backend) string {
	got := ""
	for range n {
		target, result := p.Pick(now, tried)
		if len(tried) == 0 && p.Serves(now) != (result != NoneUsable) {
			return "Serves is wrong"
		}
		switch result {
		case Picked:
			got += target.Host
			target.Backend.Done(health.Unjudged, now)
		case NoneUsable:
			got += "-"
		case AllFull:
			got += "+"
		}
	}
	return got
}

func setDown(p *Pool, servers string, is bool) {
	for _, s := range servers {
		p.Targets[s-'a'].Backend.SetDown(is, &health.Verdict{})
	}
}

// eject makes live traffic stay away from servers.
func eject(p *Pool, servers string, now int64) {
	for _, s := range servers {
		b := p.Targets[s-'a'].Backend
		for b.Usable(now) {
			b.TryBegin(0, now)
			b.Done(health.Refused, now)
		}
	}
}

func TestPick_EqualWeightsAlternateStrictly(t *testing.T) {
	require.Equal(t, "abcabcabc", picks(pool(t, "1 1 1"), 1, 9))
	require.Equal(t, "abcabcabc", picks(pool(t, "7 7 7"), 1, 9))
	require.Equal(t, "aaa", picks(pool(t, "1"), 1, 3))
	require.Equal(t, "---", picks(pool(t, ""), 1, 3))
}

func TestPick_WeightsAreSmooth(t *testing.T) {
	require.Equal(t, "aabacaaaabacaa", picks(pool(t, "5 1 1"), 1, 14))
	require.Equal(t, "babbbabb", picks(pool(t, "10 30"), 1, 8))
	require.Equal(t, "bcbc", picks(pool(t, "0 1 1"), 1, 4))
	require.Equal(t, "--", picks(pool(t, "0 0"), 1, 2))
}

func TestPick_DownServersAreSkippedAndTheOthersStillAlternate(t *testing.T) {
	p := pool(t, "1 1 1 1")
	require.Equal(t, "ab", picks(p, 1, 2))
	setDown(p, "c", true)
	require.Equal(t, "dabdabda", picks(p, 1, 8))
	setDown(p, "b", true)
	require.Equal(t, "dada", picks(p, 1, 4))
	setDown(p, "bc", false)
	require.Equal(t, "dabcdabc", picks(p, 1, 8))
}

func TestPick_BackupsOnlyWithoutPrimaries(t *testing.T) {
	p := pool(t, "1 1 1b 1b")
	require.Equal(t, "abab", picks(p, 1, 4))
	setDown(p, "a", true)
	require.Equal(t, "bbb", picks(p, 1, 3))
	setDown(p, "b", true)
	require.Equal(t, "cdcd", picks(p, 1, 4))
	setDown(p, "a", false)
	require.Equal(t, "aa", picks(p, 1, 2))
	require.Equal(t, "aa", picks(pool(t, "1b"), 1, 2))
}

func TestPick_EjectionEndsByItself(t *testing.T) {
	p := pool(t, "1 1")
	now := int64(time.Second)
	eject(p, "a", now)
	require.Equal(t, "bbbb", picks(p, now, 4))
	now += int64(time.Second)
	require.Equal(t, "babb", picks(p, now, 4), "one tries it")
	p.Targets[0].Backend.Answered()
	require.Equal(t, "baba", picks(p, now, 4))
}

func TestPick_EjectionAloneNeverEmptiesAPool(t *testing.T) {
	p := pool(t, "1 1 1 1b")
	now := int64(time.Second)
	setDown(p, "bd", true)
	eject(p, "ac", now)
	require.Equal(t, "acac", picks(p, now, 4))
	setDown(p, "b", false)
	require.Equal(t, "bb", picks(p, now, 2))
}

func TestPick_AllDown(t *testing.T) {
	p := pool(t, "1 1 1b")
	setDown(p, "abc", true)
	require.Equal(t, "---", picks(p, 1, 3))
	setDown(p, "b", false)
	require.Equal(t, "bb", picks(p, 1, 2))

	p = pool(t, "1 1 1b", func(s *Service) { s.WhenAllDown = Try })
	setDown(p, "abc", true)
	require.Equal(t, "abab", picks(p, 1, 4))
	p = pool(t, "0 0", func(s *Service) { s.WhenAllDown = Try })
	require.Equal(t, "--", picks(p, 1, 2))
	setDown(p, "ab", true)
	require.Equal(t, "--", picks(p, 1, 2))
}

func TestPick_GoneDownBetweenTwoLooks(t *testing.T) {
	p := pool(t, "1")
	require.Equal(t, "a", picks(p, 1, 1))
	setDown(p, "a", true)
	require.Equal(t, "--", picks(p, 1, 2))
	setDown(p, "a", false)
	require.Equal(t, "a", picks(p, 1, 1))
}

func TestPick_RetrySkipsTriedAndTakesNobodysTurn(t *testing.T) {
	p := pool(t, "1 1 1")
	b := func(server rune) *health.Backend { return p.Targets[server-'a'].Backend }
	require.Equal(t, "a", picks(p, 1, 1))
	require.Equal(t, "bbb", picks(p, 1, 3, b('a')))
	require.Equal(t, "c", picks(p, 1, 1, b('a'), b('b')))
	require.Equal(t, "-", picks(p, 1, 1, b('a'), b('b'), b('c')))
	require.Equal(t, "bca", picks(p, 1, 3))
}

func TestPick_RetryMayUseABackup(t *testing.T) {
	p := pool(t, "1 1b 1b")
	require.Equal(t, "b", picks(p, 1, 1, p.Targets[0].Backend))
	require.Equal(t, "c", picks(p, 1, 1, p.Targets[0].Backend, p.Targets[1].Backend))
	setDown(p, "bc", true)
	require.Equal(t, "-", picks(p, 1, 1, p.Targets[0].Backend))
}

func TestPick_FullServersAreSkipped(t *testing.T) {
	p := pool(t, "1 1 1 1b", func(s *Service) { s.MaxConnections = 1 })
	require.True(t, p.Targets[1].Backend.TryBegin(1, 1))
	require.Equal(t, "accacc", picks(p, 1, 6))
	require.True(t, p.Targets[0].Backend.TryBegin(1, 1))
	require.True(t, p.Targets[2].Backend.TryBegin(1, 1))
	require.Equal(t, "++", picks(p, 1, 2), "a backup is no overflow")
	require.Equal(t, "+", picks(p, 1, 1, p.Targets[0].Backend))
	p.Targets[2].Backend.Done(health.Served, 1)
	require.Equal(t, "cc", picks(p, 1, 2))
	for _, target := range p.Targets[:2] {
		require.Equal(t, 1, target.Backend.InFlight())
	}
}

func TestPick_ClaimsAPlace(t *testing.T) {
	p := pool(t, "1")
	target, result := p.Pick(1, nil)
	require.Equal(t, Picked, result)
	require.Same(t, p, target.Pool)
	require.Equal(t, 1, target.Backend.InFlight())
}

// Four curls hit four servers in turn, whichever loops they arrive at.
func TestPick_StrictOverAllLoops(t *testing.T) {
	p := pool(t, "1 1 1 1")
	counts := pickFromManyLoops(p, 8, 1000)
	for _, target := range p.Targets {
		require.Equal(t, 2000, counts[target.Host])
		require.Zero(t, target.Backend.InFlight())
	}
}

func TestPick_WhileServersComeAndGo(t *testing.T) {
	f := func(weights, flapping string) (none int) {
		p := pool(t, weights)
		done := make(chan struct{})
		var flaps sync.WaitGroup
		flaps.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					setDown(p, string(flapping[rand.IntN(len(flapping))]), rand.IntN(2) == 0)
				}
			}
		})
		counts := pickFromManyLoops(p, 4, 5000)
		close(done)
		flaps.Wait()
		total := 0
		for _, n := range counts {
			total += n
		}
		require.Equal(t, 20000, total)
		for _, target := range p.Targets {
			require.Zero(t, target.Backend.InFlight())
		}
		return counts["none"]
	}
	require.Zero(t, f("1 3 1 2b", "bcd"), "a never goes down")
	require.Zero(t, f("1 1b", "a"), "b never goes down")
	f("1", "a")
	f("1 3 1b", "abc")
}

func pickFromManyLoops(p *Pool, loops, each int) map[string]int {
	counts := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range loops {
		wg.Go(func() {
			mine := map[string]int{}
			for range each {
				target, result := p.Pick(1, nil)
				if result != Picked {
					mine["none"]++
					continue
				}
				mine[target.Host]++
				target.Backend.Done(health.Served, 1)
			}
			mu.Lock()
			defer mu.Unlock()
			for host, n := range mine {
				counts[host] += n
			}
		})
	}
	wg.Wait()
	return counts
}

func TestPick_DoesNotAllocate(t *testing.T) {
	p := pool(t, "1 3 1b")
	tried := []*health.Backend{p.Targets[0].Backend}
	setDown(p, "c", true)
	f := func() {
		for range 2 {
			target, _ := p.Pick(1, nil)
			target.Backend.Done(health.Served, 1)
		}
		target, _ := p.Pick(1, tried)
		target.Backend.Done(health.Served, 1)
	}
	require.Zero(t, testing.AllocsPerRun(100, f))
	setDown(p, "a", true)
	require.Zero(t, testing.AllocsPerRun(100, f))
}

// Every Picker passes this: it stays inside its list, gives everybody a turn
// and nobody much more than its weight, and looking takes no turn.
func TestPickers_Contract(t *testing.T) {
	for name, newPicker := range pickers {
		t.Run(name, func(t *testing.T) {
			for _, weights := range [][]int{{1}, {3}, {1, 1, 1}, {5, 1, 1}, {1, 256}, {2, 4, 6}} {
				contract(t, newPicker, weights)
			}
		})
	}
}

func contract(t *testing.T, newPicker newPicker, weights []int) {
	var targets []*Target
	total := 0
	for i, w := range weights {
		targets = append(targets, &Target{Backend: new(health.Backend), Weight: w, Index: i})
		total += w
	}
	for first := range targets {
		p := newPicker(targets, first)
		turns := make([]int, len(targets))
		for range 10 * total {
			require.Equal(t, p.Turn(false), p.Turn(false))
			turns[p.Turn(true)]++
		}
		for i, w := range weights {
			require.InDelta(t, 10*w, turns[i], float64(w), "of %v", weights)
		}
	}
}

func TestRoundRobin_LongSequencesAreBounded(t *testing.T) {
	var targets []*Target
	for i := range 2000 {
		targets = append(targets, &Target{Weight: 1 + i%256})
	}
	r := newRoundRobin(targets, 0).(*roundRobin)
	require.LessOrEqual(t, len(r.sequence), 2*len(targets))
	seen := map[int32]bool{}
	for _, i := range r.sequence {
		seen[i] = true
	}
	require.Len(t, seen, len(targets), "rounding leaves nobody out")

	r = newRoundRobin([]*Target{{Weight: 60000}, {Weight: 1}, {Weight: 30001}}, 0).(*roundRobin)
	require.LessOrEqual(t, len(r.sequence), longestSequence+3)
}

func BenchmarkPick(b *testing.B) {
	f := func(name, weights string) {
		b.Run(name, func(b *testing.B) {
			p := pool(b, weights)
			for b.Loop() {
				target, _ := p.Pick(1, nil)
				target.Backend.Done(health.Served, 1)
			}
		})
	}
	f("3", "1 1 1")
	f("3weighted", "5 3 1")
	f("1000", strings.Repeat("1 ", 1000))
}
