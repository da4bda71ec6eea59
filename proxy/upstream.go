package proxy

import (
	"errors"
	"strings"
	"syscall"

	"arzur.net/lb/health"
	"arzur.net/lb/proxy/loop"
)

// upstream is one HTTP/1.1 connection to a Backend. Idle, it holds no buffer and
// stands in its Backend's idleList; busy, it belongs to one Exchange.
type upstream struct {
	wire
	backend *health.Backend
	x       *Exchange // nil while idle
	unsent  string    // why it takes no more of the request, "" while it does

	connecting bool
	announced  bool // the PROXY protocol header is on its way
}

// Ready implements loop.Handler.
func (u *upstream) Ready(r loop.Ready) {
	if u.connecting {
		u.connectReady(r)
		return
	}
	if r&(loop.Readable|loop.PeerClosed|loop.Failed) != 0 {
		u.canRead = true
	}
	if r&loop.PeerClosed != 0 {
		u.peerClosed = true
	}
	if u.shaking() {
		u.shakeHands(r)
		return
	}
	if u.x == nil {
		if u.canRead && !u.alive() { // closed by the Backend, or talking out of turn
			u.core.dropIdle(u)
		}
		return
	}
	// What the Backend managed to say before it died is read first.
	x := u.x
	if u.canRead {
		x.upstreamReadable()
	}
	if u.x == x && x.up == u && r&loop.Writable != 0 {
		x.upstreamWritable()
	}
}

// Sent implements loop.Sender.
func (u *upstream) Sent(n int, err error) {
	if u.x == nil {
		return // the Exchange has ended
	}
	u.x.requestFlushed(u.sent(n, err))
}

func (u *upstream) connectReady(r loop.Ready) {
	x := u.x
	if err := u.core.sys.ConnectResult(u.FD()); err != nil || r&loop.Failed != 0 {
		x.attemptFailed(health.Refused, &failures[connectFailed], reason("connect", err))
		return
	}
	// Some servers speak first, and some have ended already.
	u.canRead = u.canRead || r&(loop.Readable|loop.PeerClosed) != 0
	u.peerClosed = u.peerClosed || r&loop.PeerClosed != 0
	if r&loop.Writable == 0 || !u.announce() {
		return
	}
	u.connecting = false
	if !x.stream {
		u.core.sys.Unheard(u.FD(), int64(x.state.opts.WriteTimeout))
	}
	x.connectDone()
	if u.canRead && !u.shaking() && u.x == x && x.up == u {
		x.upstreamReadable()
	}
}

// Expired implements loop.Handler.
func (u *upstream) Expired() {
	switch x := u.x; {
	case x == nil:
		u.core.dropIdle(u)
	case x.giveUp > 0 && u.core.loop.Now() >= x.giveUp:
		x.attemptFailed(health.Slow, &failures[totalTimeout], "")
	case u.shaking():
		u.endShake(shakeTimeout, nil)
	case u.connecting:
		u.core.dropIdleOf(u.backend) // which would keep others waiting as well
		x.attemptFailed(health.Refused, &failures[connectTimeout], "")
	default:
		x.upstreamExpired()
	}
}

// Panicked is called by the Loop after a panic inside one of our handlers.
func (u *upstream) Panicked() {
	u.core.proxy.panics.add()
	if x := u.x; x != nil {
		x.attemptFailed(health.Unjudged, &failures[internalError], "panic")
		return
	}
	u.close()
}

// close ends the connection. The caller has taken it from its list or Exchange.
func (u *upstream) close() {
	if !u.closed && u.x == nil {
		u.sayEnd()
	}
	if u.release() {
		u.core.loop.Close(&u.Conn)
		u.core.loop.Defer(u)
	}
}

// reset ends the connection with a RST.
func (u *upstream) reset() {
	if u.release() {
		u.core.loop.Reset(&u.Conn)
		u.core.loop.Defer(u)
	}
}

// reason words a system error for people: "connect: connection refused".
func reason(op string, err error) string {
	var no syscall.Errno
	if errors.As(err, &no) {
		return op + ": " + no.Error()
	}
	if err == nil {
		return op + ": connection refused"
	}
	return op + ": " + strings.TrimPrefix(err.Error(), op+": ") // crypto/tls says so itself
}
