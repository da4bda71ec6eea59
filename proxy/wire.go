package proxy

import "arzur.net/lb/proxy/loop"

// wire is what the connections of both sides are made of: a socket, what was
// read of it ahead of use, and what it has yet to take. Idle, it holds no buffer.
type wire struct {
	loop.Conn
	core *core
	tls  *secure // nil: in the clear
	in   []byte  // read ahead of what was handled, pooled
	out  pending // output that the socket did not take

	slot       int32  // index in the list that the connection stands in
	headSeen   int32  // bytes of in that were parsed in vain
	served     uint32 // Exchanges
	canRead    bool   // there may be more to read
	peerClosed bool   // the peer has sent its FIN
	closed     bool
}

// read fills p once, and notes whether there may be more: after loop.ErrAgain,
// and after 0, nil, the end of the stream, there is not.
func (w *wire) read(p []byte) (int, error) {
	if w.tls != nil {
		return w.unseal(p)
	}
	return w.readSocket(p)
}

// readSocket is read below TLS.
func (w *wire) readSocket(p []byte) (int, error) {
	n, err := w.core.sys.Read(w.FD(), p)
	switch {
	case err == loop.ErrAgain:
		w.canRead = false
	case err != nil:
	case n == 0:
		w.canRead, w.peerClosed = false, true
	case n < len(p) && !w.peerClosed:
		w.canRead = false // a short read has emptied the socket; the next byte is a new edge
	}
	return n, err
}

// write sends what it can of p and says how much that was. Under TLS it takes all
// of it, and keeps in out what the socket does not.
func (w *wire) write(p []byte) (int, error) {
	if w.tls != nil {
		if err := w.send(p, nil); err != nil && err != loop.ErrAgain {
			return 0, err
		}
		return len(p), nil
	}
	return w.core.sys.Write(w.FD(), p)
}

// send writes a and then b, all of both: what the socket does not take is kept
// in out. It reports loop.ErrAgain when something is there, and any other error
// as it came. Under TLS the memory behind a is written to.
func (w *wire) send(a, b []byte) error {
	if w.tls != nil {
		if err := w.tls.Seal(a, b); err != nil {
			return err
		}
		a, b = w.tls.Sealed(), nil
	}
	return w.out.send(w.core.loop, w.FD(), a, b)
}

// collects says whether n bytes may be left to sendSoon.
func (w *wire) collects(n int) bool {
	return n <= maxSoon && w.out.empty() && w.core.loop.Collects()
}

// maxSoon is up to how many bytes of output are collected: they are copied for
// it, and what it saves is the same for all.
const maxSoon = 4 << 10

// sendSoon has p sent together with what others have to send, within the round.
// Until Sent it is in out, like what a socket does not take. s is the connection
// that w is part of.
func (w *wire) sendSoon(p []byte, s loop.Sender) error {
	if w.tls != nil {
		if err := w.tls.Seal(p, nil); err != nil {
			return err
		}
		p = w.tls.Sealed()
	}
	w.out.add(w.core.loop, p)
	w.core.loop.SendSoon(&w.Conn, s)
	return nil
}

// Unsent implements loop.Sender.
func (w *wire) Unsent() []byte { return w.out.buf[w.out.off:] }

// sent notes what came of sending Unsent. Like flush it returns nil when all has
// gone, loop.ErrAgain when the socket is full, and the socket's error otherwise.
func (w *wire) sent(n int, err error) error {
	if err != nil && err != loop.ErrAgain {
		return err
	}
	w.out.off += n
	return w.flush() // what is left, or has come since
}

// flush writes what is in out. It returns nil when all has gone, loop.ErrAgain
// when the socket is full, and the socket's error otherwise.
func (w *wire) flush() error {
	return w.out.flush(w.core.loop, w.FD())
}

// closeWrite ends our direction of the stream, once out is empty: until then it
// returns loop.ErrAgain.
func (w *wire) closeWrite() error {
	w.sayEnd()
	if !w.out.empty() {
		return loop.ErrAgain
	}
	return w.core.sys.CloseWrite(w.FD())
}

// keep holds on to data for later, as w.in. data may be part of w.in.
func (w *wire) keep(data []byte) {
	l := w.core.loop
	switch {
	case len(data) == 0:
		if w.in != nil {
			l.Put(w.in)
			w.in = nil
		}
	case w.in == nil:
		w.in = append(l.Get(len(data)), data...)
	default:
		w.in = w.in[:copy(w.in[:cap(w.in)], data)]
	}
}

// room is the free space behind w.in, n bytes at least.
func (w *wire) room(n int) []byte {
	w.in = grow(w.core.loop, w.in, n)
	return w.in[len(w.in):cap(w.in)]
}

// release gives back what the connection holds, once. False: it was done before.
func (w *wire) release() bool {
	if w.closed {
		return false
	}
	w.closed = true
	if w.tls != nil {
		w.abandon()
	}
	w.keep(nil)
	w.out.drop(w.core.loop)
	return true
}
