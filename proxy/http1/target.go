package http1

import "bytes"

var (
	slash    = []byte("/")
	asterisk = []byte("*")
)

// splitTarget tells the forms of a request target apart (RFC 9112 3.2).
func (r *Request) splitTarget() *Reject {
	t := r.Target
	if t[0] == '/' {
		r.origin(t)
		return nil
	}
	options := string(r.Method) == "OPTIONS"
	if len(t) == 1 && t[0] == '*' && options {
		r.Path, r.PathQuery = t, t
		return nil
	}
	switch {
	case len(t) > 7 && equalFold(t[:7], "http://"):
		t = t[7:]
	case len(t) > 8 && equalFold(t[:8], "https://"):
		t = t[8:]
	default:
		return rejectScheme
	}
	end := bytes.IndexAny(t, "/?")
	if end < 0 {
		end = len(t)
	}
	if !validHost(t[:end]) {
		return rejectAuthority
	}
	r.authority, r.Host = t[:end:end], t[:end:end]
	switch t = t[end:]; {
	case len(t) == 0 && options:
		r.Path, r.PathQuery = asterisk, asterisk // RFC 9112 3.2.4
	case len(t) == 0:
		r.Path, r.PathQuery = slash, slash
	case t[0] == '?':
		r.rewritten = append(append(r.rewritten[:0], '/'), t...)
		r.origin(r.rewritten)
	default:
		r.origin(t)
	}
	return nil
}

func (r *Request) origin(t []byte) {
	r.PathQuery = t
	r.Path = t
	if q := bytes.IndexByte(t, '?'); q >= 0 {
		r.Path, r.Query, r.HasQuery = t[:q:q], t[q+1:], true
	}
}

// takeHost checks a Host value, alone and against the target's authority.
func (r *Request) takeHost(value []byte) *Reject {
	switch {
	case !validHost(value):
		return rejectHost
	case r.authority == nil:
		r.Host = value
	case !equalFold(value, r.authority):
		return rejectMismatch
	}
	return nil
}

// validHost reports whether b is a host name, an IPv4 address or an IPv6
// address in brackets, with an optional port (RFC 3986 3.2.2 without
// percent-encoding, sub-delims and IPvFuture).
func validHost(b []byte) bool {
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		return end > 0 && validIPv6(b[1:end]) && validPort(b[end+1:])
	}
	i := 0
	for ; i < len(b) && chars[b[i]]&hostChar != 0; i++ {
	}
	return i > 0 && validPort(b[i:])
}

// validPort takes "", ":" and ":" with a port number. An empty port is legal
// (RFC 3986 3.2.3) and means the scheme's.
func validPort(b []byte) bool {
	switch {
	case len(b) == 0:
		return true
	case b[0] != ':':
		return false
	case len(b) == 1:
		return true
	}
	n := digits(b[1:])
	return n >= 0 && n <= 65535
}

// validIPv6 checks the text form of RFC 4291 2.2, without a zone.
func validIPv6(b []byte) bool {
	groups, compressed := 0, false
	for {
		if bytes.HasPrefix(b, doubleColon) {
			if compressed {
				return false
			}
			compressed = true
			groups++ // "::" stands for one group at least
			if b = b[2:]; len(b) == 0 {
				return groups <= 8
			}
		} else if groups > 0 {
			if len(b) == 0 || b[0] != ':' {
				return false
			}
			b = b[1:]
		}
		n := 0
		for n < len(b) && n < 5 && unhex[b[n]] != notHex {
			n++
		}
		if n < len(b) && b[n] == '.' {
			return validIPv4(b) && (groups == 6 || compressed && groups < 6)
		}
		if n == 0 || n > 4 {
			return false
		}
		groups++
		if b = b[n:]; len(b) == 0 {
			return groups == 8 || compressed && groups <= 8
		}
	}
}

var doubleColon = []byte("::")

// validIPv4 checks four decimal octets without leading zeros.
func validIPv4(b []byte) bool {
	for part := range 4 {
		i := 0
		for i < len(b) && chars[b[i]]&digitChar != 0 {
			i++
		}
		if i == 0 || i > 3 || i > 1 && b[0] == '0' || digits(b[:i]) > 255 {
			return false
		}
		b = b[i:]
		if part == 3 {
			break
		}
		if len(b) == 0 || b[0] != '.' {
			return false
		}
		b = b[1:]
	}
	return len(b) == 0
}
