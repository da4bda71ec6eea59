package labels

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// labelValue is the value of one label, on its way to becoming something.
type labelValue struct {
	s    *Subject
	w    *Wants
	key  string // of s.Labels
	text string
}

// label is the value of one label, which may be missing.
func (s *Subject) label(w *Wants, key string) labelValue {
	return labelValue{s, w, key, strings.TrimSpace(s.Labels[key])}
}

// warn notes that the label is not in force.
func (v labelValue) warn(format string, args ...any) {
	v.once(func() { v.w.warn(v.s, v.key, format, args...) })
}

// reject notes that the label costs the rule it belongs to.
func (v labelValue) reject(rule, format string, args ...any) {
	v.once(func() { v.w.reject(v.s, v.key, rule, format, args...) })
}

// once notes a problem that is not yet known: a label that several rules share
// is read for each of them.
func (v labelValue) once(note func()) {
	before := len(v.w.Problems)
	note()
	if last := v.w.Problems[before]; slices.Contains(v.w.Problems[:before], last) {
		v.w.Problems = v.w.Problems[:before]
	}
}

// quoted is the value as a message shows it.
func (v labelValue) quoted() string {
	if len(v.text) > 60 {
		return strconv.Quote(v.text[:60]) + "..."
	}
	return strconv.Quote(v.text)
}

// reader turns a value into a T. It returns false, and has noted why, when it cannot.
type reader[T any] func(labelValue) (T, bool)

// into reads v into *p, which stays as it is when v is no T.
func into[T any](p *T, read reader[T], v labelValue) bool {
	t, ok := read(v)
	if ok {
		*p = t
	}
	return ok
}

func plainText(v labelValue) (string, bool) { return v.text, true }

// within is a reader of whole numbers in a range.
func within(lo, hi int) reader[int] {
	return func(v labelValue) (int, bool) {
		n, err := strconv.Atoi(v.text)
		if err != nil || n < lo || n > hi {
			v.warn("want a number from %d to %d, got %s", lo, hi, v.quoted())
			return 0, false
		}
		return n, true
	}
}

func portNumber(v labelValue) (uint16, bool) {
	n, ok := within(1, 65535)(v)
	return uint16(n), ok
}

// pointer is a reader for what may be absent.
func pointer[T any](read reader[T]) reader[*T] {
	return func(v labelValue) (*T, bool) {
		t, ok := read(v)
		return &t, ok
	}
}

// keyword is a reader of a word that stands for a value.
func keyword[T any](meaning map[string]T) reader[T] {
	return func(v labelValue) (T, bool) {
		t, ok := meaning[v.text]
		if !ok {
			words := slices.Sorted(maps.Keys(meaning))
			v.warn("want one of %s, got %s%s", strings.Join(words, ", "), v.quoted(), didYouMean(v.text, words))
		}
		return t, ok
	}
}

// oneOf is a reader of a word out of a few.
func oneOf(words ...string) reader[string] {
	meaning := make(map[string]string, len(words))
	for _, w := range words {
		meaning[w] = w
	}
	return keyword(meaning)
}

// trueOrFalse reads what Go's ParseBool takes, since labels are often written by Traefik's rules.
func trueOrFalse(v labelValue) (value, ok bool) {
	b, err := strconv.ParseBool(v.text)
	if err != nil {
		v.warn("want true or false, got %s", v.quoted())
	}
	return b, err == nil
}

// longest is more than any timeout or interval may be; beyond it a unit was mistaken.
const longest = 365 * 24 * time.Hour

// span is a reader of durations above 0. Bare is the unit of a number without
// one, 0 if a unit is needed.
func span(bare time.Duration) reader[time.Duration] { return spanFrom(1, bare) }

// spanFrom is span for durations of at least least.
func spanFrom(least, bare time.Duration) reader[time.Duration] {
	return func(v labelValue) (time.Duration, bool) {
		d, err := time.ParseDuration(v.text)
		if n, numErr := strconv.ParseInt(v.text, 10, 64); numErr == nil && n != 0 {
			if bare == 0 {
				v.warn("%s has no unit; want %ss, %sms, ...", v.quoted(), v.text, v.text)
				return 0, false
			}
			// One more than the longest is enough to be refused and cannot overflow.
			d, err = time.Duration(max(-1, min(n, int64(longest/bare)+1)))*bare, nil
		}
		switch {
		case err != nil:
			v.warn(`want a duration such as "2s", got %s`, v.quoted())
		case d < least && least > 0, d > longest:
			v.warn("want more than 0 and at most a year, got %s", v.quoted())
		case d < least:
			v.warn("want 0 or more, got %s", v.quoted())
		default:
			return d, true
		}
		return 0, false
	}
}

// slashed reads a path, which begins with a slash.
func slashed(v labelValue) (string, bool) {
	i := strings.IndexFunc(v.text, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '?' || r == '#' })
	switch {
	case i >= 0:
		v.warn("%s holds %q, which is no part of a path", v.quoted(), v.text[i:i+1])
	case !strings.HasPrefix(v.text, "/"):
		v.warn("%s has no leading slash; want %q", v.quoted(), "/"+v.text)
	default:
		return v.text, true
	}
	return "", false
}

func bindAddress(v labelValue) (netip.Addr, bool) {
	a, err := netip.ParseAddr(v.text)
	if err != nil || a.Zone() != "" {
		v.warn("want an IP address, got %s", v.quoted())
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}

// framing names the fields that belong to one connection or say where a message
// ends (RFC 9110 section 7.6.1): an edit could only break the message.
var framing = []string{
	"Connection", "Content-Length", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade",
}

// fieldName says whether a header field of that name may be edited; if not, it has noted why.
func (v labelValue) fieldName(name string, hostAllowed bool) bool {
	same := func(o string) bool { return strings.EqualFold(name, o) }
	switch {
	case name == "" || strings.ContainsFunc(name, notInFieldName):
		v.warn("%q is no field name; want letters, digits and any of !#$%%&'*+-.^_`|~", name)
	case slices.ContainsFunc(framing, same):
		v.warn("%s belongs to the connection or says where the message ends; it cannot be edited", name)
	case same("Host") && !hostAllowed:
		v.warn("%s can only be set, and only in requests", name)
	default:
		return true
	}
	return false
}

// notInFieldName is everything but tchar of RFC 9110 section 5.6.2.
func notInFieldName(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
}

// fieldValue says whether text may stand in a header field; if not, it has noted why.
func (v labelValue) fieldValue(text string) bool {
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		v.warn("the value %q holds a control character; a field is one line", text)
		return false
	}
	return true
}
