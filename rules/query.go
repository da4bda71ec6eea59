package rules

import "bytes"

// anyQuery says whether one of the values of key in the query fits. Pairs end
// at "&" or ";", a "+" is a blank, and a pair with a broken escape does not count.
func anyQuery(r *Request, key string, fits func([]byte) bool) bool {
	for rest := r.Query; len(rest) > 0; {
		pair := rest
		if i := bytes.IndexAny(rest, "&;"); i >= 0 {
			pair, rest = rest[:i], rest[i+1:]
		} else {
			rest = nil
		}
		name, value, _ := bytes.Cut(pair, []byte("="))
		if len(pair) == 0 || !spells(name, key) {
			continue
		}
		if v, ok := r.queryValue(value); ok && fits(v) {
			return true
		}
	}
	return false
}

// spells says whether the encoded text b means s.
func spells(b []byte, s string) bool {
	for len(b) > 0 && len(s) > 0 {
		c, n, ok := queryByte(b)
		if !ok || c != s[0] {
			return false
		}
		b, s = b[n:], s[1:]
	}
	return len(b) == 0 && len(s) == 0
}

// queryValue decodes b, into the Request's scratch space where it must.
func (r *Request) queryValue(b []byte) (value []byte, ok bool) {
	if bytes.IndexByte(b, '%') < 0 && bytes.IndexByte(b, '+') < 0 {
		return b, true
	}
	r.value = r.value[:0]
	for len(b) > 0 {
		c, n, ok := queryByte(b)
		if !ok {
			return nil, false
		}
		r.value = append(r.value, c)
		b = b[n:]
	}
	return r.value, true
}

// queryByte decodes the first n bytes of b to one.
func queryByte(b []byte) (c byte, n int, ok bool) {
	switch b[0] {
	case '+':
		return ' ', 1, true
	case '%':
		c, ok = unescape(b)
		return c, 3, ok
	}
	return b[0], 1, true
}
