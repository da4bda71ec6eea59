package http1

import "bytes"

const (
	defaultTrailer   = 8 << 10
	maxTrailerFields = 64
)

// trailer collects the trailer section of a chunked body (RFC 9112 7.1.2).
type trailer struct {
	buf    []byte // the last chunk's size line, the fields that are kept and the line that is being read
	limit  int
	line   int // where in buf the line that is being read starts
	size   int // bytes so far, dropped fields included
	fields int
	drop   bool // no field may be forwarded
	kept   bool // there is a field in buf that may be forwarded
}

// next consumes n bytes of p: a line or as much of it as there is. At the end
// of the section, buf is what is to be forwarded if kept is set.
func (t *trailer) next(p []byte) (n int, end bool, rej *Reject) {
	if t.size == 0 {
		if bytes.HasPrefix(p, crlf) {
			return len(crlf), true, nil
		}
		t.buf = append(t.buf[:0], LastChunk[:len("0\r\n")]...)
		t.line = len(t.buf)
	}
	n = bytes.IndexByte(p, '\n') + 1
	complete := n > 0
	if !complete {
		n = len(p)
	}
	if t.size += n; t.size > or(t.limit, defaultTrailer) {
		return 0, false, rejectTrailerSize
	}
	if t.buf = append(t.buf, p[:n]...); complete {
		end, rej = t.endLine()
	}
	return n, end, rej
}

// endLine judges the line that has been read and keeps or drops it.
func (t *trailer) endLine() (end bool, rej *Reject) {
	if c := t.buf[t.line]; c == '\r' || c == '\n' {
		next, rej := lineEnd(t.buf, t.line, nil)
		return next > 0, rej
	}
	f, _, rej := readField(t.buf, t.line)
	if rej != nil {
		return false, rej
	}
	if t.fields++; t.fields > maxTrailerFields {
		return false, rejectTrailerSize
	}
	if !t.drop && f.ID == IDOther && !headOnly(t.buf[f.Start:f.NameEnd]) {
		t.line = len(t.buf)
		t.kept = true
	} else {
		t.buf = t.buf[:t.line]
	}
	return false, nil
}

// headOnly names the fields that mean something before the content or not at
// all (RFC 9110 6.5.1), beyond those that have an ID: none of these may come
// in a trailer section either.
func headOnly(name []byte) bool {
	if len(name) > longestName {
		return false
	}
	var folded [longestName]byte
	for i, c := range name {
		folded[i] = lower(c)
	}
	switch string(folded[:len(name)]) {
	case "accept-charset", "accept-encoding", "accept-language", "age", "authentication-info", "cache-control",
		"content-encoding", "content-language", "content-location", "content-range", "expires", "if-match",
		"if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "location", "max-forwards", "origin",
		"pragma", "range", "referer", "retry-after", "user-agent", "vary", "warning", "www-authenticate":
		return true
	}
	return false
}
