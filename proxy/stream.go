package proxy

import (
	"net/netip"

	"arzur.net/lb/health"
	"arzur.net/lb/proxy/hello"
	"arzur.net/lb/rules"
)

// Protocols tcp, sni and tls carry what is not ours to read. Such a connection is
// one Exchange without HTTP: picking, retries, queues, limits and accounts are
// those of requests, and once the server's connection stands it is a tunnel. A
// failure resets the client.

// newStream makes the Exchange of c, which has a line of its own in the access
// log. name is the server name that the client asked for.
func (c *client) newStream(state *portState, name []byte) *Exchange {
	k := c.core
	x := k.newExchange()
	x.core, x.client, x.state = k, c, state
	x.stream = true
	x.began = k.loop.Now()
	x.reqDone, x.replay = true, true // nothing is sent before a server takes the connection
	x.respMode = bodyClose           // where only the close marks the end, a cut is a reset
	c.x, c.phase = x, phaseExchange
	c.last = true
	k.noteStream(x, name)
	return x
}

// startStream begins the Exchange of c. What c.in holds is sent first.
func (c *client) startStream(state *portState, name []byte) {
	x := c.newStream(state, name)
	if fail := x.routeStream(name); fail != nil {
		x.turnAway(fail, "", x.unknownName())
		return
	}
	x.attempt()
}

// unknownName is how a TLS client is told that nobody has the name it asked for.
func (x *Exchange) unknownName() (answer []byte) {
	if x.state.protocol == rules.SNI {
		return hello.AppendAlert(x.core.loop.Out(), hello.UnrecognizedName)
	}
	return nil
}

var anyPath = []byte("/")

// routeStream finds the Entry.
func (x *Exchange) routeStream(name []byte) *failure {
	if x.entry = x.core.lookupStream(x.state, name, x.client.peer.Addr()); x.entry == nil {
		return &failures[noRule]
	}
	if x.pool = x.entry.Pool; x.pool == nil {
		return &failures[refused]
	}
	return nil
}

// lookupStream finds the Entry for a client that asked for a server name, or for
// none. A Host may have a port or brackets. A server name that has them is another
// name, for which a client certificate was not asked.
func (k *core) lookupStream(state *portState, name []byte, client netip.Addr) *rules.Entry {
	m := &k.match
	m.Method, m.Query, m.Path, m.Client = nil, nil, anyPath, client
	m.Host = appendLower(k.host[:0], name)
	return state.table.Lookup(m)
}

// turnAway ends a stream that no server gets. answer says so in the client's
// protocol; without one the connection is reset.
func (x *Exchange) turnAway(f *failure, detail string, answer []byte) {
	c := x.client
	if len(answer) == 0 {
		x.fail(f, detail)
		return
	}
	x.failed, x.detail, x.status = f, detail, f.status
	if !c.put(answer, nil) {
		return
	}
	x.end()
	c.finish()
}

// startTunnel begins to move bytes: the server has taken the connection.
func (x *Exchange) startTunnel() {
	x.beginTunnel(200)
	x.replay = false
	x.tunnelMoved()
	x.sendEarly()
	switch {
	case x.stage != stageTunnel:
	case x.upEnded:
		x.tunnelClientEnded()
	case x.client.canRead:
		x.tunnelUp()
	}
}

// sendEarly sends what the client has said before the tunnel stood.
func (x *Exchange) sendEarly() {
	c := x.client
	if early := c.in; early != nil && x.tunnelSend(early) {
		c.keep(nil)
	}
}

// breakTunnel ends a tunnel one side of which has failed: the other must not take
// it for a regular end.
func (x *Exchange) breakTunnel(detail string) {
	if !x.stream {
		x.endTunnel(detail)
		return
	}
	x.dropUpstream()
	x.settleBackend(health.Served)
	x.cut(&failures[responseCut], detail)
}

// askForTLS has a PostgreSQL server agree to TLS, as its client did with us.
func (x *Exchange) askForTLS() {
	x.stage, x.sentAt = stageSend, x.core.loop.Now()
	if err := x.up.send(hello.AppendSSLRequest(x.core.loop.Out()), nil); err != nil {
		x.attemptFailed(health.Refused, &failures[connectFailed], reason("write", err))
		return
	}
	x.awaitResponse()
}

// tlsAnswered takes the server's answer to askForTLS.
func (x *Exchange) tlsAnswered(answer []byte) {
	if string(answer) != "S" {
		x.attemptFailed(health.Unjudged, &failures[badResponse], "the PostgreSQL server has no TLS")
		return
	}
	x.startTunnel()
}
