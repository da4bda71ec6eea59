package proxy

import (
	"arzur.net/lb/health"
	"arzur.net/lb/proxy/loop"
)

// maxReplay is how much of a request is kept so that it can be sent again.
const maxReplay = 64 << 10

// clientReadable is called when the client has sent more.
func (x *Exchange) clientReadable() {
	switch {
	case x.stage == stageTunnel:
		x.tunnelUp()
	case x.takesBody():
		x.readBody()
	}
	// Otherwise it stays in the socket: the next request waits for this answer.
}

// takesBody says whether more request body can be passed on now.
func (x *Exchange) takesBody() bool {
	return !x.reqDone && x.upstreamIdle()
}

// upstreamIdle says whether the Backend has taken all that was passed on so far.
func (x *Exchange) upstreamIdle() bool {
	return (x.stage == stageSend || x.stage == stageRespond) && x.up != nil && x.up.unsent == "" && x.sent == len(x.buf) && x.up.out.empty() && !x.reqSplice.holds()
}

// readBody moves request body from the client to the Backend.
func (x *Exchange) readBody() {
	c, k := x.client, x.core
	for range readsPerEvent {
		if !c.canRead || !x.takesBody() {
			return
		}
		if x.spliceRequest() {
			return
		}
		n, ok := c.receive(k.loop.In())
		if !ok || !x.bodyArrived(k.loop.In()[:n]) {
			return
		}
	}
	k.loop.Again(&c.Conn, loop.Readable)
}

// bodyArrived passes on a piece of the body. False: stop reading.
func (x *Exchange) bodyArrived(data []byte) bool {
	for len(data) > 0 && !x.reqDone {
		span, n, fail := x.bodySpan(data)
		if fail != nil {
			x.badRequestBody(fail)
			return false
		}
		data = data[n:]
		if x.reqDone {
			x.client.keep(data) // the next request, already, whatever becomes of this one
		}
		if !x.forward(span) {
			return false
		}
	}
	if x.upstreamIdle() {
		x.progress()
	}
	return x.up != nil
}

// forward sends one piece of the body on, or keeps what does not fit. False:
// the Exchange has been decided without it.
func (x *Exchange) forward(span []byte) bool {
	switch u := x.up; {
	case len(span) == 0:
	case x.replay && len(x.buf)+len(span) <= maxReplay, x.sent < len(x.buf): // the latter within one read only
		x.buf = append(grow(x.core.loop, x.buf, len(span)), span...)
		x.sendBuffered()
	case u.unsent != "": // nobody listens
	default:
		x.replay = false
		switch err := u.send(span, nil); err {
		case nil:
		case loop.ErrAgain:
			x.deadline(int64(x.state.opts.WriteTimeout))
		default:
			x.upstreamDeaf(reason("write", err))
		}
	}
	return x.up != nil || x.stage == stageQueued
}

// upstreamWritable continues a request that waited for room.
func (x *Exchange) upstreamWritable() {
	u := x.up
	switch {
	case x.stage == stageTunnel:
		x.tunnelUpWritable()
		return
	case u.unsent != "":
		return
	}
	if x.sent < len(x.buf) && !x.sendBuffered() {
		return
	}
	switch {
	case x.reqSplice.holds():
		if !x.pumpRequest() {
			return
		}
	case !u.out.empty():
		if !x.requestFlushed(u.flush()) {
			return
		}
	case x.reqDone && x.sentAt != 0:
		return // nothing had waited
	}
	x.requestMoved()
}

// requestFlushed notes what came of a flush. False: something still waits.
func (x *Exchange) requestFlushed(err error) bool {
	switch err {
	case nil:
		return true
	case loop.ErrAgain: // it took some: slow is not stalled
		x.deadline(int64(x.state.opts.WriteTimeout))
	default:
		x.upstreamDeaf(reason("write", err))
	}
	return false
}

// clientWritable is called when the client has taken all that waited for it.
func (x *Exchange) clientWritable() {
	switch {
	case !x.client.out.empty():
	case x.stage == stageFlush:
		x.complete()
	case x.stage == stageTunnel:
		x.tunnelDown()
	case x.splice != nil:
		x.spliceResponse()
	case x.up != nil && x.up.canRead:
		x.upstreamReadable()
	}
}

// clientEnded handles the client's FIN. A client may shut its sending side and
// still wait for the answer; inside a body it means that the body is cut.
func (x *Exchange) clientEnded() {
	switch {
	case x.stage == stageTunnel:
		x.tunnelClientEnded()
	case x.stream:
		x.upEnded = true
	case !x.reqDone:
		x.badRequestBody(&failure{400, failures[badBody].word, "the connection closed inside the request body"})
	default:
		x.client.last = true
	}
}

// badRequestBody ends an Exchange whose request turned out to be no good after
// part of it had been passed on.
func (x *Exchange) badRequestBody(f *failure) {
	x.dropUpstream()
	x.settleBackend(health.Unjudged)
	if x.stage >= stageRespond {
		x.cut(f, "")
		return
	}
	x.fail(f, "")
}

// clientGone ends an Exchange whose client has died.
func (x *Exchange) clientGone() {
	if x.stream && x.up != nil { // the end of what it sent would look regular
		x.up.reset()
	}
	x.dropUpstream()
	x.settleBackend(health.Unjudged)
	if x.stage == stageQueued {
		x.core.dequeue(x)
	}
	if x.failed == nil || x.failed.status != failures[clientGone].status {
		x.failed, x.detail = &failures[clientGone], ""
	}
	if x.status == 0 {
		x.status = x.failed.status
	}
	x.end()
}

// clientExpired handles a deadline on the client's side.
func (x *Exchange) clientExpired() {
	switch {
	case x.question != nil:
		x.question.answered(nil, false)
	case x.held:
		x.core.resume(x)
	case x.stage == stageQueued && x.giveUp > 0 && x.core.loop.Now() >= x.giveUp:
		x.core.dequeue(x)
		x.fail(&failures[totalTimeout], "")
	case x.stage == stageQueued:
		x.core.dequeue(x)
		x.fail(&failures[queueTimeout], "")
	case x.stage == stageTunnel:
		x.tunnelExpired()
	case x.clientBusy() || x.stage == stageFlush:
		x.fail(&failures[clientStalled], "")
	case x.stage == stageSend && x.takesBody():
		x.badRequestBody(&failures[slowBody])
	default:
		x.attemptFailed(health.Slow, &failures[responseTimeout], "")
	}
}
