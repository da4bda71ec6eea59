// Package http1 reads HTTP/1.1 heads and chunked bodies from byte slices
// (RFC 9110, RFC 9112). It does no I/O, starts no goroutine, reads no clock
// and does not allocate once its slices have grown.
//
// It is strict: what two parsers could read in two ways is refused, never
// repaired.
package http1

import "bytes"

// Default limits, used where a Limits field is zero.
const (
	DefaultHead   = 32 << 10
	DefaultTarget = 16 << 10
	DefaultFields = 128
)

// Limits bound every dimension of a head. The zero value of a field means its
// default, nil all defaults.
type Limits struct {
	Head   int // bytes of the whole head, default 32 KiB; above it 431, an error in responses
	Target int // bytes of the request target, default 16 KiB; above it 414
	Fields int // number of field lines, default 128; above it 431
}

// filled returns l with the defaults in place.
func (l *Limits) filled() Limits {
	if l == nil {
		l = &Limits{}
	}
	return Limits{or(l.Head, DefaultHead), or(l.Target, DefaultTarget), or(l.Fields, DefaultFields)}
}

func or(n, byDefault int) int {
	if n > 0 {
		return n
	}
	return byDefault
}

// Field is one field line as offsets into the buffer that was parsed. The line
// is Buf[Start:End] with its CRLF, the name Buf[Start:NameEnd], the value
// without surrounding white space Buf[ValueStart:ValueEnd].
type Field struct {
	Start, NameEnd, ValueStart, ValueEnd, End uint32

	ID        ID
	Nominated bool // named in Connection, so hop-by-hop; never set for fields that must go end to end
}

// Message is what requests and responses have in common. Everything in it
// lives as long as the buffer that was parsed and until the next Parse.
type Message struct {
	Buf           []byte  // what was parsed; all offsets point into it
	Fields        []Field // in the order received; the backing array is reused
	ContentLength int64   // -1: no Content-Length
	Head          int     // bytes of the head, blank line included
	Minor         int     // 0 for HTTP/1.0, 1 for HTTP/1.1 and above
	Chunked       bool
	KeepAlive     bool // the sender lets the connection live

	seen    uint64 // bit n: there is a field with ID n
	options options
}

// Name returns the name of f as sent.
func (m *Message) Name(f *Field) []byte { return m.Buf[f.Start:f.NameEnd] }

// FieldValue returns the value of f without surrounding white space.
func (m *Message) FieldValue(f *Field) []byte { return m.Buf[f.ValueStart:f.ValueEnd] }

// Has reports whether there is a field with the given ID.
func (m *Message) Has(id ID) bool { return m.seen&(1<<id) != 0 }

// Value returns the value of the i-th field line, from 0, with the given name
// in any case.
func (m *Message) Value(name string, i int) ([]byte, bool) {
	for k := range m.Fields {
		f := &m.Fields[k]
		if !equalFold(m.Name(f), name) {
			continue
		}
		if i == 0 {
			return m.FieldValue(f), true
		}
		i--
	}
	return nil, false
}

// field reads the field line at p and appends it. It returns where the next
// line starts, 0 when the line is not complete.
func (m *Message) field(p, limit int) (int, *Reject) {
	f, next, rej := readField(m.Buf, p)
	switch {
	case next == 0:
		return 0, rej
	case len(m.Fields) >= limit:
		return 0, rejectFieldCount
	}
	m.Fields = append(m.Fields, f)
	return next, nil
}

// readField reads the field line at p (RFC 9112 5). next is where the next one
// starts, 0 when the line is not complete.
func readField(b []byte, p int) (f Field, next int, rej *Reject) {
	i := p
	var classes class
	for ; i < len(b) && chars[b[i]]&tchar != 0; i++ {
		classes |= chars[b[i]]
	}
	if i == len(b) {
		return f, 0, nil
	}
	if i == p || b[i] != ':' {
		return f, 0, badName(b[i], i == p)
	}
	name := b[p:i]
	for i++; i < len(b) && blank(b[i]); i++ {
	}
	start := i
	i = valueEnd(b, i)
	if next, rej = lineEnd(b, i, rejectValue); next == 0 {
		return f, 0, rej
	}
	for ; i > start && blank(b[i-1]); i-- {
	}
	f = Field{Start: uint32(p), NameEnd: uint32(p + len(name)), ValueStart: uint32(start), ValueEnd: uint32(i), End: uint32(next)}
	if f.ID = known(name); classes&unusual != 0 {
		f.ID = alias(name)
	}
	return f, next, nil
}

// lineEnd expects CRLF at i and returns the index behind it, 0 when there are
// too few bytes. Any other byte at i is refused, as other unless it is a LF.
func lineEnd(b []byte, i int, other *Reject) (int, *Reject) {
	switch {
	case i == len(b):
		return 0, nil
	case b[i] == '\n':
		return 0, rejectBareLF
	case b[i] != '\r':
		return 0, other
	case i+1 == len(b):
		return 0, nil
	case b[i+1] != '\n':
		return 0, rejectBareCR
	}
	return i + 2, nil
}

// badName explains the byte that ended a field name.
func badName(c byte, first bool) *Reject {
	switch {
	case first && blank(c):
		return rejectFold
	case first && c == ':':
		return rejectNoName
	case blank(c):
		return rejectSpace
	case c == '\r' || c == '\n':
		return rejectNoColon
	}
	return rejectName
}

// HeadEnd returns the index just past the blank line that ends a head, -1
// while there is none. A blank line of bare LFs counts, and so does a CR without
// LF with the byte behind it, so that such a head reaches Parse and its reject.
// Empty lines before the first line do not. The first from bytes have been
// searched before.
func HeadEnd(buf []byte, from int) int {
	i := 0
	for i < len(buf) && (buf[i] == '\r' || buf[i] == '\n') {
		i++
	}
	start := max(i, from-2)
	for i = start; i < len(buf); i++ {
		n := bytes.IndexByte(buf[i:], '\n')
		if n < 0 {
			break
		}
		i += n
		switch rest := buf[i+1:]; {
		case len(rest) > 0 && rest[0] == '\n':
			return i + 2
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			return i + 3
		}
	}
	for i = start; i < len(buf); i++ {
		n := bytes.IndexByte(buf[i:], '\r')
		if n < 0 {
			break
		}
		if i += n; i+1 < len(buf) && buf[i+1] != '\n' {
			return i + 2
		}
	}
	return -1
}
