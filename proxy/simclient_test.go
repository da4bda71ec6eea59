package proxy

import (
	"fmt"
	"slices"
	"strings"
)

// simClient is one connection of a client and the requests it sends there.
type simClient struct {
	*simPeer
	w         *simWorld
	r         simReader
	msg       *simMessage // whose body is being read
	plans     []*simPlan
	next      int // the plan whose answer comes next
	sent      int // plans sent
	pipelined bool
	slow      bool
	halfClose bool // ends its side once all is sent
	reading   bool // has a read planned
	over      bool
	closing   bool // was told that the connection will close
	deaf      bool // to what follows an error: it may be the body of a 408 to half a HEAD
	waiting   func()
	tunnel    *simTunnel
}

func (c *simClient) begin() {
	c.simPeer = c.w.dial(func(*simPeer) { c.handle() })
	if !c.pipelined {
		c.send()
		return
	}
	var all strings.Builder
	for _, p := range c.plans {
		p.sentAt = c.w.Now()
		all.WriteString(p.head + p.raw)
	}
	c.sent = len(c.plans)
	c.w.say(c.simPeer, all.String(), c.allSent)
}

func (c *simClient) allSent() {
	if c.halfClose {
		c.CloseWrite()
	}
}

// send sends the next request.
func (c *simClient) send() {
	if c.over || c.closing {
		return
	}
	p := c.plans[c.sent]
	c.sent++
	p.sentAt = c.w.Now()
	sent := func() {
		if c.sent == len(c.plans) && !p.tunnel {
			c.allSent()
		}
	}
	if !p.expect {
		c.w.say(c.simPeer, p.head+p.raw, sent)
		return
	}
	body := func() {
		if c.waiting != nil && !c.over && c.next < c.sent {
			c.waiting = nil
			c.w.say(c.simPeer, p.raw, sent)
		}
	}
	c.waiting = body
	c.w.say(c.simPeer, p.head, func() { c.w.After(1e9, body) })
}

func (c *simClient) handle() {
	if !c.slow {
		c.read()
		return
	}
	if !c.reading {
		c.reading = true
		c.w.After(c.w.rng.Int64N(200e6), func() {
			c.reading = false
			c.read()
		})
	}
}

func (c *simClient) read() {
	if c.over {
		return
	}
	in := c.Read()
	if c.tunnel == nil {
		c.r.in = append(c.r.in, in...)
		c.advance()
	} else {
		c.tunnel.take(in)
	}
	switch {
	case c.r.err != nil:
		c.w.complain("a client cannot read what it is sent: %v", c.r.err)
		c.leave()
	case c.tunnel != nil:
	case c.Broken() != nil:
		c.over = true
	case c.Ended():
		if c.msg != nil && c.r.body(true) {
			c.check(c.msg)
			c.next++
		}
		c.leave()
	}
}

// leave closes the connection.
func (c *simClient) leave() {
	c.over = true
	c.Close()
}

// advance reads responses.
func (c *simClient) advance() {
	for !c.over && c.tunnel == nil {
		if c.msg == nil {
			if c.deaf {
				c.r.in = nil
			}
			if len(c.r.in) == 0 {
				return
			}
			if c.next == c.sent {
				c.w.complain("a client is told %q out of turn", c.r.in)
				c.leave()
				return
			}
			if c.msg = c.r.head(c.plans[c.next].bodiless()); c.msg == nil {
				return
			}
			c.closing = c.closing || c.msg.closes()
		}
		if !c.r.body(false) {
			return
		}
		m := c.msg
		c.msg = nil
		switch status := m.status(); {
		case status == 101:
			c.open(m)
		case status < 200:
			if status == 100 && c.waiting != nil {
				c.waiting()
			}
		default:
			c.check(m)
			c.answered()
			c.deaf = c.closing && m.fields["X-Request-Id"] != ""
		}
	}
}

// answered goes on after a complete response.
func (c *simClient) answered() {
	c.next++
	switch {
	case c.next == len(c.plans):
		if n := c.w.rng.IntN(3); n == 0 && !c.halfClose && len(c.r.in) == 0 {
			c.leave()
		} else if n == 1 {
			c.CloseWrite()
		}
	case !c.pipelined:
		c.w.After(c.w.rng.Int64N(500e6), c.send)
	}
}

// open begins a tunnel.
func (c *simClient) open(m *simMessage) {
	p := c.plans[c.next]
	if !p.tunnel {
		c.w.complain("request %d: %s", p.id, m.line)
		return
	}
	p.answered = true
	c.next++
	c.tunnel = &simTunnel{w: c.w, p: c.simPeer, name: "down", id: p.id, want: p.down}
	c.tunnel.take(string(c.r.in))
	c.tunnel.begin(p.up)
}

// check holds a complete response against what was asked and what was said.
func (c *simClient) check(m *simMessage) {
	p := c.plans[c.next]
	p.answered = true
	if m.fields["X-Request-Id"] != "" {
		c.checkError(p, m)
		return
	}
	hit := 0
	_, _ = fmt.Sscan(m.fields["X-Hit"], &hit)
	switch body := string(m.body); {
	case m.fields["X-Id"] != fmt.Sprint(p.id):
		c.w.complain("request %d is answered with %q %v", p.id, m.line, m.fields)
	case hit < 1 || hit > len(p.said) || !p.said[hit-1]:
		c.w.complain("request %d is answered with what no backend has said to its end: hit %d", p.id, hit)
	case m.status() != p.status:
		c.w.complain("request %d: status %d, want %d", p.id, m.status(), p.status)
	case p.bodiless() || p.status == 204 || p.status == 304:
		if body != "" {
			c.w.complain("request %d: a body of %d bytes, want none", p.id, len(body))
		}
	case body != p.answer(hit):
		c.w.complain("request %d: a body of %d bytes, want %d", p.id, len(body), len(p.answer(hit)))
	}
}

// ourErrors are the statuses that the engine may answer with by itself.
var ourErrors = []int{400, 408, 413, 414, 421, 431, 501, 502, 503, 504, 505}

func (c *simClient) checkError(p *simPlan, m *simMessage) {
	switch {
	case !slices.Contains(ourErrors, m.status()):
		c.w.complain("request %d: error %q", p.id, m.line)
	case !p.bodiless() && !strings.HasPrefix(string(m.body), m.line[len("HTTP/1.1 "):]+": "):
		c.w.complain("request %d: %q with the body %q", p.id, m.line, m.body)
	case p.bad:
	case c.w.level == faultsIdle && !p.idempotent() && m.status() == 502: // met a connection that was being closed
	default:
		c.w.unless(faultsAll, "request %d: %s %q", p.id, m.line, m.body)
	}
}
