package proxy

import (
	"strconv"
	"strings"

	"arzur.net/lb/proxy/loop"
)

// simUpstream is one connection as a simulated backend sees it.
type simUpstream struct {
	*simPeer
	w       *simWorld
	r       simReader
	msg     *simMessage // whose body is being read
	plan    *simPlan    // being served
	hit     int
	replied bool
	quiet   bool // says nothing any more
	tunnel  *simTunnel
}

// serve opens backend n.
func (w *simWorld) serve(n int) {
	w.Sim.Serve(simBack(n), func(p *loop.SimPeer) {
		u := &simUpstream{w: w}
		u.simPeer = w.accept(p, func(*simPeer) { u.handle() })
	})
}

func (u *simUpstream) handle() {
	in := u.Read()
	switch {
	case u.tunnel != nil:
		u.tunnel.take(in)
		return
	case u.Broken() != nil:
		u.quiet = true
		return
	}
	u.r.in = append(u.r.in, in...)
	u.advance()
	if u.Ended() && u.tunnel == nil {
		u.quiet = true
		u.Close()
	}
}

// advance reads requests.
func (u *simUpstream) advance() {
	for !u.quiet {
		if u.plan == nil && !u.begin() {
			break
		}
		if u.msg == nil || !u.r.body(false) {
			break
		}
		p, m := u.plan, u.msg
		u.msg = nil
		p.whole++
		if got := string(m.body); got != p.up {
			u.w.complain("request %d reached a backend with a body of %d bytes, want %d", p.id, len(got), len(p.up))
		}
		if p.early {
			u.finish()
		} else {
			u.w.After(p.pause, u.answer)
		}
	}
	if u.r.err != nil {
		u.w.complain("a backend cannot read what it is sent: %v", u.r.err)
		u.quiet = true
	}
}

// begin reads a request head.
func (u *simUpstream) begin() bool {
	if u.msg = u.r.head(false); u.msg == nil {
		return false
	}
	method, rest, _ := strings.Cut(u.msg.line, " ")
	path, _, _ := strings.Cut(rest, " ")
	id, err := strconv.Atoi(path[1:])
	if err != nil || id >= len(u.w.plans) || u.w.plans[id].method != method {
		u.w.complain("a backend got %q", u.msg.line)
		u.quiet = true
		return false
	}
	p := u.w.plans[id]
	p.hits++
	p.said = append(p.said, false)
	u.plan, u.hit = p, p.hits
	if u.hit <= p.fateful && !u.survives(p.fate) {
		return false
	}
	if p.tunnel {
		u.open()
		return false
	}
	if p.expect && !p.early {
		u.Write("HTTP/1.1 100 Continue\r\n\r\n")
	}
	if p.early {
		u.w.After(p.pause, u.answer)
	}
	return true
}

// survives meets the fates that come before the answer.
func (u *simUpstream) survives(f simFate) bool {
	switch f {
	case fateReset:
		u.Reset()
	case fateClose:
		u.Close()
	case fateSilence:
	case fateNonsense:
		u.Write("SSH-2.0-OpenSSH_9.2p1\r\n\r\n")
	case fateInterims:
		u.Write(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 40))
	case fateBigHead:
		u.Write("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 70<<10) + "\r\n\r\n")
	default:
		return true
	}
	u.quiet = true
	return false
}

// answer says what the plan wants, in pieces.
func (u *simUpstream) answer() {
	p := u.plan
	if u.quiet || p == nil || u.Broken() != nil {
		return
	}
	text, spoiled := u.w.composeAnswer(p, u.hit)
	doomed := u.hit <= p.fateful
	if doomed && p.fate == fateTruncate {
		text, spoiled = text[:u.w.rng.IntN(len(text))], true
	}
	u.w.say(u.simPeer, text, func() {
		p.said[u.hit-1] = !spoiled
		switch {
		case doomed && p.fate == fateTruncate && (p.ends() || u.w.rng.IntN(2) == 0):
			u.Reset()
		case spoiled:
			u.Close()
		case p.ends() || p.closes:
			u.CloseWrite()
		default:
			if doomed && p.fate == fateGarbage {
				u.Write("and another thing")
				u.quiet = true
			}
			u.answered()
			return
		}
		u.quiet = true
	})
}

// answered notes that the whole answer has been said.
func (u *simUpstream) answered() {
	u.replied = true
	u.finish()
}

// finish makes the connection ready for the next request, when the present one
// has been read to its end and answered.
func (u *simUpstream) finish() {
	if u.msg != nil || !u.replied {
		return
	}
	u.plan, u.replied = nil, false
	if u.w.level > faultsNone && u.w.rng.IntN(3) == 0 {
		u.w.After(u.w.rng.Int64N(3e9), func() {
			if u.plan == nil {
				u.quiet = true
				u.Close()
			}
		})
	}
	u.advance()
}

// open answers a handshake.
func (u *simUpstream) open() {
	p := u.plan
	p.said[u.hit-1] = true
	u.Write(accepted)
	u.tunnel = &simTunnel{w: u.w, p: u.simPeer, name: "up", id: p.id, want: p.up}
	u.tunnel.take(string(u.r.in))
	u.tunnel.begin(p.down)
}

// say writes text in pieces, with pauses, and then calls done.
func (w *simWorld) say(p *simPeer, text string, done func()) {
	n := len(text)
	if n > 1 && w.rng.IntN(2) == 0 {
		n = 1 + w.rng.IntN(n)
	}
	p.Write(text[:n])
	if n == len(text) {
		done()
		return
	}
	w.After(w.rng.Int64N(20e6), func() { w.say(p, text[n:], done) })
}

// simTunnel is one end of a tunnel.
type simTunnel struct {
	w    *simWorld
	p    *simPeer
	name string
	id   int
	got  strings.Builder
	want string
	said bool // all that this end has to say
	over bool
}

func (e *simTunnel) begin(say string) {
	e.w.say(e.p, say, func() {
		e.said = true
		e.p.CloseWrite()
		e.take("")
	})
}

// take notes what has come out of the tunnel, and closes when both ends are done.
func (e *simTunnel) take(in string) {
	e.got.WriteString(in)
	switch {
	case e.over:
	case !strings.HasPrefix(e.want, e.got.String()):
		e.w.complain("tunnel %d %s: bytes were lost or changed", e.id, e.name)
		e.over = true
	case e.p.Broken() != nil:
		e.over = true
		e.w.unless(faultsAll, "tunnel %d %s broke: %v", e.id, e.name, e.p.Broken())
	case e.p.Ended() && (e.said || e.got.Len() < len(e.want)):
		e.over = true
		if e.got.Len() < len(e.want) {
			e.w.unless(faultsAll, "tunnel %d %s ended after %d of %d bytes", e.id, e.name, e.got.Len(), len(e.want))
		}
		e.p.Close()
	}
}
