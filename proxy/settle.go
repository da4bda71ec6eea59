package proxy

import (
	"arzur.net/lb/health"
	"arzur.net/lb/proxy/loop"
)

// responseDone ends the Backend's part: the response has been read to its end.
// clean says that nothing came behind it.
func (x *Exchange) responseDone(clean bool) {
	k, u := x.core, x.up
	// A connection serves again only when the request was sent to its end, the
	// response read to its end, and nothing is left over.
	whole := u.unsent == "" && x.reqDone && x.sent == len(x.buf) && u.out.empty() && !x.reqSplice.holds()
	x.dropPipes()
	x.up = nil
	u.x = nil
	if clean && whole && x.reusable && !u.peerClosed && u.in == nil && (!u.canRead || u.alive()) {
		k.putIdle(u, x.state.opts)
	} else {
		u.close()
	}
	x.settleBackend(health.Served)
	if !x.reqDone { // answered before the body was read: what still comes is not a request
		x.client.last, x.client.linger = true, true
	}
	x.flush()
}

// flush waits for the client to take the rest, then completes.
func (x *Exchange) flush() {
	if x.client.out.empty() {
		x.complete()
		return
	}
	x.stage = stageFlush
	if x.client.Soon() {
		return // within the round; the deadline is that of a head or body that came in it
	}
	x.client.SetDeadline(x.core.loop.Now() + int64(x.state.opts.WriteTimeout))
}

// complete ends the Exchange; the connection goes on to the next.
func (x *Exchange) complete() {
	c := x.client
	x.end()
	c.next()
}

// end records the Exchange and gives it back.
func (x *Exchange) end() {
	if x.stage == stageDone {
		return
	}
	k := x.core
	if x.stage == stageTunnel {
		k.stats.tunnels.add(-1)
	}
	x.stage = stageDone
	if x.question != nil {
		x.question.x = nil
	}
	k.observe(x)
	if x.buf != nil {
		k.loop.Put(x.buf)
		x.buf = nil
	}
	x.dropPipes()
	x.client.x = nil
	k.loop.Defer(x)
}

// cut ends an Exchange whose response had begun: the client must see that it is
// not whole, so the connection closes without the message's end; where only the
// close would mark the end, it is reset.
func (x *Exchange) cut(f *failure, detail string) {
	c := x.client
	x.failed, x.detail = f, detail
	unframed := x.respMode == bodyClose && !x.rechunk || x.oldClient && x.respMode == bodyChunks
	x.end()
	if unframed {
		c.reset()
		return
	}
	c.last = true
	c.finish()
}

// grow makes room for n more bytes in a pooled buffer.
func grow(l *loop.Loop, b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	bigger := append(l.Get(max(len(b)+n, 2*cap(b))), b...)
	l.Put(b)
	return bigger
}
