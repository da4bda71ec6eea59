package configs

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// near lists the names that name may have been meant to be, nearest first.
// One slip in four letters is forgiven, two at least and three at most.
func near[V any](name string, known map[string]V) []string {
	type candidate struct {
		name string
		d    int
	}
	limit := min(max(2, len(name)/4), 3)
	var found []candidate
	for _, k := range slices.Sorted(maps.Keys(known)) {
		// A name that shares no letter is no near miss, however short both are.
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d <= limit && d < max(len(name), len(k)) {
			found = append(found, candidate{k, d})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return cmp.Compare(a.d, b.d) })
	names := make([]string, 0, 3)
	for _, c := range found[:min(len(found), 3)] {
		names = append(names, c.name)
	}
	return names
}

// didYouMean is the end of a message about an unknown name, "" without a near miss.
func didYouMean(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "; did you mean " + quoted(names, " or ") + "?"
}

func quoted(names []string, sep string) string {
	q := make([]string, len(names))
	for i, n := range names {
		q[i] = `"` + n + `"`
	}
	return strings.Join(q, sep)
}

// distance counts the letters to insert, delete, replace or swap with a
// neighbour to get from a to b (optimal string alignment).
func distance(a, b string) int {
	var before []int
	above := make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := above[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, above[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}
