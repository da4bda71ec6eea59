package http1

import (
	"encoding/binary"
	"math/bits"
)

// class is a set of byte classes; chars says to which ones each byte belongs.
type class uint8

const (
	tchar      class = 1 << iota // tchar (RFC 9110 5.6.2)
	unusual                      // a tchar that is neither letter, digit nor "-"
	targetChar                   // may stand in a request target
	hostChar                     // may stand in a host name
	digitChar                    // 0-9
)

var chars = func() (t [256]class) {
	for c := 0x21; c < 0x7f; c++ {
		// RFC 3986 has no room for "<>\^`{|} but clients send them and no two
		// parsers disagree on where such a target ends. A fragment is never sent.
		if c != '#' {
			t[c] |= targetChar
		}
	}
	for c := '0'; c <= '9'; c++ {
		t[c] |= tchar | hostChar | digitChar
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c] |= tchar | hostChar
		t[c-'a'+'A'] |= tchar | hostChar
	}
	t['-'] |= tchar | hostChar
	for _, c := range "!#$%&'*+.^_`|~" {
		t[c] |= tchar | unusual
	}
	// Percent-encoding and sub-delims are legal in a reg-name, but a name that
	// can be written in two ways can be routed in two ways.
	for _, c := range "._~" {
		t[c] |= hostChar
	}
	return t
}()

// unhex holds the value of each hex digit and notHex for every other byte.
var unhex = func() (t [256]uint8) {
	for i := range t {
		t[i] = notHex
	}
	for i := range 10 {
		t['0'+i] = uint8(i)
	}
	for i := range 6 {
		t['a'+i], t['A'+i] = uint8(10+i), uint8(10+i)
	}
	return t
}()

const notHex = 0xff

// textEnd returns the index of the first byte of b at or after i that is not
// visible, SP or obs-text, len(b) if there is none.
func textEnd(b []byte, i int) int {
	const (
		ones = 0x0101010101010101
		high = 0x8080808080808080
	)
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		del := w ^ 0x7f*ones
		// A borrow only spoils bytes above one that is a hit itself, so the
		// lowest hit is exact.
		if hit := ((w-0x20*ones)&^w | (del-ones)&^del) & high; hit != 0 {
			return i + bits.TrailingZeros64(hit)>>3
		}
	}
	for ; i < len(b); i++ {
		if b[i] < 0x20 || b[i] == 0x7f {
			return i
		}
	}
	return i
}

// valueEnd is textEnd for a field value or a reason phrase, where HTAB is text.
func valueEnd(b []byte, i int) int {
	for i = textEnd(b, i); i < len(b) && b[i] == '\t'; {
		i = textEnd(b, i+1)
	}
	return i
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// equalFold compares without regard to ASCII case. bytes.EqualFold would also
// take U+212A for a k.
func equalFold[A, B []byte | string](a A, b B) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if a[i] != b[i] && lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func trim(b []byte) []byte {
	for len(b) > 0 && blank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && blank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}
