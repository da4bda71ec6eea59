package rules

import (
	"cmp"
	"slices"
	"strings"
)

// NearMisses lists the known words that word is probably a misspelling of,
// nearest first, at most three.
func NearMisses(word string, known []string) []string {
	type miss struct {
		word string
		off  int
	}
	var near []miss
	limit := max(1, min(3, len(word)/3)) // a third of the letters may be wrong
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k), limit); d <= limit {
			near = append(near, miss{k, d})
		}
	}
	slices.SortFunc(near, func(a, b miss) int {
		return cmp.Or(cmp.Compare(a.off, b.off), cmp.Compare(a.word, b.word))
	})
	words := make([]string, 0, 3)
	for _, m := range near[:min(3, len(near))] {
		words = append(words, m.word)
	}
	return words
}

// distance counts the letters to insert, delete, replace or swap with their
// neighbour to turn a into b. It may stop counting above limit.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d > limit || -d > limit {
		return limit + 1
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, last, row = last, row, before
		row[0] = i + 1
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
