package proxy

import (
	"net"
	"slices"
	"strconv"
	"syscall"

	"arzur.net/lb/health"
	"arzur.net/lb/proxy/loop"
	"arzur.net/lb/rules"
)

// attempt picks a Target and starts on it. It ends in an answer when there is none.
func (x *Exchange) attempt() {
	k := x.core
	x.sent = 0
	if k.queues[x.pool] != nil { // others came first
		k.enqueue(x)
		return
	}
	t, res := x.pool.Pick(k.loop.Now(), x.tried[:x.ntried])
	switch res {
	case rules.Picked:
		x.fresh = false
		x.take(t)
	case rules.AllFull:
		k.enqueue(x)
	default:
		x.nobody()
	}
}

// take starts an Attempt on a Target whose place is claimed.
func (x *Exchange) take(t *rules.Target) {
	x.target, x.claimed = t, true
	if x.attempts++; x.attempts > 1 {
		x.core.stats.retries.inc()
	}
	if x.hostAt > 0 {
		x.nameServer()
	}
	x.connect()
}

// nameServer writes the Target's own address into the request as its Host.
func (x *Exchange) nameServer() {
	host := net.JoinHostPort(x.target.Host, strconv.Itoa(int(x.target.Backend.Addr.Port())))
	x.buf = grow(x.core.loop, x.buf, len(host))
	x.buf = slices.Replace(x.buf, x.hostAt, x.hostAt+x.hostLen, []byte(host)...)
	x.hostLen = len(host)
}

// connect finds a connection to the Target: an idle one, or a new one.
func (x *Exchange) connect() {
	k := x.core
	b := x.target.Backend
	x.sent = 0
	x.stage = stageConnect
	x.taken, x.connected, x.sentAt, x.reused = k.loop.Now(), 0, 0, false
	if !x.fresh && !x.stream && x.pool.ProxyProtocol == 0 { // a header speaks for one client
		if u := k.takeIdle(b, x.method.idempotent()); u != nil {
			k.stats.reused.inc()
			x.up, u.x, x.reused = u, x, true
			x.connected = k.loop.Now()
			x.send()
			return
		}
	}
	fd, err := k.sys.Connect(b.Addr)
	if scarce(err) && k.shedIdle() {
		fd, err = k.sys.Connect(b.Addr)
	}
	if err != nil {
		x.unconnected(err)
		return
	}
	u := k.newUpstream()
	u.core, u.backend, u.x, u.connecting = k, b, x, true
	if err := k.loop.Attach(&u.Conn, fd, u); err != nil {
		k.sys.Close(fd)
		k.loop.Defer(u)
		x.attemptFailed(health.Unjudged, &failures[internalError], reason("watch", err))
		return
	}
	x.up = u
	k.stats.connects.inc()
	d := x.pool.ConnectTimeout
	if d == 0 {
		d = x.state.opts.ConnectTimeout
	}
	x.deadline(int64(d))
}

// unconnected handles a connection that could not even be tried. What this machine
// lacks is not held against the Backend.
func (x *Exchange) unconnected(err error) {
	detail := reason("connect", err)
	switch {
	case scarce(err):
		x.core.stats.acceptErrors.inc()
		x.core.proxy.logScarce("connect", x.client.lst, err)
		x.failed, x.detail = &failures[exhausted], detail
		x.settleBackend(health.Unjudged)
		x.attempts-- // it was none
		x.nobody()
	case err == syscall.EADDRNOTAVAIL: // every local port has a connection to it; another address has its own
		x.failed, x.detail = &failures[connectFailed], detail
		x.settleBackend(health.Unjudged)
		x.next()
	default:
		x.attemptFailed(health.Refused, &failures[connectFailed], detail)
	}
}

// deadline gives the phase that begins now d nanoseconds, on the upstream
// connection, and a little more on the client's, which is never without one.
func (x *Exchange) deadline(d int64) {
	at := x.core.loop.Now() + d
	if x.giveUp > 0 && at > x.giveUp {
		at = x.giveUp
	}
	if x.up != nil {
		x.up.SetDeadline(at)
		at += int64(1e9)
	}
	x.client.SetDeadline(at)
}

// connectDone is called when a new connection stands.
func (x *Exchange) connectDone() {
	if x.pool.TLS != nil && x.up.tls == nil {
		x.up.greet()
		return
	}
	x.connected = x.core.loop.Now()
	switch {
	case !x.stream:
		x.send()
	case x.state.protocol == rules.SNI && x.client.intro.postgres:
		x.askForTLS()
	default:
		x.startTunnel()
	}
}

// send writes what there is of the request.
func (x *Exchange) send() {
	x.stage = stageSend
	if x.sendBuffered() {
		x.requestMoved()
	}
}

// sendBuffered writes buf as far as the connection takes it. False: it is full
// or does not stand yet, or the Attempt has failed.
func (x *Exchange) sendBuffered() bool {
	u := x.up
	if x.stage < stageSend || u.unsent != "" {
		return false
	}
	if x.reqDone && x.sent == 0 && u.collects(len(x.buf)) {
		x.sent = len(x.buf)
		if err := u.sendSoon(x.buf, u); err != nil {
			x.upstreamDeaf(reason("write", err))
			return false
		}
		return true
	}
	for x.sent < len(x.buf) {
		n, err := u.write(x.buf[x.sent:])
		if err == loop.ErrAgain {
			x.deadline(int64(x.state.opts.WriteTimeout))
			return false
		}
		if err != nil {
			x.upstreamDeaf(reason("write", err))
			return false
		}
		x.sent += n
	}
	if !u.out.empty() {
		x.deadline(int64(x.state.opts.WriteTimeout))
	}
	return u.out.empty()
}

// requestMoved is called whenever the upstream connection has taken all that
// there was: wait for the answer, and go on with the body if there is more.
func (x *Exchange) requestMoved() {
	x.progress()
	if !x.reqDone && x.client.canRead && x.up != nil {
		x.readBody()
	}
}

// progress renews the deadlines after bytes have moved.
func (x *Exchange) progress() {
	switch x.stage {
	case stageTunnel:
		x.tunnelMoved()
	case stageSend:
		x.awaitResponse()
	case stageRespond:
		x.refreshBody()
	}
}

func (x *Exchange) awaitResponse() {
	if x.reqDone && x.sentAt == 0 {
		x.sentAt = x.core.loop.Now()
	}
	d := x.pool.ResponseTimeout
	if d == 0 {
		d = x.state.opts.ResponseTimeout
	}
	if x.reqDone {
		x.deadline(int64(d))
		return
	}
	// The client owes us a body. Its silence ends first; the Backend's turn to
	// answer comes after that.
	body := int64(x.state.opts.BodyTimeout)
	x.deadline(body + int64(d))
	x.client.SetDeadline(x.core.loop.Now() + body)
}

// settleBackend gives the place on the Backend back.
func (x *Exchange) settleBackend(o health.Outcome) {
	if !x.claimed {
		return
	}
	x.claimed = false
	if x.target.Backend.Done(o, x.core.loop.Now()) {
		x.core.proxy.wakeQueues()
	}
}

// backendAnswers ends a trial of the Backend: others may have a place there again.
func (x *Exchange) backendAnswers() {
	if x.target.Backend.Answered() {
		x.core.proxy.wakeQueues()
	}
}

// dropUpstream closes the present upstream connection.
func (x *Exchange) dropUpstream() {
	if u := x.up; u != nil {
		x.up = nil
		u.x = nil
		u.close()
	}
}
