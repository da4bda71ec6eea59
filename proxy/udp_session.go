package proxy

import (
	"net/netip"
	"slices"
	"syscall"

	"arzur.net/lb/health"
	"arzur.net/lb/proxy/loop"
	"arzur.net/lb/rules"
)

// session is one client's datagrams to one server and the answers: an Exchange
// without a connection on the client's side. It ends after a silence.
type session struct {
	loop.Conn // to the Backend
	port      *udpPort
	key       udpKey
	client    client // stands for the client in the Exchange; has no connection
	x         *Exchange

	older, newer *session
	known        bool   // stands in the port's list
	used         int64  // Loop.Now of the last datagram
	asked        int    // datagrams sent to the Backend
	answers      int    // datagrams that came back
	first        []byte // the only datagram so far, if it is short, pooled: another server may get it
}

// connect picks a server and opens a socket to it. False: there is none, and the
// session is over.
func (s *session) connect() bool {
	k, x := s.port.core, s.x
	for {
		t, res := x.pool.Pick(k.loop.Now(), x.tried[:x.ntried])
		switch {
		case res == rules.Picked:
		case x.failed != nil: // another server's refusal says more
			s.end(x.failed, x.detail)
			return false
		case res == rules.AllFull:
			s.end(&failures[queueFull], "")
			return false
		default:
			s.end(&failures[noBackend], "")
			return false
		}
		x.target, x.claimed = t, true
		x.attempts++
		x.taken = k.loop.Now()
		err := s.open(t.Backend.Addr)
		switch {
		case err == nil:
			return true
		case scarce(err):
			k.stats.acceptErrors.inc()
			k.proxy.logScarce("connect", s.port.lst, err)
			s.end(&failures[exhausted], reason("connect", err))
			return false
		case !s.next(reason("connect", err)):
			return false
		}
	}
}

// open opens the socket to a Backend.
func (s *session) open(to netip.AddrPort) error {
	k := s.port.core
	fd, err := k.sys.ConnectUDP(to)
	if err != nil {
		return err
	}
	if err := k.loop.Attach(&s.Conn, fd, s); err != nil {
		k.sys.Close(fd)
		return err
	}
	k.stats.connects.inc()
	s.x.connected = k.loop.Now()
	s.moved()
	return nil
}

// next notes that a server refused. False: there is no other to try, and the
// session is over.
func (s *session) next(detail string) bool {
	x := s.x
	x.settleBackend(health.Refused)
	x.failed, x.detail = &failures[connectFailed], detail
	if x.ntried == maxTries {
		s.end(x.failed, detail)
		return false
	}
	s.port.core.stats.retries.inc()
	x.tried[x.ntried] = x.target.Backend
	x.ntried++
	return true
}

// moved renews the deadline.
func (s *session) moved() {
	s.SetDeadline(s.port.core.loop.Now() + s.patience())
}

// owedTime is how long a session that has not been answered outlives the end of
// its port: clients that ask for something give up after about as long.
const owedTime = int64(5e9)

// patience is the silence after which s ends. Of a port that ends there is soon
// nothing to come.
func (s *session) patience() int64 {
	d := int64(s.x.state.opts.UDPTimeout)
	switch {
	case !s.port.ending:
		return d
	case s.answers > 0:
		return min(d, lastMoment)
	}
	return min(d, owedTime)
}

// outdated says whether the server of s should not get more: the rules do not
// name it any more, or it is down.
func (s *session) outdated() bool {
	b := s.x.target.Backend
	if b.Down() {
		return true
	}
	state := s.port.lst.state.Load()
	if state == s.x.state {
		return false
	}
	e := s.port.core.lookupStream(state, nil, s.key.client.Addr())
	if e == nil || e.Pool == nil || !slices.ContainsFunc(e.Pool.Targets, func(t *rules.Target) bool { return t.Backend == b }) {
		return true
	}
	s.x.state = state
	return false
}

// maxFirst is how long a datagram may be that is kept in case that its server
// refuses it. Questions are short, and whoever forges addresses can have a port
// keep as many as it has sessions.
const maxFirst = 4 << 10

// forward sends a datagram to the Backend.
func (s *session) forward(data []byte) {
	k := s.port.core
	s.port.touch(s)
	s.x.reqBytes += int64(len(data))
	s.asked++
	if s.asked == 1 && len(data) <= maxFirst {
		s.first = append(k.loop.Get(len(data)), data...)
	} else {
		s.letFirstGo()
	}
	s.write(data)
}

// refusalTime is after how long a machine where nobody receives would have said so.
// Some servers never answer, and not to be refused is all that can be heard of them.
const refusalTime = int64(1e9)

func (s *session) write(data []byte) {
	k := s.port.core
	switch _, err := k.sys.Write(s.FD(), data); {
	case err == nil:
		s.moved()
		if k.loop.Now()-s.x.connected >= refusalTime {
			s.x.backendAnswers()
		}
	case err == loop.ErrAgain, err == syscall.EMSGSIZE, scarce(err): // of which the Backend knows nothing
		k.stats.datagramsLost.inc()
	default:
		s.refused(reason("write", err))
	}
}

// Ready implements loop.Handler.
func (s *session) Ready(r loop.Ready) {
	if r&(loop.Readable|loop.Failed) == 0 {
		return
	}
	k := s.port.core
	for range datagramsPerEvent {
		n, err := k.sys.Read(s.FD(), k.loop.In())
		switch {
		case err == loop.ErrAgain:
			return
		case err != nil:
			s.refused(reason("read", err))
			return
		}
		s.answered(k.loop.In()[:n])
	}
	k.loop.Again(&s.Conn, loop.Readable)
}

// answered passes what the Backend said on to the client.
func (s *session) answered(data []byte) {
	k, x := s.port.core, s.x
	if s.answers == 0 {
		x.answered = k.loop.Now()
		x.failed, x.detail = nil, ""
		x.backendAnswers()
	}
	s.answers++
	s.letFirstGo()
	s.port.touch(s)
	s.moved()
	x.respBytes += int64(len(data))
	k.stats.bytesOut.add(len(data))
	if k.sys.SendTo(s.port.FD(), data, s.key.client, s.key.local) != nil {
		k.stats.datagramsLost.inc()
	}
}

// refused handles the word of the Backend's machine that nobody is there. The
// only datagram so far goes to another server.
func (s *session) refused(detail string) {
	k := s.port.core
	if s.first == nil || s.answers > 0 {
		s.x.settleBackend(health.Refused)
		s.end(&failures[connectFailed], detail)
		return
	}
	k.loop.Close(&s.Conn)
	if s.next(detail) && s.connect() {
		s.write(s.first)
	}
}

// Expired implements loop.Handler: silence is how a session ends.
func (s *session) Expired() { s.end(nil, "") }

// Panicked is called by the Loop after a panic inside one of our handlers.
func (s *session) Panicked() {
	s.port.core.proxy.panics.add()
	s.end(&failures[internalError], "panic")
}

// letFirstGo gives the copy of the first datagram back.
func (s *session) letFirstGo() {
	if s.first != nil {
		s.port.core.loop.Put(s.first)
		s.first = nil
	}
}

// end ends the session: f says why, if not by silence.
func (s *session) end(f *failure, detail string) {
	p, k, x := s.port, s.port.core, s.x
	if x.stage == stageDone {
		return
	}
	x.stage = stageDone
	outcome := health.Unjudged // some servers never answer, which is not for us to judge
	switch {
	case s.answers > 0:
		outcome = health.Served
	case f == nil: // it was not refused
		x.backendAnswers()
	}
	x.settleBackend(outcome)
	x.failed, x.detail, x.status = f, detail, 200
	if f != nil {
		x.status = f.status
	}
	if !s.known { // nobody shall fill the log with datagrams that find no server
		k.stats.datagramsLost.inc()
		x.note = x.note[:0]
	}
	k.observe(x)
	s.letFirstGo()
	k.loop.Close(&s.Conn)
	k.loop.Defer(x)
	if s.known {
		p.forget(s)
	}
}
