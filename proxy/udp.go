package proxy

import (
	"net/netip"
	"syscall"

	"arzur.net/lb/proxy/loop"
)

// udpPort is the socket of a udp listener in one Loop. The kernel keeps each
// client on one Loop, whose sessions remember which server it has.
type udpPort struct {
	loop.Conn
	core *core
	lst  *listener

	sessions       map[udpKey]*session
	oldest, newest *session // by when they were used last
	ending         bool     // no new sessions
}

// udpKey is a client and the address of ours that it speaks to; the port of ours
// is the same for all.
type udpKey struct {
	client netip.AddrPort
	local  netip.Addr
}

// datagramsPerEvent bounds how many datagrams are taken before others get a turn.
const datagramsPerEvent = 64

// maxSessions bounds the sessions of one port and Loop, each of which is a socket.
// A new one takes the place of the one that has been silent for longest, unless
// that has spoken within sessionPatience: time for an answer, and 160,000 new ones
// a second.
const (
	maxSessions     = 16384
	sessionPatience = int64(100e6)
)

func (p *udpPort) home() *core { return p.core }

// open implements door.
func (p *udpPort) open(fd int) error { return p.core.loop.AttachListener(&p.Conn, fd, p) }

// Ready implements loop.Handler.
func (p *udpPort) Ready(loop.Ready) {
	k := p.core
	for range datagramsPerEvent {
		n, from, to, err := k.sys.ReceiveFrom(p.FD(), k.loop.In())
		if err != nil {
			return // nothing there, or an error of an answer that could not be delivered
		}
		k.stats.bytesIn.add(n)
		p.received(udpKey{from, to}, k.loop.In()[:n])
	}
}

// received passes a datagram on.
func (p *udpPort) received(key udpKey, data []byte) {
	s := p.sessions[key]
	if s != nil && s.outdated() {
		s.end(nil, "")
		s = nil
	}
	if s == nil {
		if s = p.newSession(key); s == nil {
			return
		}
	}
	s.forward(data)
}

// newSession is nil when there is no place, or no server, for it.
func (p *udpPort) newSession(key udpKey) *session {
	k, state := p.core, p.lst.state.Load()
	if p.ending || !p.hasRoom(state.opts.MaxConnections) {
		k.stats.datagramsLost.inc()
		return nil
	}
	s := &session{port: p, key: key}
	c := &s.client
	c.core, c.lst, c.peer = k, p.lst, key.client
	s.x = c.newStream(state, nil)
	if fail := s.x.routeStream(nil); fail != nil {
		s.end(fail, "")
		return nil
	}
	if !s.connect() {
		return nil
	}
	k.proxy.connections.Add(1)
	k.proxy.sessions.Add(1)
	k.stats.accepted.inc()
	k.stats.sessions.add(1)
	p.sessions[key] = s
	s.known = true
	p.touch(s)
	return s
}

// forget takes s off the books.
func (p *udpPort) forget(s *session) {
	k := p.core
	s.known = false
	delete(p.sessions, s.key)
	p.unlink(s)
	k.proxy.connections.Add(-1)
	k.proxy.sessions.Add(-1)
	k.stats.closed.inc()
	k.stats.sessions.add(-1)
	if p.ending && len(p.sessions) == 0 {
		p.close()
	}
}

// hasRoom makes sure that there is a place for one more session. Addresses can be
// forged, so sessions get half of what is the limit of all clients: the other half
// is left to connections.
func (p *udpPort) hasRoom(limit int) bool {
	all := p.core.proxy
	if len(p.sessions) < maxSessions && (limit <= 0 || all.connections.Load() < int64(limit) && all.sessions.Load() < int64(limit+1)/2) {
		return true
	}
	s := p.oldest
	if s == nil || p.core.loop.Now()-s.used < sessionPatience {
		return false
	}
	s.end(nil, "")
	return true
}

// touch makes s the one that was used last.
func (p *udpPort) touch(s *session) {
	s.used = p.core.loop.Now()
	if p.newest == s {
		return
	}
	p.unlink(s)
	s.older = p.newest
	if p.newest != nil {
		p.newest.newer = s
	} else {
		p.oldest = s
	}
	p.newest = s
}

// unlink takes s out of the order of use, if it stands there.
func (p *udpPort) unlink(s *session) {
	if s.older == nil && p.oldest != s {
		return
	}
	if s.newer != nil {
		s.newer.older = s.older
	} else {
		p.newest = s.older
	}
	if s.older != nil {
		s.older.newer = s.newer
	} else {
		p.oldest = s.newer
	}
	s.older, s.newer = nil, nil
}

// udpMoment is how long a port that a reload removes still passes answers on: less
// than one that opens it again waits.
const udpMoment = int64(500e6)

// end implements door. While the process drains, sessions live until they are
// silent for a moment: the socket stays for their answers, and unless another
// process has it too, for what their clients still say.
func (p *udpPort) end(int64) {
	k := p.core
	if !p.Attached() {
		p.lst.left()
		return
	}
	p.ending = true
	k.ending++
	for _, s := range p.sessions {
		s.SetDeadline(s.used + s.patience())
	}
	switch {
	case len(p.sessions) == 0:
		p.close()
	case k.proxy.shared.Load():
		k.loop.Pause(&p.Conn)
	case !k.proxy.leavingAll.Load():
		p.SetDeadline(k.loop.Now() + udpMoment)
	}
}

// Expired implements loop.Handler: the last moment of a removed port is over.
func (p *udpPort) Expired() { p.close() }

// close ends the sessions that are left, and the port.
func (p *udpPort) close() {
	for _, s := range p.sessions {
		s.end(nil, "") // the last one closes the port
	}
	if !p.Attached() {
		return
	}
	k := p.core
	k.loop.Close(&p.Conn)
	p.lst.left()
	k.ending--
	k.sayEmpty()
}

// scarce says whether err means that there are no descriptors, or no memory, left.
func scarce(err error) bool {
	switch err {
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM:
		return true
	}
	return false
}
