package configs

import (
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// longest is more than any timeout or interval may be; beyond it a unit was
// mistaken.
const longest = 365 * 24 * time.Hour

// scalar is the text of a plain value, whatever its type: 80, "80" and true
// are all text to somebody.
func (v value) scalar(want string) (string, bool) {
	switch {
	case v.node.Kind != yaml.ScalarNode:
	case v.node.Tag == "!!str", v.node.Tag == "!!int", v.node.Tag == "!!float", v.node.Tag == "!!bool", v.node.Tag == "!!timestamp":
		return v.node.Value, true
	}
	v.fail("want %s, got %s", want, v.describe())
	return "", false
}

func (v value) text() string {
	s, _ := v.scalar("text")
	return s
}

func (v value) boolean() bool {
	if v.node.Kind == yaml.ScalarNode {
		switch v.node.Value {
		case "true":
			return true
		case "false":
			return false
		}
	}
	v.fail("want true or false, got %s", v.describe())
	return false
}

// number reads a whole number, also one written as text, as Rancher does.
func (v value) number(lo, hi int) int {
	want := "a number from " + strconv.Itoa(lo) + " to " + strconv.Itoa(hi)
	if hi == math.MaxInt {
		want = "a number of at least " + strconv.Itoa(lo)
	}
	s, ok := v.scalar(want)
	if !ok {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < lo || n > hi {
		v.fail("want %s, got %s", want, v.describe())
		return 0
	}
	return n
}

// within is a reader of numbers in a range.
func within(lo, hi int) func(value) int {
	return func(v value) int { return v.number(lo, hi) }
}

// pointer is a reader for what may be absent.
func pointer[T any](read func(value) T) func(value) *T {
	return func(v value) *T {
		t := read(v)
		return &t
	}
}

func (v value) port() uint16 { return uint16(v.number(1, math.MaxUint16)) }

// oneOf is a reader of a word out of a few.
func oneOf(words ...string) func(value) string {
	known := make(map[string]bool, len(words))
	for _, w := range words {
		known[w] = true
	}
	return func(v value) string {
		want := strings.Join(words, ", ")
		s, ok := v.scalar(want)
		if ok && !known[s] {
			v.fail("want one of %s, got %s%s", want, v.describe(), didYouMean(s, known))
			return ""
		}
		return s
	}
}

// keyword is a reader of a word that stands for a value.
func keyword[T any](meaning map[string]T) func(value) T {
	read := oneOf(slices.Sorted(maps.Keys(meaning))...)
	return func(v value) T { return meaning[read(v)] }
}

// duration reads "30s" or "1m30s". It insists on a unit and on more than zero.
func (v value) duration() time.Duration { return v.span(0, 1) }

// durationOrOff is duration where 0 means "no limit".
func (v value) durationOrOff() time.Duration { return v.span(0, 0) }

// milliseconds is duration as health checks write it: a bare number counts
// milliseconds.
func (v value) milliseconds() time.Duration { return v.span(time.Millisecond, 1) }

// span reads a duration of at least lo; bare is the unit of a bare number, 0 if
// there is none.
func (v value) span(bare, lo time.Duration) time.Duration {
	want := `a duration such as "30s"`
	if bare != 0 {
		want = `a number of milliseconds or a duration such as "2s"`
	}
	s, ok := v.scalar(want)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(s)
	if n, numErr := strconv.ParseInt(s, 10, 64); numErr == nil && n != 0 {
		if bare == 0 {
			v.fail("%s has no unit; want %ss, %sms, ...", v.describe(), s, s)
			return 0
		}
		err = nil
		// One more than the longest is enough to be refused and cannot overflow.
		d = time.Duration(max(-1, min(n, int64(longest/bare)+1))) * bare
	}
	switch {
	case err != nil:
		v.fail("want %s, got %s", want, v.describe())
	case d < lo || d < 0:
		v.fail("want more than 0, got %s", v.describe())
	case d > longest:
		v.fail("want at most a year (%s), got %s", longest, v.describe())
	default:
		return d
	}
	return 0
}

// units of size, longest suffix first.
var units = []struct {
	suffix string
	bytes  int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1},
}

// size reads "64KiB", "1MB" or a bare number of bytes.
func (v value) size() int64 {
	const want = `a size such as 65536, "64KiB" or "1MB"`
	s, ok := v.scalar(want)
	if !ok {
		return 0
	}
	unit := int64(1)
	for _, u := range units {
		if n, found := strings.CutSuffix(s, u.suffix); found {
			s, unit = strings.TrimSpace(n), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil:
		v.fail("want %s, got %s", want, v.describe())
	case n < 0 || n > math.MaxInt64/unit:
		v.fail("%s is out of range", v.describe())
	default:
		return n * unit
	}
	return 0
}

// sizeWithin is a reader of sizes in a range.
func sizeWithin(lo, hi int64) func(value) int {
	return func(v value) int {
		before := len(v.doc.mistakes)
		n := v.size()
		if len(v.doc.mistakes) == before && (n < lo || n > hi) {
			v.fail("want %d to %d bytes, got %s", lo, hi, v.describe())
			return 0
		}
		return int(n)
	}
}

// address reads an IP address.
func (v value) address() netip.Addr {
	s, ok := v.scalar("an IP address")
	if !ok {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		v.fail("want an IP address, got %s", v.describe())
		return netip.Addr{}
	}
	return a.Unmap()
}

// prefix reads a network: 10.0.0.0/8, or one address.
func (v value) prefix() netip.Prefix {
	const want = "a network such as 10.0.0.0/8, or an IP address"
	s, ok := v.scalar(want)
	if !ok {
		return netip.Prefix{}
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen())
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		v.fail("want %s, got %s", want, v.describe())
		return netip.Prefix{}
	}
	return p.Masked()
}

// slashed reads a path, which begins with a slash.
func (v value) slashed() string {
	s, ok := v.scalar("a path")
	if !ok {
		return ""
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '?' || r == '#' }); i >= 0 {
		v.fail("%q holds %q, which is no part of a path", s, s[i:i+1])
		return ""
	}
	if !strings.HasPrefix(s, "/") {
		v.fail("%q has no leading slash; want %q", s, "/"+s)
		return ""
	}
	return s
}
