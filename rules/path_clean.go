package rules

import (
	"bytes"
	"strings"
)

// CleanPath brings the path of a request into the form that Lookup expects
// (RFC 3986 section 6.2.2): dot segments resolved, escapes of unreserved characters
// decoded, other escapes in upper case. Empty segments ("//") stay. It writes to
// dst[:0], or returns path itself when there is nothing to do.
//
// dots says that there were dot segments. Then the clean path is the one to send on: rules
// were compared with it, and a Backend that resolved the original in its own way might
// arrive elsewhere. Without dots both name the same resource, and the original may go out.
func CleanPath(dst, path []byte) (clean []byte, dots bool) {
	if len(path) == 0 || path[0] != '/' { // "*", or an authority
		return path, false
	}
	escaped := bytes.IndexByte(path, '%') >= 0
	if !escaped && !bytes.Contains(path, []byte("/.")) {
		return path, false
	}
	clean = path
	if escaped {
		clean = decode(dst[:0], path, isUnreserved)
	}
	if !hasDots(clean) {
		return clean, false
	}
	if !escaped {
		clean = append(dst[:0], path...)
	}
	return removeDots(clean), true
}

// routingPath is the path that rules are compared with: every escape decoded
// but those of reserved characters and of "%" itself, so that "%2F" does not become a
// segment boundary. It writes to dst[:0], or returns path itself without escapes.
func routingPath(dst, path []byte) []byte {
	if bytes.IndexByte(path, '%') < 0 {
		return path
	}
	return decode(dst[:0], path, isNotReserved)
}

// decode appends path to dst with those escapes decoded whose byte is plain,
// and the others in upper case. A "%" that begins no escape becomes "%25": left
// alone, it would make a new escape of what is decoded behind it.
func decode(dst, path []byte, plain func(byte) bool) []byte {
	for i := 0; i < len(path); i++ {
		c, ok := unescape(path[i:])
		switch {
		case path[i] != '%':
			dst = append(dst, path[i])
			continue
		case !ok:
			dst = append(dst, "%25"...)
			continue
		case plain(c):
			dst = append(dst, c)
		default:
			dst = append(dst, '%', upper(path[i+1]), upper(path[i+2]))
		}
		i += 2
	}
	return dst
}

// unescape reads the "%xx" that b begins with.
func unescape(b []byte) (byte, bool) {
	if len(b) < 3 || b[0] != '%' {
		return 0, false
	}
	hi, lo := hexValue(b[1]), hexValue(b[2])
	return hi<<4 | lo, hi < 16 && lo < 16
}

func hexValue(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}

// isUnreserved is RFC 3986 section 2.3.
func isUnreserved(c byte) bool {
	return 'a' <= lower(c) && lower(c) <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// isNotReserved is everything but RFC 3986 section 2.2 and "%".
func isNotReserved(c byte) bool {
	return strings.IndexByte(":/?#[]@!$&'()*+,;=%", c) < 0
}

// hasDots says whether a segment is "." or "..".
func hasDots(path []byte) bool {
	for rest := path; len(rest) > 0; {
		i := bytes.Index(rest, []byte("/."))
		if i < 0 {
			return false
		}
		rest = rest[i+2:]
		if len(rest) > 0 && rest[0] == '.' {
			rest = rest[1:]
		}
		if len(rest) == 0 || rest[0] == '/' {
			return true
		}
	}
	return false
}

// removeDots is RFC 3986 section 5.2.4, in place, for a path that begins with "/".
func removeDots(path []byte) []byte {
	out := path[:0]
	for rest := path; len(rest) > 0; {
		end := bytes.IndexByte(rest[1:], '/') + 1
		if end == 0 {
			end = len(rest)
		}
		segment := rest[:end] // with its leading slash
		last := end == len(rest)
		rest = rest[end:]
		switch string(segment) {
		case "/.":
		case "/..":
			out = out[:max(0, bytes.LastIndexByte(out, '/'))]
		default:
			out = append(out, segment...)
			continue
		}
		if last {
			out = append(out, '/')
		}
	}
	return out
}
