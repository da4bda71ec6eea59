package http1

import "bytes"

// options are the connection options that mean something to a proxy
// (RFC 9110 7.6.1).
type options uint8

const (
	optClose options = 1 << iota
	optKeepAlive
	optUpgrade
)

// maxOptions bounds the work that one Connection field can ask for: each
// option is compared with each field line. Real ones have two or three.
const maxOptions = 32

// length takes in one Content-Length value (RFC 9110 8.6). A repeated value is
// refused unless it is the same and collapse is set.
func (m *Message) length(value []byte, collapse bool) *Reject {
	if m.Chunked {
		return rejectBoth
	}
	for {
		item, rest, more := bytes.Cut(value, comma)
		n := digits(trim(item))
		switch {
		case n < 0:
			return rejectLength
		case (more || m.ContentLength >= 0) && !collapse, m.ContentLength >= 0 && m.ContentLength != n:
			return rejectLengths
		}
		m.ContentLength = n
		if !more {
			return nil
		}
		value = rest
	}
}

var comma = []byte{','}

// maxLength is well within what any peer can count and any sum can hold.
const maxLength = 1e18 - 1

// digits returns the number that b spells in decimal digits alone, -1 if it
// spells none or one above maxLength.
func digits(b []byte) int64 {
	if len(b) == 0 {
		return -1
	}
	var n int64
	for _, c := range b {
		if chars[c]&digitChar == 0 {
			return -1
		}
		if n = n*10 + int64(c-'0'); n > maxLength {
			return -1
		}
	}
	return n
}

// coding takes in one Transfer-Encoding value (RFC 9112 6.1). A proxy that
// does not decode can only vouch for chunked alone.
func (m *Message) coding(value []byte) *Reject {
	switch {
	case m.Minor == 0:
		return rejectCoding10
	case m.ContentLength >= 0:
		return rejectBoth
	case m.Chunked:
		return rejectCodings
	case !equalFold(value, "chunked"):
		return rejectCoding
	}
	m.Chunked = true
	return nil
}

// connection reads the Connection fields: it sets the options and KeepAlive
// and marks the nominated fields.
func (m *Message) connection() *Reject {
	if m.Has(IDConnection) {
		n := 0
		for i := range m.Fields {
			f := &m.Fields[i]
			if f.ID != IDConnection {
				continue
			}
			for list := m.FieldValue(f); len(list) > 0; {
				var option []byte
				if option, list = element(list); len(option) == 0 {
					continue
				}
				if n++; n > maxOptions {
					return rejectOptionCount
				}
				m.option(option)
			}
		}
	}
	m.KeepAlive = m.options&optClose == 0 && (m.Minor > 0 || m.options&optKeepAlive != 0)
	return nil
}

func (m *Message) option(name []byte) {
	switch {
	case equalFold(name, "close"):
		m.options |= optClose
	case equalFold(name, "keep-alive"):
		m.options |= optKeepAlive
	case equalFold(name, "upgrade"):
		m.options |= optUpgrade
	}
	for i := range m.Fields {
		f := &m.Fields[i]
		if endToEnd&(1<<f.ID) == 0 && equalFold(m.Name(f), name) {
			f.Nominated = true
		}
	}
}

// lists reports whether an element of the fields with the given ID is token.
func (m *Message) lists(id ID, token string) bool {
	for i := range m.Fields {
		f := &m.Fields[i]
		if f.ID != id {
			continue
		}
		for list := m.FieldValue(f); len(list) > 0; {
			var item []byte
			if item, list = element(list); equalFold(item, token) {
				return true
			}
		}
	}
	return false
}

// element cuts the first element off a comma-separated list.
func element(list []byte) (item, rest []byte) {
	item, rest, _ = bytes.Cut(list, comma)
	return trim(item), rest
}
