package proxy

import (
	"net/netip"

	"arzur.net/lb/health"
	"arzur.net/lb/proxy/hello"
	"arzur.net/lb/proxy/loop"
	"arzur.net/lb/proxy/proxyproto"
	"arzur.net/lb/rules"
)

// intro is what a connection says before the first byte that is for a server:
// who the client behind a proxy is, and the name in its ClientHello.
type intro struct {
	state       *portState     // the one at accept
	hello       hello.Reader   // of the ClientHello under way
	began       int64          // when it was asked for
	destination netip.AddrPort // our end, as the proxy in front saw it
	postgres    bool           // the client is one of PostgreSQL, and was promised TLS
	refusedGSS  bool           // or is, and was told that there is no GSS
}

// introTime is how long each part of an introduction may take. No progress
// extends it.
const introTime = int64(5e9)

// welcome has a new connection say what its port wants to hear first.
func (c *client) welcome(state *portState) {
	switch {
	case state.table.ProxyIn() && state.opts.trusts(c.peer.Addr()):
		c.expect(phaseProxy, state)
	default:
		c.enter(state)
	}
}

// expect begins one part of the introduction.
func (c *client) expect(p phase, state *portState) {
	if c.intro == nil {
		c.intro = &intro{state: state}
	}
	c.phase = p
	c.SetDeadline(c.core.loop.Now() + introTime)
}

// enter follows the PROXY protocol header, if there was to be one.
func (c *client) enter(state *portState) {
	switch state.protocol {
	case rules.SNI, rules.TLS:
		c.expect(phaseHello, state)
		if c.intro.began = c.core.loop.Now(); state.protocol == rules.TLS {
			c.SetDeadline(min(c.Deadline(), c.intro.began+int64(state.opts.HandshakeTimeout)))
		}
		if c.in != nil {
			c.readHello(c.in)
		}
	case rules.HTTPS:
		now := c.core.loop.Now()
		c.SetDeadline(now + c.expectHello(state, now))
		c.awaitHello(c.in)
	case rules.TCP:
		c.startStream(state, nil)
	default:
		c.phase = phaseIdle
		if c.in != nil || c.canRead {
			c.core.loop.Again(&c.Conn, loop.Readable)
		}
	}
}

// introduce reads on in an introduction.
func (c *client) introduce() {
	for c.canRead && c.Attached() && (c.phase == phaseProxy || c.phase == phaseHello) {
		buf := c.core.loop.In()
		if c.in != nil {
			buf = c.room(1)
		}
		n, ok := c.receive(buf)
		if !ok {
			return
		}
		data := buf[:n]
		if c.in != nil {
			c.in = c.in[:len(c.in)+n]
			data = c.in
		}
		if c.phase == phaseProxy {
			c.readProxy(data)
		} else {
			c.readHello(data)
		}
	}
	if c.canRead && c.Attached() { // for whoever comes next
		c.readable()
	}
}

// readProxy takes the PROXY protocol header at the start of data.
func (c *client) readProxy(data []byte) {
	state := c.intro.state
	h, ok, err := proxyproto.Parse(data)
	switch {
	case err != nil:
		c.keep(nil)
		c.newStream(state, nil).fail(&failures[badProxyHeader], err.Error())
		return
	case !ok:
		c.keep(data)
		return
	}
	if h.Source.IsValid() {
		c.peer, c.intro.destination = h.Source, h.Destination
	}
	c.keep(data[h.Size:])
	c.SetDeadline(c.core.loop.Now() + int64(state.opts.HeaderTimeout))
	c.enter(state)
}

// readHello takes the ClientHello at the start of data.
func (c *client) readHello(data []byte) {
	k, i := c.core, c.intro
	if i.state.protocol == rules.TLS && data[0] == hello.FirstByte { // the handshake reads it itself
		c.expectHello(i.state, i.began)
		c.awaitHello(data)
		return
	}
	result, rej := i.hello.Parse(data, &k.hello)
	switch {
	case result == hello.More:
		c.keep(data)
	case result == hello.Refused:
		answer := rej.Append(k.loop.Out())
		if isRequest(data) {
			answer, c.linger = []byte(wrongScheme), true
		}
		c.keep(nil)
		c.newStream(i.state, nil).turnAway(&failures[badHello], rej.Reason, answer)
	case result != hello.Whole && i.postgres, result == hello.PostgresGSS && i.refusedGSS:
		c.keep(nil)
		c.newStream(i.state, nil).fail(&failures[badHello], "PostgreSQL's request for TLS or GSS a second time")
	case result == hello.PostgresGSS:
		i.refusedGSS = true
		c.answerPostgres("N")
	case result == hello.Postgres:
		i.postgres = true
		c.answerPostgres("S")
	default:
		c.greeted(data)
	}
}

// answerPostgres answers a request of a client of PostgreSQL, which begins anew then.
func (c *client) answerPostgres(answer string) {
	c.intro.hello = hello.Reader{}
	c.keep(nil)
	if c.put([]byte(answer), nil) {
		c.SetDeadline(min(c.Deadline(), c.core.loop.Now()+introTime))
	}
}

// greeted goes on with a ClientHello that is whole.
func (c *client) greeted(data []byte) {
	var name [256]byte // the keeper of data may move it
	n := copy(name[:], c.core.hello.ServerName)
	c.keep(data)
	c.startStream(c.intro.state, name[:n])
}

// stalled ends a connection that does not introduce itself in time.
func (c *client) stalled() {
	if c.in == nil { // it has not said a word, and leaves no trace
		c.close()
		return
	}
	f := &failures[slowHello]
	if c.phase == phaseProxy {
		f = &failures[slowProxyHeader]
	}
	c.keep(nil)
	c.newStream(c.intro.state, nil).fail(f, "")
}

// announce sends the PROXY protocol header that the Backend is to get before all
// else. False: it has to be waited for, or the Attempt has failed.
func (u *upstream) announce() bool {
	x := u.x
	if x.pool.ProxyProtocol == 0 {
		return true
	}
	var err error
	if u.announced {
		err = u.out.flush(u.core.loop, u.FD())
	} else {
		u.announced = true
		err = u.out.send(u.core.loop, u.FD(), x.appendProxyHeader(u.core.loop.Out()), nil)
	}
	switch err {
	case nil:
		return true
	case loop.ErrAgain:
	default:
		x.attemptFailed(health.Refused, &failures[connectFailed], reason("write", err))
	}
	return false
}

// destination is our end of the connection, as the client knows it.
func (c *client) destination() netip.AddrPort {
	if c.intro != nil && c.intro.destination.IsValid() {
		return c.intro.destination
	}
	return c.core.sys.Local(c.FD())
}

// appendProxyHeader appends the header that speaks for the client.
func (x *Exchange) appendProxyHeader(b []byte) []byte {
	c := x.client
	destination := c.destination()
	if x.pool.ProxyProtocol == rules.ProxyV1 {
		return proxyproto.AppendLine(b, c.peer, destination)
	}
	return proxyproto.AppendBinary(b, c.peer, destination)
}
