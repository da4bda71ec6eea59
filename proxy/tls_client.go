package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"slices"

	"go.uber.org/zap"

	"arzur.net/lb/proxy/loop"
	"arzur.net/lb/rules"
)

// helloAhead is up to how much of a ClientHello is waited for before a handshake
// begins. Those of today have two kilobytes.
const helloAhead = 16 << 10

// secure says whether connections begin with a TLS handshake.
func (s *portState) secure() bool { return s.protocol == rules.HTTPS || s.protocol == rules.TLS }

// expectHello makes c one that begins with a handshake, and returns how long it
// has for its ClientHello. The time for all of it counts from began.
func (c *client) expectHello(state *portState, began int64) (wait int64) {
	limit := int64(state.opts.HandshakeTimeout)
	c.phase = phaseHandshake
	c.tls = &secure{owner: c, side: sideClient, who: holder(c.peer.Addr()), by: began + limit}
	return min(limit, helloTimeout)
}

// quiet says whether nothing of a request, or of a handshake, has arrived.
func (c *client) quiet() bool {
	return c.phase == phaseIdle || c.phase == phaseHandshake && c.tls.TLS == nil && c.in == nil
}

// shakeHands goes on with the handshake. Until its ClientHello is there, a client
// costs nothing but these bytes.
func (c *client) shakeHands() {
	switch {
	case c.tls.TLS != nil:
		c.shake()
		return
	case c.tls.place != nil:
		if c.peerClosed {
			c.endShake(shakeClosed, nil)
		}
		return
	}
	for c.canRead {
		buf := c.core.loop.In()
		if c.in != nil {
			buf = c.room(1)
		}
		n, err := c.readSocket(buf)
		switch {
		case err == loop.ErrAgain:
			return
		case err != nil || n == 0:
			c.endShake(shakeClosed, err)
			return
		}
		data := buf[:n]
		if c.in != nil {
			c.in = c.in[:len(c.in)+n]
			data = c.in
		}
		if c.takeHello(data) {
			return
		}
	}
}

// awaitHello begins with what of a ClientHello was read already. A read that was
// filled has left the rest in the socket, which will not be announced again.
func (c *client) awaitHello(data []byte) {
	if (len(data) == 0 || !c.takeHello(data)) && c.canRead {
		c.shakeHands()
	}
}

// takeHello begins the handshake once the ClientHello in data is whole.
func (c *client) takeHello(data []byte) (begun bool) {
	switch {
	case loop.HelloEnd(data):
		c.SetDeadline(c.tls.by) // it was in time, and what follows may have to wait for a worker
	case len(data) <= helloAhead:
		c.keep(data)
		return false
	}
	c.greet(data)
	return true
}

// greet begins the handshake with a ClientHello, or has it wait for its turn.
func (c *client) greet(hello []byte) {
	config := c.lst.state.Load().tls
	if config == nil {
		c.endShake(shakeRefused, errNoConfig)
		return
	}
	k, s := c.core, c.tls
	a, place := k.proxy.greeting.enter(s.who, func() { k.loop.Post(func() { k.turn(c, s) }) })
	switch a {
	case overload:
		c.endShake(shakeOverload, nil)
		return
	case waits:
		c.keep(hello)
		s.place = place
		return
	}
	s.config, s.checked = config, k.loop.Now()
	c.begin(func(conn net.Conn) (*tls.Conn, error) { return tls.Server(conn, config), nil })
	s.Shake().Local = c.destination()
	s.Shake().Step(hello)
	c.keep(nil)
}

// turn has the handshake s of c begin, which has waited, unless the connection has
// gone: the record c may be that of another by then.
func (k *core) turn(c *client, s *secure) {
	if c.tls == s && s.place != nil && c.shaking() {
		s.place = nil
		if c.greet(c.in); s.place != nil || c.shaking() {
			return
		}
	}
	k.proxy.greeting.pass(s.who)
}

// secured implements shaker.
func (c *client) secured() {
	k, state := c.core, c.lst.state.Load()
	if state.protocol == rules.TLS {
		c.startStream(state, []byte(c.tls.serverName))
		return
	}
	c.phase = phaseIdle
	wait := int64(state.opts.HeaderTimeout)
	if k.draining || c.lst.closed.Load() {
		wait = min(wait, lastMoment)
	}
	c.SetDeadline(k.loop.Now() + wait)
	c.readable()
}

// unsecured implements shaker.
func (c *client) unsecured(r handshakeResult, err error) {
	c.core.proxy.log.Debug("tls handshake", zap.Stringer("client", c.peer), zap.Stringer("listener", c.lst),
		zap.Stringer("result", r), zap.Error(err))
	switch r {
	case shakeTimeout, shakeClosed, shakeOverload:
		c.close()
	default:
		var head tls.RecordHeaderError
		if c.lst.state.Load().protocol == rules.HTTPS && errors.As(err, &head) && isRequest(head.RecordHeader[:]) {
			c.linger = true
			_ = c.out.send(c.core.loop, c.FD(), []byte(wrongScheme), nil) // an error will show again
		}
		c.finish() // the alert may be on its way
	}
}

// isRequest says whether what came in place of a ClientHello is a request in the clear.
func isRequest(data []byte) bool {
	return slices.ContainsFunc([]string{"GET /", "HEAD ", "POST ", "PUT /", "PATCH", "DELET", "OPTIO"},
		func(method string) bool { return bytes.HasPrefix(data, []byte(method)) })
}

// wrongScheme tells whoever has typed http:// what to do.
const wrongScheme = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 63\r\nConnection: close\r\n\r\n" +
	"400 Bad Request: this port speaks TLS; ask it with https://...\n"

// scheme is the one that the client uses with us.
func (c *client) scheme() string {
	if c.tls != nil {
		return "https"
	}
	return "http"
}
