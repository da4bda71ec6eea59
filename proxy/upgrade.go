package proxy

import (
	"cmp"

	"arzur.net/lb/health"
	"arzur.net/lb/proxy/http1"
	"arzur.net/lb/proxy/loop"
)

// Upgrades are an allow-list with one entry, websocket. An unknown one is never
// passed on: h2c would slip past the rules. A connection becomes a tunnel only
// after a 101 that matches what was asked.

// switchProtocols handles a 101.
func (x *Exchange) switchProtocols(r *http1.Response, rest []byte) {
	if !x.upgrade || !r.UpgradeWebsocket {
		x.attemptFailed(health.Broken, &failures[badResponse], "101 that was not asked for")
		return
	}
	k, c, u := x.core, x.client, x.up
	x.beginTunnel(101)
	c.last = true
	k.sys.Unheard(u.FD(), 0) // the ends of a tunnel may stop reading for as long as they like
	b := appendStatusLine(k.loop.Out(), r)
	edit := &x.entry.Rule.ResponseHeaders
	b = appendFields(b, &r.Message, notReturned, edit)
	b = appendEdits(b, edit)
	b = append(b, "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"...)
	x.respBytes += int64(len(rest))
	if !c.put(b, rest) {
		return
	}
	u.keep(nil)
	x.tunnelMoved()
	x.sendEarly() // what came before the 101 is for the tunnel
	if x.stage == stageTunnel && c.canRead {
		x.tunnelUp()
	}
}

// beginTunnel makes a tunnel of the connections of both sides.
func (x *Exchange) beginTunnel(status int) {
	x.stage, x.client.phase = stageTunnel, phaseTunnel
	x.status = status
	x.failed, x.detail = nil, "" // what an earlier Attempt met with, this one has made up for
	x.answered = x.core.loop.Now()
	x.backendAnswers()
	x.core.stats.tunnels.add(1)
}

// askAfter is the first silence after which the kernel is to ask both ends of a
// tunnel whether they live. One that has lost its power would hold the other until
// the tunnel times out, and a firewall between them forgets who is silent. Most
// tunnels are never silent for so long, and save the calls.
const askAfter = int64(60e9)

// tunnelMoved renews the idle deadline of both sides.
func (x *Exchange) tunnelMoved() {
	d := int64(x.state.opts.TunnelTimeout)
	if !x.asks {
		d = min(d, askAfter)
	}
	x.tunnelWait(d)
}

func (x *Exchange) tunnelWait(d int64) {
	now := x.core.loop.Now()
	x.up.SetDeadline(now + d)
	x.client.SetDeadline(now + d)
}

// tunnelSend passes bytes to the Backend. False: it takes no more.
func (x *Exchange) tunnelSend(p []byte) bool {
	x.reqBytes += int64(len(p))
	if err := x.up.send(p, nil); err != nil && err != loop.ErrAgain {
		x.upstreamDeaf(reason("write", err))
		return false
	}
	x.tunnelMoved()
	return true
}

// tunnelUp moves bytes from the client to the Backend, while it takes them.
func (x *Exchange) tunnelUp() {
	c := x.client
	for range readsPerEvent {
		if !x.up.out.empty() || x.upEnded || x.up.unsent != "" {
			return
		}
		if x.reqSplice != nil {
			if !x.spliceUp() {
				return
			}
			continue
		}
		if !c.canRead {
			return
		}
		n, ok := c.receive(x.core.loop.In())
		if !ok || !x.tunnelSend(x.core.loop.In()[:n]) {
			return
		}
		if n == loop.ScratchSize { // it pours
			x.reqSplice = x.newSplicer()
		}
	}
	x.core.loop.Again(&c.Conn, loop.Readable)
}

// clientBroke passes on what a client said before its connection broke, as far as
// the Backend takes it.
func (x *Exchange) clientBroke() {
	x.client.canRead = true
	x.tunnelUp()
}

// tunnelUpWritable continues after the Backend has made room.
func (x *Exchange) tunnelUpWritable() {
	u := x.up
	if x.reqSplice.holds() {
		x.tunnelUp()
		return
	}
	if u.out.empty() || u.unsent != "" {
		return // nothing had waited, or nobody takes it
	}
	switch err := u.flush(); {
	case err == loop.ErrAgain:
		x.tunnelMoved() // it took some
		return
	case err != nil:
		x.upstreamDeaf(reason("write", err))
		return
	}
	if x.upEnded {
		x.shutUp()
		return
	}
	if x.client.canRead {
		x.tunnelUp()
	}
}

// tunnelDown moves bytes from the Backend to the client, while it takes them.
func (x *Exchange) tunnelDown() {
	c, u, k := x.client, x.up, x.core
	for range readsPerEvent {
		if !c.out.empty() {
			return
		}
		if x.splice != nil {
			if !x.spliceDown() {
				return
			}
			continue
		}
		if x.downEnded {
			x.shutDown()
			return
		}
		if !u.canRead {
			return
		}
		n, err := u.read(k.loop.In())
		switch {
		case err == loop.ErrAgain && u.unsent == "":
			return
		case err != nil, n == 0 && u.unsent != "": // the system tells of a break once
			x.breakTunnel(cmp.Or(u.unsent, reason("read", err)))
			return
		case n == 0:
			x.downEnded = true
			c.endLike(&u.wire)
			continue
		}
		x.respBytes += int64(n)
		if !c.put(k.loop.In()[:n], nil) {
			return
		}
		x.tunnelMoved()
		if n == loop.ScratchSize { // it pours
			x.splice = x.newSplicer()
		}
	}
	k.loop.Again(&u.Conn, loop.Readable)
}

// tunnelClientEnded handles the client's FIN: it is passed on behind what waits.
func (x *Exchange) tunnelClientEnded() {
	x.upEnded = true
	x.up.endLike(&x.client.wire)
	if x.up.out.empty() {
		x.shutUp()
	}
}

func (x *Exchange) shutUp() {
	switch err := x.up.closeWrite(); {
	case err == loop.ErrAgain: // called again when there is room
	case x.downEnded:
		x.endTunnel("")
	case err != nil:
		x.upstreamDeaf(reason("shutdown", err))
	}
}

func (x *Exchange) shutDown() {
	if x.downShut {
		return
	}
	if x.upEnded && x.up.out.empty() {
		x.endTunnel("")
		return
	}
	err := x.client.closeWrite()
	if err == loop.ErrAgain {
		return // likewise
	}
	if x.downShut = true; err != nil {
		x.endTunnel("")
	}
}

// tunnelExpired ends a tunnel after a silence. What still waits for one side is
// lost then, which must not look like a regular end.
func (x *Exchange) tunnelExpired() {
	if left := int64(x.state.opts.TunnelTimeout) - askAfter; left > 0 && !x.asks {
		x.asks = true
		x.core.sys.KeepAlive(x.client.FD())
		x.core.sys.KeepAlive(x.up.FD())
		x.tunnelWait(left)
		return
	}
	if x.clientBusy() || !x.up.out.empty() || x.reqSplice.holds() {
		x.up.reset()
		x.breakTunnel("idle")
		return
	}
	x.endTunnel("")
}

// endTunnel closes both sides.
func (x *Exchange) endTunnel(detail string) {
	c := x.client
	x.detail = detail
	x.dropUpstream()
	x.settleBackend(health.Served)
	x.end()
	c.finish()
}
