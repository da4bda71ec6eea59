package proxy

import (
	"net/netip"

	"arzur.net/lb/proxy/http1"
	"arzur.net/lb/proxy/loop"
)

// phase is what a client connection is doing. Each phase has a deadline.
type phase uint8

const (
	phaseIdle      phase = iota // between requests; holds no buffer
	phaseProxy                  // the header of a proxy in front has to come
	phaseHello                  // a ClientHello has to come that is passed through
	phaseHandshake              // TLS is being agreed on
	phaseHead                   // part of a request head has arrived
	phaseExchange               // a request is being served
	phaseTunnel                 // upgraded: bytes both ways
	phaseFlush                  // the last answer is on its way out, then close
	phaseLinger                 // our side is shut; what still arrives is thrown away
)

// client is one HTTP/1.1 connection from a client: the carrier of one stream at
// a time, or of bytes that are passed on as they come (stream.go).
type client struct {
	wire
	lst  *listener
	peer netip.AddrPort
	x    *Exchange

	intro  *intro // what it had to say first, nil: nothing
	phase  phase
	last   bool // close after the answer under way
	linger bool // and read on for a while before closing, so that the answer is not lost to a RST
}

// Ready implements loop.Handler.
func (c *client) Ready(r loop.Ready) {
	if r&loop.Failed != 0 && !c.shut() {
		if c.phase == phaseTunnel {
			c.x.clientBroke()
		}
		if c.Attached() {
			c.gone()
		}
		return
	}
	if r&loop.PeerClosed != 0 {
		c.peerClosed, c.canRead = true, true
	}
	if r&loop.Readable != 0 {
		c.canRead = true
	}
	if r&loop.Writable != 0 && !c.writable() {
		return
	}
	if c.canRead || c.phase == phaseHandshake {
		c.readable()
	}
}

// shut says whether our side of the connection has ended. The client's end is a
// failure too then, and what it said before that is still to be read: closing
// over unread bytes would reset the connection, and our last words with it.
func (c *client) shut() bool {
	return c.phase == phaseLinger || c.phase == phaseTunnel && c.x.downShut
}

// writable continues what waited for room. False: the connection is closed.
func (c *client) writable() bool {
	if c.out.empty() {
		return c.taken()
	}
	return c.flushed(c.flush())
}

// Sent implements loop.Sender.
func (c *client) Sent(n int, err error) { c.flushed(c.sent(n, err)) }

// flushed goes on after a flush. False: the connection is closed.
func (c *client) flushed(err error) bool {
	switch err {
	case nil:
		if c.x != nil {
			c.x.progress() // it is the others' turn again, and time
		}
		return c.taken()
	case loop.ErrAgain:
		switch c.phase { // it took some: slow is not stalled
		case phaseHandshake: // whose deadline no progress moves
		case phaseTunnel:
			c.x.tunnelMoved()
		default:
			c.SetDeadline(c.core.loop.Now() + int64(c.lst.state.Load().opts.WriteTimeout))
		}
		return true
	default:
		c.gone()
		return false
	}
}

// taken goes on when nothing waits for room. False: the connection is closed.
func (c *client) taken() bool {
	switch c.phase {
	case phaseFlush:
		c.finish()
		return c.phase == phaseLinger
	case phaseExchange, phaseTunnel:
		c.x.clientWritable()
		return c.Attached()
	}
	return true
}

func (c *client) readable() {
	switch c.phase {
	case phaseIdle, phaseHead:
		c.readHead()
	case phaseHandshake:
		c.shakeHands()
	case phaseExchange, phaseTunnel:
		c.x.clientReadable()
	case phaseProxy, phaseHello:
		c.introduce()
	case phaseLinger:
		c.discard()
	}
}

// Expired implements loop.Handler.
func (c *client) Expired() {
	switch c.phase {
	case phaseHead:
		c.refuse(&failures[slowHead], nil)
	case phaseHandshake:
		c.endShake(shakeTimeout, nil)
	case phaseProxy, phaseHello:
		c.stalled()
	case phaseExchange, phaseTunnel:
		c.x.clientExpired()
	default:
		c.close()
	}
}

// receive fills p once. False: nothing to use, and what had to be done is done.
func (c *client) receive(p []byte) (int, bool) {
	n, err := c.read(p)
	switch {
	case err == loop.ErrAgain:
		return 0, false
	case err != nil:
		c.gone()
		return 0, false
	case n == 0:
		c.ended()
		return 0, false
	}
	c.core.stats.bytesIn.add(n)
	return n, true
}

// ended handles the end of what the client sends.
func (c *client) ended() {
	switch c.phase {
	case phaseExchange, phaseTunnel:
		c.x.clientEnded()
	case phaseFlush:
	default:
		c.close() // idle, inside a head that will never be complete, or lingering
	}
}

func (c *client) readHead() {
	k := c.core
	for reads := 0; c.Attached() && (c.phase == phaseIdle || c.phase == phaseHead); {
		if c.in != nil && c.headSeen == 0 {
			c.handle(c.in) // pipelined behind the request before
			continue
		}
		if !c.canRead {
			return
		}
		if reads++; reads > readsPerEvent {
			k.loop.Again(&c.Conn, loop.Readable)
			return
		}
		buf := k.loop.In()
		if c.in != nil {
			buf = c.room(1)
		}
		n, ok := c.receive(buf)
		if !ok {
			if c.phase == phaseIdle && c.tls != nil && c.Attached() && c.tls.Inside() {
				c.headBegins(c.lst.state.Load())
			}
			return
		}
		if c.in != nil {
			c.in = c.in[:len(c.in)+n]
			c.handle(c.in)
		} else {
			c.handle(buf[:n])
		}
	}
}

// handle serves the request at the start of data, which is the Loop's scratch or c.in.
func (c *client) handle(data []byte) {
	k := c.core
	state := c.lst.state.Load()
	if unfinished(data, c.headSeen) {
		return
	}
	// The port has changed: its servers do not speak HTTP any more, or want nothing in the clear.
	if state.stream || state.secure() && c.tls == nil {
		c.finish()
		return
	}
	ok, rej := k.req.Parse(data, &state.opts.Limits)
	if rej != nil {
		c.refuse(rejected(rej), nil)
		return
	}
	if !ok {
		if c.phase == phaseIdle {
			c.headBegins(state)
		}
		c.headSeen = int32(len(data))
		c.keep(data)
		return
	}
	c.headSeen = 0
	c.served++
	c.phase = phaseExchange
	c.last = !k.req.KeepAlive || k.draining || c.lst.closed.Load()
	x := k.newExchange()
	c.x = x
	x.start(c, state, data)
}

// headBegins is called when part of a head has arrived, or of the TLS record that
// it is in.
func (c *client) headBegins(state *portState) {
	c.phase = phaseHead
	c.SetDeadline(c.core.loop.Now() + int64(state.opts.HeaderTimeout))
}

// unfinished says of a head that trickles in, and of which seen bytes were
// parsed in vain, that parsing it again can wait: until it is complete or has
// doubled, so that a byte a time costs no more than twice the head.
func unfinished(data []byte, seen int32) bool {
	return seen > 0 && len(data) < int(2*seen) && http1.HeadEnd(data, max(0, int(seen)-4)) < 0
}

// next makes the connection ready for the request after the one just answered.
func (c *client) next() {
	c.x = nil
	if c.last || c.peerClosed && c.in == nil && !c.canRead {
		c.finish()
		return
	}
	c.phase = phaseIdle
	if c.tls != nil {
		c.tls.Rest()
	}
	c.SetDeadline(c.core.loop.Now() + int64(c.core.idleTime(c)))
	if c.in != nil || c.canRead {
		c.core.loop.Again(&c.Conn, loop.Readable)
	}
}

// finish closes the connection once its output has gone.
func (c *client) finish() {
	k := c.core
	c.x = nil
	c.sayEnd()
	if !c.out.empty() {
		c.phase = phaseFlush
		c.SetDeadline(k.loop.Now() + int64(c.lst.state.Load().opts.WriteTimeout))
		return
	}
	// Closing a socket that holds unread bytes resets it, and the answer with it.
	if unread := c.canRead || c.in != nil; !unread && (!c.linger || c.peerClosed) {
		c.close()
		return
	}
	c.keep(nil)
	c.phase = phaseLinger
	if c.closeWrite() != nil {
		c.close()
		return
	}
	if c.tls != nil { // what still comes need not be understood
		c.abandon()
		c.tls = nil
	}
	c.SetDeadline(k.loop.Now() + lingerTime)
	if c.canRead {
		c.discard()
	}
}

// lingerTime is how long a connection that we ended is still read from: long
// enough for the answer to arrive, short enough that an attacker gains nothing.
const lingerTime = int64(1e9)

func (c *client) discard() {
	for range 4 {
		if _, ok := c.receive(c.core.loop.In()); !ok || !c.Attached() {
			return
		}
		if !c.canRead {
			return
		}
	}
	c.core.loop.Again(&c.Conn, loop.Readable)
}

// gone handles a connection that died under us, or that we give up: what was on
// its way must not pass for a whole answer.
func (c *client) gone() {
	if x := c.x; x != nil {
		x.clientGone()
	}
	c.reset()
}

// close ends the connection now.
func (c *client) close() {
	if !c.closed {
		c.sayEnd()
	}
	if c.release() {
		c.x = nil
		c.core.loop.Close(&c.Conn)
		c.core.forget(c)
	}
}

// reset closes the connection with a RST.
func (c *client) reset() {
	if c.release() {
		c.x = nil
		c.core.loop.Reset(&c.Conn)
		c.core.forget(c)
	}
}

// Panicked is called by the Loop after a panic inside one of our handlers.
func (c *client) Panicked() {
	c.core.proxy.panics.add()
	c.gone()
}
