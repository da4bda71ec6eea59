package rules

import (
	"slices"
	"sync/atomic"
)

// A weighted sequence is at most this long, and building it takes at most
// this many steps: it is built between two requests. Weights that need more
// are rounded.
const (
	longestSequence = 4096
	mostSteps       = 1 << 20
)

// roundRobin gives every Target its share in turn, as evenly spread as can be;
// with equal weights that is strict alternation, whichever loop asks.
type roundRobin struct {
	cursor   atomic.Uint64
	sequence []int32 // of indexes, each as often as it weighs; nil: one after the other
	n        uint64  // length of the sequence
}

func newRoundRobin(targets []*Target, first int) Picker {
	r := &roundRobin{n: uint64(len(targets))}
	start := first
	if !equalWeights(targets) {
		r.sequence = smooth(reduce(targets))
		r.n = uint64(len(r.sequence))
		if first > 0 {
			start = slices.Index(r.sequence, int32(first))
		}
	}
	r.cursor.Store(uint64(start))
	return r
}

// Turn implements Picker.
func (r *roundRobin) Turn(advance bool) int {
	at := r.cursor.Load()
	if advance {
		at = r.cursor.Add(1) - 1
	}
	if r.sequence == nil {
		return int(at % r.n)
	}
	return int(r.sequence[at%r.n])
}

func equalWeights(targets []*Target) bool {
	for _, t := range targets {
		if t.Weight != targets[0].Weight {
			return false
		}
	}
	return true
}

// reduce divides the weights by their greatest common divisor, and scales
// them down when the sequence would still be too long.
func reduce(targets []*Target) []int {
	weights := make([]int, len(targets))
	for i, t := range targets {
		weights[i] = t.Weight
	}
	total := divide(weights)
	limit := max(len(targets), min(longestSequence, mostSteps/len(targets)))
	if total <= limit {
		return weights
	}
	for i, w := range weights {
		weights[i] = max(1, w*limit/total)
	}
	divide(weights)
	return weights
}

// divide divides the weights by their greatest common divisor and returns their sum.
func divide(weights []int) (total int) {
	d := 0
	for _, w := range weights {
		d = gcd(d, w)
	}
	for i := range weights {
		weights[i] /= d
		total += weights[i]
	}
	return total
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// smooth is nginx's smooth weighted round-robin: each step everybody gains its
// weight, and the richest serves and pays the total.
func smooth(weights []int) []int32 {
	total := 0
	for _, w := range weights {
		total += w
	}
	sequence := make([]int32, 0, total)
	credit := make([]int, len(weights))
	for range total {
		richest := 0
		for i, w := range weights {
			credit[i] += w
			if credit[i] > credit[richest] {
				richest = i
			}
		}
		credit[richest] -= total
		sequence = append(sequence, int32(richest))
	}
	return sequence
}
