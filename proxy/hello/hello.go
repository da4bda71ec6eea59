// Package hello reads the ClientHello at the start of a TLS connection (RFC 8446
// section 4.1.2), for whoever must know the server name without being the server.
// It works on bytes that have arrived: no I/O, no goroutine, no clock.
//
// It is strict, as what two parsers read in two ways can be led past a rule: a
// ClientHello that a TLS server would refuse is refused here already.
package hello

// MaxSize is how many bytes a ClientHello may take with its record headers. One
// with post-quantum key shares takes 2 KiB.
const MaxSize = 64 << 10

// Hello is what a ClientHello says. Its slices point into what was parsed, or
// into the Hello itself; a Hello that is parsed into again reuses its memory.
type Hello struct {
	ServerName []byte   // host_name of the server_name extension (RFC 6066 section 3) as sent, nil: none
	Protocols  [][]byte // ALPN (RFC 7301) in the client's order, without GREASE
	Versions   []uint16 // TLS versions in the client's order, without GREASE (RFC 8701)

	joined []byte // the message, where it came in several records
}

// FirstByte is what TLS begins with: the type of a handshake record.
const FirstByte = 22

// Result is what the bytes that have arrived amount to.
type Result uint8

const (
	More        Result = iota // cannot be told yet
	Whole                     // a ClientHello, whole and valid
	Postgres                  // PostgreSQL's SSLRequest: its client sends a ClientHello once it was answered with 'S'
	PostgresGSS               // its GSSENCRequest: once answered with 'N' the client goes on to an SSLRequest
	Refused                   // none of them; the Reject says why
)

// Reader finds the end of a ClientHello in bytes that arrive bit by bit. The zero
// Reader is ready. It remembers how far it came, so that bytes are looked at once
// however small the pieces are.
type Reader struct {
	at    int     // where the next record begins
	body  int     // bytes of the message in the records before at
	count int     // of those records
	start [4]byte // header of the message, as far as it was seen
}

const (
	recordHeader    = 5
	maxRecord       = 1 << 14
	typeClientHello = 1
)

// Parse reads data, which holds all that has arrived, from the first byte of the
// connection. After More it is called again with the same bytes and those that
// have come since. h is valid after Whole, for as long as data is.
func (r *Reader) Parse(data []byte, h *Hello) (Result, *Reject) {
	if len(data) == 0 {
		return More, nil
	}
	if data[0] == 0 {
		return postgres(data)
	}
	if rej := r.records(data); rej != nil {
		return Refused, rej
	}
	if r.body < 4 || r.body < r.size() {
		if len(data) >= MaxSize {
			return Refused, rejectSize
		}
		return More, nil
	}
	if r.body > r.size() {
		return Refused, rejectBehind
	}
	if rej := h.message(r.message(data, h)); rej != nil {
		return Refused, rej
	}
	return Whole, nil
}

// records walks over the whole records in data, until the message is complete.
func (r *Reader) records(data []byte) *Reject {
	for r.body < 4 || r.body < r.size() {
		rest := data[r.at:]
		if rej := checkRecord(rest); rej != nil {
			return rej
		}
		if len(rest) < recordHeader {
			return nil
		}
		n := int(rest[3])<<8 | int(rest[4])
		if r.at+recordHeader+n > MaxSize {
			return rejectSize
		}
		if rej := r.begin(rest[recordHeader:min(recordHeader+n, len(rest))]); rej != nil {
			return rej
		}
		if len(rest) < recordHeader+n {
			return nil
		}
		r.body += n
		r.at += recordHeader + n
		r.count++
	}
	return nil
}

// checkRecord judges the header of a record as far as it is there.
func checkRecord(p []byte) *Reject {
	switch {
	case len(p) > 0 && p[0] != FirstByte:
		return notHandshake(p)
	case len(p) > 1 && p[1] != 3:
		return rejectForeign
	case len(p) < recordHeader:
		return nil
	}
	n := int(p[3])<<8 | int(p[4])
	switch {
	case n == 0:
		return rejectEmpty
	case n > maxRecord:
		return rejectRecord
	}
	return nil
}

// notHandshake says what is there instead of a handshake record.
func notHandshake(p []byte) *Reject {
	switch {
	case p[0]&0x80 != 0:
		return rejectSSL2
	case p[0] >= 'A' && p[0] <= 'Z', p[0] >= 'a' && p[0] <= 'z':
		return rejectText
	case p[0] >= 20 && p[0] <= 24:
		return rejectType
	}
	return rejectForeign
}

// begin notes the header of the message, the first four of its bytes.
func (r *Reader) begin(fragment []byte) *Reject {
	for i := r.body; i < len(r.start) && i-r.body < len(fragment); i++ {
		r.start[i] = fragment[i-r.body]
		switch {
		case i == 0 && r.start[0] != typeClientHello:
			return rejectMessage
		case i == len(r.start)-1 && r.size() > MaxSize:
			return rejectSize
		}
	}
	return nil
}

// size is the length of the message with its header. It is known once body is 4.
func (r *Reader) size() int {
	return len(r.start) + int(r.start[1])<<16 + int(r.start[2])<<8 + int(r.start[3])
}

// message is the ClientHello without its header, in one piece.
func (r *Reader) message(data []byte, h *Hello) []byte {
	if r.count == 1 {
		return data[recordHeader+len(r.start) : r.at]
	}
	h.joined = h.joined[:0]
	for at := 0; at < r.at; {
		n := int(data[at+3])<<8 | int(data[at+4])
		at += recordHeader
		h.joined = append(h.joined, data[at:at+n]...)
		at += n
	}
	return h.joined[len(r.start):]
}

// Size is how many bytes the ClientHello took, records included, after Whole.
// What follows is for whoever answers it.
func (r *Reader) Size() int { return r.at }
