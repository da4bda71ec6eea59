package loop

import (
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"runtime/debug"
	"sync/atomic"
)

// Handshake is a TLS handshake under way. crypto/tls wants a stack that waits for
// the peer, and more of the processor than a Loop may spend: so the handshake is
// a coroutine, which a worker resumes whenever there is input, and which holds no
// worker while there is none.
//
// Its methods belong to the Loop. Between Step and the call of stepped it must be
// asked for nothing but Abandon.
type Handshake struct {
	// Local is our address, as the peer knows it: for GetCertificate, when the
	// ClientHello names no server. It is set before the first Step.
	Local netip.AddrPort

	t       *TLS
	open    func(net.Conn) (*tls.Conn, error)
	work    func(func())
	stepped func()

	// Used by the Loop between two steps and by a worker during one.
	in, out []byte
	resume  func() (struct{}, bool)
	stop    func()
	yield   func(struct{}) bool
	done    bool
	err     error

	state atomic.Int32 // resting, running or abandoned
	busy  bool         // the Loop's: stepped is to be called
}

// Where a Handshake is: between two steps, on a worker, or of use to nobody.
const (
	resting = iota
	running
	abandoned
)

// Panic is the error of a handshake that panicked.
type Panic struct {
	Value any
	Stack []byte // of the handshake, not of the worker that it ran on
}

// Error implements error.
func (p *Panic) Error() string { return fmt.Sprint("panic: ", p.Value) }

// NewTLS prepares the handshake of the connection fd in l. open makes the
// tls.Conn, a server's or a client's, over the net.Conn that it is given; it runs
// with the handshake. work has a function run by a goroutine that is not locked to
// its thread, soon; stepped is called in l after each Step.
func NewTLS(l *Loop, fd int, open func(net.Conn) (*tls.Conn, error), work func(func()), stepped func()) *TLS {
	t := &TLS{loop: l, fd: fd}
	t.shake = &Handshake{t: t, open: open, work: work, stepped: stepped}
	return t
}

// Shake is the handshake, nil once Finish was called.
func (t *TLS) Shake() *Handshake { return t.shake }

// Step goes on with what has arrived, of which it takes a copy. A client begins
// with nothing.
func (h *Handshake) Step(input []byte) {
	h.in = append(h.in, input...)
	h.busy = true
	h.state.Store(running)
	h.work(h.step)
}

// Busy reports whether a step is under way.
func (h *Handshake) Busy() bool { return h.busy }

// Done reports whether the handshake is over, and its error.
func (h *Handshake) Done() (bool, error) { return h.done, h.err }

// Output is what the last step wants to be sent.
func (h *Handshake) Output() []byte { return h.out }

// Finish ends a handshake that is Done: the connection can be read from, and may
// hold bytes already, and be written to.
func (h *Handshake) Finish() {
	t := h.t
	t.early, t.records, t.shake = h.in, unknown, nil
	if len(t.early) == 0 {
		t.early = nil
	}
	t.Rest()
}

// Abandon ends a handshake because its connection closes. stepped is not called
// any more. When the Loop has ended it may be called from elsewhere, once no worker
// has a step left to do.
func (h *Handshake) Abandon() {
	if h.state.Swap(abandoned) == resting {
		h.work(h.unwind)
	}
}

// unwind lets go of the coroutine's stack. It runs on a worker like all that the
// coroutine does: at the end of the step under way, if there is one, as the Loop
// may end before.
func (h *Handshake) unwind() {
	if h.stop != nil && !h.done {
		h.stop()
	}
}

// step runs on a worker.
func (h *Handshake) step() {
	h.out = h.out[:0]
	if h.resume == nil {
		h.resume, h.stop = iter.Pull(h.run)
	}
	if _, waits := h.resume(); !waits {
		h.done = true
	}
	if h.state.CompareAndSwap(running, resting) {
		h.t.loop.Post(h.after)
	} else {
		h.unwind()
	}
}

// after is what follows a step in the Loop.
func (h *Handshake) after() {
	h.busy = false
	if h.state.Load() != abandoned {
		h.stepped()
	}
}

// run is the coroutine. A panic is caught here, where the stack still shows what
// has panicked.
func (h *Handshake) run(yield func(struct{}) bool) {
	defer func() {
		if v := recover(); v != nil {
			h.err = &Panic{v, debug.Stack()}
		}
	}()
	h.yield = yield
	if h.t.conn, h.err = h.open((*transport)(h.t)); h.err == nil {
		h.err = h.t.conn.Handshake()
	}
}

// errAbandoned is what crypto/tls reads once nobody wants its handshake any more.
var errAbandoned = errors.New("handshake abandoned")

// read is the transport's Read during the handshake.
func (h *Handshake) read(p []byte) (int, error) {
	for len(h.in) == 0 {
		if !h.yield(struct{}{}) {
			return 0, errAbandoned
		}
	}
	n := copy(p, h.in)
	h.in = h.in[:copy(h.in, h.in[n:])]
	h.t.boundary.passed(p[:n])
	return n, nil
}

// HelloEnd finds out whether data, the beginning of a stream, has the whole of
// a ClientHello, which may be spread over many records (RFC 8446 section 5.1), or
// cannot be one: there is nothing to be waited for then.
func HelloEnd(data []byte) bool {
	const header, message = 5, 4
	want, have := message, 0 // bytes of the handshake message, once its length is known
	var length [message]byte
	for len(data) >= header {
		n := int(data[3])<<8 | int(data[4])
		if data[0] != 22 || data[1] != 3 || n == 0 || n > maxRecord {
			return true
		}
		part := data[header:min(len(data), header+n)]
		if have < message {
			copy(length[have:], part)
			if have+len(part) >= message {
				want = message + int(length[1])<<16 + int(length[2])<<8 + int(length[3])
			}
		}
		have += len(part)
		if have >= want || want > maxHello {
			return true
		}
		if len(data) <= header+n {
			return false
		}
		data = data[header+n:]
	}
	return len(data) > 0 && data[0] != 22
}

// maxHello is the longest handshake message that crypto/tls takes.
const maxHello = 64 << 10
