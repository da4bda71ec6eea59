package proxy

import (
	"errors"
	"syscall"

	"arzur.net/lb/health"
	"arzur.net/lb/proxy/http1"
	"arzur.net/lb/proxy/loop"
)

// readsPerEvent bounds how long one connection may keep its Loop busy.
const readsPerEvent = 8

// upstreamReadable reads what the Backend says, unless the client has yet to
// take what was said before.
func (x *Exchange) upstreamReadable() {
	u := x.up
	if u.shaking() { // what there is to be read is the handshake's
		return
	}
	for range readsPerEvent {
		if x.stage == stageTunnel { // already, or since the last read
			x.tunnelDown()
			return
		}
		if !u.canRead || !x.client.out.empty() {
			return
		}
		if x.splice != nil {
			x.spliceResponse()
			return
		}
		data, ok := u.receive()
		if !ok {
			return
		}
		x.received(data)
		if x.up != u { // done, failed or tried elsewhere
			return
		}
	}
	x.core.loop.Again(&u.Conn, loop.Readable)
}

// receive reads once, behind what u.in holds of a head. False: nothing to handle.
func (u *upstream) receive() ([]byte, bool) {
	buf := u.core.loop.In()
	if u.in != nil {
		buf = u.room(4096)
	}
	n, err := u.read(buf)
	switch {
	case err == loop.ErrAgain:
		return nil, false
	case err != nil:
		if u.served == 0 && u.x.stage < stageRespond && isAlert(err) {
			u.x.attemptFailed(health.Broken, &failures[tlsFailed], reason("tls", err))
			return nil, false
		}
		if errors.Is(err, syscall.ETIMEDOUT) {
			u.core.dropIdleOf(u.backend) // which would keep others waiting as well
		}
		u.x.upstreamBroke(reason("read", err))
		return nil, false
	case n == 0:
		u.x.upstreamEnded()
		return nil, false
	}
	if u.in != nil {
		u.in = u.in[:len(u.in)+n]
		return u.in, true
	}
	return buf[:n], true
}

// received handles bytes from the Backend.
func (x *Exchange) received(data []byte) {
	if x.stage == stageRespond {
		x.refreshBody()
		x.relay(x.core.loop.Out(), data)
		return
	}
	if x.stream {
		x.tlsAnswered(data)
		return
	}
	x.responseHead(data)
}

// responseHead looks for a response head at the start of data.
func (x *Exchange) responseHead(data []byte) {
	k, u := x.core, x.up
	r := &k.resp
	if unfinished(data, u.headSeen) {
		return // in u.in, where it is
	}
	for {
		ok, rej := r.Parse(data, x.method.text(), &x.state.opts.Limits)
		if rej != nil {
			x.attemptFailed(health.Broken, &failures[badResponse], rej.Reason)
			return
		}
		if !ok {
			u.keep(data)
			u.headSeen = int32(len(data))
			return
		}
		u.headSeen = 0
		if r.Status >= 200 || r.Status == 101 {
			break
		}
		if !x.interim(r) {
			return
		}
		data = data[r.Head:]
		if len(data) == 0 {
			u.keep(nil)
			return
		}
	}
	if r.Status == 101 {
		x.switchProtocols(r, data[r.Head:])
		return
	}
	x.respond(r, data[r.Head:])
}

// maxInterims bounds the 1xx responses of one Exchange.
const maxInterims = 16

// interim passes a 1xx response on to a client that understands them.
func (x *Exchange) interim(r *http1.Response) bool {
	x.interims++
	if x.interims > maxInterims {
		x.attemptFailed(health.Broken, &failures[badResponse], "too many interim responses")
		return false
	}
	x.awaitResponse()
	if x.oldClient || r.Status == 100 && !x.expects {
		return true
	}
	x.replay = false // the client has seen something of this Attempt
	return x.client.put(appendInterim(x.core.loop.Out(), r), nil)
}

// respond passes the response head on, and the part of the body that came with it.
func (x *Exchange) respond(r *http1.Response, rest []byte) {
	k := x.core
	x.stage = stageRespond
	x.status = r.Status
	x.failed = nil // what an earlier Attempt met with, this one has made up for
	x.answered = k.loop.Now()
	x.backendAnswers()
	x.reusable = r.KeepAlive && !r.BodyForbidden && x.pool.ProxyProtocol == 0
	x.frameResponse(r)
	if k.draining || x.client.lst.closed.Load() || !x.reqDone && r.Status >= 400 {
		x.client.last = true // the latter: refused early; what is left of the body is not worth reading
	}
	head := x.appendResponse(k.loop.Out(), r)
	x.refreshBody()
	if x.up.in != nil { // the head came in pieces, so rest lies in u.in: it goes back once used
		in := x.up.in
		x.up.in = nil
		x.relay(head, rest)
		k.loop.Put(in)
		return
	}
	x.relay(head, rest)
}

// frameResponse decides how the body ends on either side.
func (x *Exchange) frameResponse(r *http1.Response) {
	switch {
	case r.NoBody:
		x.respMode = bodyNone
	case r.Chunked:
		x.respMode = bodyChunks
		mode := http1.KeepFraming
		if x.oldClient {
			mode = http1.DropFraming
			x.client.last = true
		}
		x.respChunks.Reset(mode, maxTrailer)
	case r.UntilClose:
		x.respMode = bodyClose
		x.reusable = false
		if x.oldClient {
			x.client.last = true
		} else {
			x.rechunk = true
		}
	default:
		x.respMode, x.respLeft = bodyLength, r.ContentLength
	}
}

func (x *Exchange) refreshBody() { x.deadline(int64(x.state.opts.ResponseBodyTimeout)) }

// smallSpan is up to how many bytes copying behind the head beats a second iovec.
const smallSpan = 4 << 10

// relay sends head, which lies in the Loop's Out buffer, and the body bytes in
// data. It ends the Exchange when the body is complete.
func (x *Exchange) relay(head, data []byte) {
	out := head
	done := x.respMode == bodyNone || x.respMode == bodyLength && x.respLeft == 0
	for len(data) > 0 && !done {
		span := data
		n := len(data)
		switch x.respMode {
		case bodyLength:
			n = int(min(int64(n), x.respLeft))
			span = data[:n]
			x.respLeft -= int64(n)
			done = x.respLeft == 0
		case bodyChunks:
			var rej *http1.Reject
			span, n, done, rej = x.respChunks.Next(data)
			if rej != nil {
				if x.client.put(out, nil) {
					x.attemptFailed(health.Broken, &failures[badResponse], rej.Reason)
				}
				return
			}
		case bodyClose:
			if x.rechunk {
				out = http1.AppendChunk(out, data)
				x.respBytes += int64(n)
				span = nil
			}
		}
		data = data[n:]
		x.respBytes += int64(len(span))
		if len(span) <= smallSpan && len(out) < loop.ScratchSize {
			out = append(out, span...)
			continue
		}
		if !x.client.put(out, span) {
			return
		}
		out = out[:0]
	}
	switch {
	case len(out) == 0:
	case done && x.client.collects(len(out)):
		if !x.client.putSoon(out) {
			return
		}
	case !x.client.put(out, nil):
		return
	}
	if done {
		x.responseDone(len(data) == 0)
		return
	}
	if x.respMode == bodyLength && x.respLeft >= spliceMin {
		x.splice = x.newSplicer()
	}
}

// put sends bytes to the client. False: the client is gone, and with it the Exchange.
func (c *client) put(a, b []byte) bool {
	c.core.stats.bytesOut.add(len(a) + len(b))
	switch err := c.send(a, b); err {
	case nil:
		return true
	case loop.ErrAgain:
		c.SetDeadline(c.core.loop.Now() + int64(c.lst.state.Load().opts.WriteTimeout))
		return true
	default:
		c.gone()
		return false
	}
}

// putSoon is put for the end of a response that the connection collects.
func (c *client) putSoon(p []byte) bool {
	c.core.stats.bytesOut.add(len(p))
	if c.sendSoon(p, c) != nil {
		c.gone()
		return false
	}
	return true
}

// upstreamDeaf handles a Backend that takes no more of the request. What it said
// before that is read first: it may be an early answer, such as a 413.
func (x *Exchange) upstreamDeaf(detail string) {
	u := x.up
	u.unsent, u.canRead = detail, true
	x.core.loop.Again(&u.Conn, loop.Readable)
}

// upstreamEnded handles the Backend's FIN.
func (x *Exchange) upstreamEnded() {
	switch {
	case x.up.unsent != "": // the system has told of the break already
		x.upstreamBroke(x.up.unsent)
	case x.stage == stageRespond && x.respMode == bodyClose && x.up.wasCut():
		x.attemptFailed(health.Broken, &failures[responseCut], loop.ErrTruncated.Error())
	case x.stage == stageRespond && x.respMode == bodyClose:
		if x.rechunk && !x.client.put(lastChunk, nil) {
			return
		}
		x.responseDone(false)
	case x.stage == stageRespond:
		x.attemptFailed(health.Broken, &failures[responseCut], "connection closed inside the body")
	case x.up.in != nil:
		x.attemptFailed(health.Broken, &failures[brokenResponse], "connection closed inside the response head")
	default:
		x.attemptFailed(health.Broken, &failures[brokenResponse], "connection closed without an answer")
	}
}

var lastChunk = []byte(http1.LastChunk)

// upstreamBroke handles a socket error on the upstream connection.
func (x *Exchange) upstreamBroke(detail string) {
	f := &failures[brokenResponse]
	if x.stage == stageRespond {
		f = &failures[responseCut]
	}
	x.attemptFailed(health.Broken, f, detail)
}

// upstreamExpired handles the Backend's silence.
func (x *Exchange) upstreamExpired() {
	f := &failures[responseTimeout]
	switch {
	case x.stage == stageRespond && x.clientBusy():
		x.up.SetDeadline(x.core.loop.Now() + int64(x.state.opts.ResponseBodyTimeout))
		return // it is the client's turn, and the client has a deadline of its own
	case x.stage == stageRespond:
		f = &failures[responseStalled]
	case x.stage == stageTunnel:
		x.tunnelExpired()
		return
	}
	x.attemptFailed(health.Slow, f, "")
}
