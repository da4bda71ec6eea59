package loop

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

// TLS is one end of a TLS connection on a socket that a Loop watches: crypto/tls
// over a net.Conn that never blocks. The handshake runs elsewhere, see Handshake;
// what comes after it happens in the Loop.
//
// Reading decrypts what the socket has. Writing seals into the Loop's scratch,
// and the caller sends what is there: no call of a TLS writes to the socket.
type TLS struct {
	conn *tls.Conn
	loop *Loop
	fd   int

	shake *Handshake // nil once it is over
	early []byte     // came with the last flight of the handshake, and was not read by it
	err   error      // of the socket

	records  int // whole ones that conn was given and may not have used
	boundary boundary
	dry      bool // the socket has nothing more
	ended    bool // the stream has ended, with or without a close_notify
}

// boundary follows a stream of TLS records.
type boundary struct {
	left   int // bytes to come of the record under way
	header [5]byte
	have   int // bytes of header
}

// passed goes over the next bytes of the stream and counts the records that end
// in them.
func (b *boundary) passed(p []byte) (ends int) {
	for len(p) > 0 {
		if b.left > 0 {
			n := min(b.left, len(p))
			b.left -= n
			p = p[n:]
		} else {
			n := copy(b.header[b.have:], p)
			b.have += n
			p = p[n:]
			if b.have < len(b.header) {
				return ends
			}
			b.have = 0
			b.left = int(b.header[3])<<8 | int(b.header[4])
		}
		if b.left == 0 && b.have == 0 {
			ends++
		}
	}
	return ends
}

// inside says whether a record has begun and not ended.
func (b *boundary) inside() bool { return b.left > 0 || b.have > 0 }

// unknown is how many records may wait inside crypto/tls after a handshake.
const unknown = 1 << 20

// recordsPerRead bounds what one Read does for its bytes: of a peer that sends
// records of one byte each, In would take 65,536.
const recordsPerRead = 64

// ErrTruncated says that a stream ended without a close_notify: whoever cut it
// may not have been its peer (RFC 8446 section 6.1).
var ErrTruncated = errors.New("the TLS stream ended without a close_notify")

// Read fills p with what has arrived, decrypted, up to 64 records of it. dry says that nothing is left:
// the next arrival is an event. It returns 0 and io.EOF at a close_notify,
// ErrTruncated at an end without one, ErrAgain when nothing is there, and else
// the error of the socket or of TLS, of which Sealed may hold an alert.
func (t *TLS) Read(p []byte) (n int, dry bool, err error) {
	t.mustBeShaken()
	t.dry = false
	t.loop.sealed = t.loop.sealed[:0]
	for range recordsPerRead {
		room := len(p) - n
		k, err := t.conn.Read(p[n:])
		n += k
		switch {
		case err == errDry:
			t.records = 0
			if n == 0 {
				return 0, true, ErrAgain
			}
			return n, true, nil
		case err != nil && n > 0:
			return n, false, nil // the next call will say the same again
		case err != nil:
			return 0, false, t.cause(err)
		}
		if k < room && t.dry && t.records <= 1 && !t.boundary.inside() {
			t.records = 0
			return n, true, nil
		}
		if n == len(p) || len(t.loop.sealed) > 0 { // new keys cost as much as many records
			break
		}
	}
	return n, false, nil
}

// mustBeShaken keeps a call from waiting for the handshake, which would be for ever.
func (t *TLS) mustBeShaken() {
	if t.shake != nil {
		panic("BUG: use of a TLS connection before the end of its handshake")
	}
}

// Inside reports whether part of a record has arrived, and the rest has not.
func (t *TLS) Inside() bool { return t.boundary.inside() }

// cause words an error of conn.Read as that of Read.
func (t *TLS) cause(err error) error {
	switch {
	case t.err != nil:
		return t.err
	case t.ended && (err == io.EOF || err == io.ErrUnexpectedEOF):
		return ErrTruncated
	}
	return err
}

// Seal encrypts a and then b. The beginning of b goes into the record of a if
// there is room behind a, in its own memory, which is written to.
func (t *TLS) Seal(a, b []byte) error {
	t.mustBeShaken()
	t.loop.sealed = t.loop.sealed[:0]
	if n := min(len(b), cap(a)-len(a), maxRecord-len(a)%maxRecord); len(a) > 0 {
		a, b = append(a, b[:n]...), b[n:]
	}
	for _, p := range [...][]byte{a, b} {
		if len(p) == 0 {
			continue
		}
		if _, err := t.conn.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// maxRecord is how much a record holds (RFC 8446 section 5.1).
const maxRecord = 16 << 10

// SealEnd encrypts a close_notify, after which nothing can be sealed.
func (t *TLS) SealEnd() error {
	t.loop.sealed = t.loop.sealed[:0]
	return t.conn.CloseWrite()
}

// Sealed is what the last call has sealed, or what a Read had to say (alerts, new
// keys): the Loop's scratch, valid until the next call on any TLS.
func (t *TLS) Sealed() []byte { return t.loop.sealed }

// State is what the handshake has agreed on. It copies a lot: call it once.
func (t *TLS) State() tls.ConnectionState { return t.conn.ConnectionState() }

// transport is the net.Conn that crypto/tls sees.
type transport TLS

// errDry is the temporary error after which crypto/tls can be called again.
var errDry net.Error = dryError{}

type dryError struct{}

func (dryError) Error() string   { return "would block" }
func (dryError) Timeout() bool   { return false }
func (dryError) Temporary() bool { return true }

// errSocket stands for t.err, which crypto/tls might take for a temporary one.
var errSocket = errors.New("socket")

// Read implements net.Conn.
func (t *transport) Read(p []byte) (int, error) {
	if t.shake != nil {
		return t.shake.read(p)
	}
	n := 0
	switch {
	case len(t.early) > 0:
		n = copy(p, t.early)
		if t.early = t.early[n:]; len(t.early) == 0 {
			t.early = nil
		}
	case t.dry:
		return 0, errDry
	default:
		var err error
		n, err = t.loop.sys.Read(t.fd, p)
		switch {
		case err == ErrAgain:
			t.dry = true
			return 0, errDry
		case err != nil:
			t.err = err
			return 0, errSocket
		case n == 0:
			t.ended = true
			return 0, io.EOF
		}
		t.dry = n < len(p)
	}
	t.records += t.boundary.passed(p[:n])
	return n, nil
}

// Write implements net.Conn.
func (t *transport) Write(p []byte) (int, error) {
	if h := t.shake; h != nil {
		h.out = append(h.out, p...)
	} else {
		t.loop.sealed = append(t.loop.sealed, p...)
	}
	return len(p), nil
}

// LocalAddr implements net.Conn.
func (t *transport) LocalAddr() net.Addr {
	if h := t.shake; h != nil && h.Local.IsValid() {
		return net.TCPAddrFromAddrPort(h.Local)
	}
	return noAddr{}
}

// Close implements net.Conn: the socket is the Loop's to close.
func (t *transport) Close() error                     { return nil }
func (t *transport) RemoteAddr() net.Addr             { return noAddr{} }
func (t *transport) SetDeadline(time.Time) error      { return nil }
func (t *transport) SetReadDeadline(time.Time) error  { return nil }
func (t *transport) SetWriteDeadline(time.Time) error { return nil }

// noAddr is an address that nobody asks for.
type noAddr struct{}

func (noAddr) Network() string { return "tcp" }
func (noAddr) String() string  { return "" }
