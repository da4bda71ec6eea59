package loop

import (
	"net/netip"
	"slices"
	"syscall"
)

// SimPeer is the test's end of a connection on a SimNet: a client or a server
// that does what its script says.
type SimPeer struct {
	// Handle, if set, is called when something changed: connected, bytes arrived,
	// the other end closed or broke the stream.
	Handle func(p *SimPeer)

	sock    *simSocket
	planned bool // a call of Handle is on the agenda
}

// Dial connects a client to a listening socket. Set its Handle before the next
// step.
func (n *SimNet) Dial(to netip.AddrPort) *SimPeer {
	p := &SimPeer{sock: &simSocket{net: n}}
	p.sock.script = p
	p.sock.connect(to)
	return p
}

// Serve listens at an address that belongs to the test and calls accept for each
// connection, which sets the Handle. Close ends it.
func (n *SimNet) Serve(at netip.AddrPort, accept func(p *SimPeer)) *SimServer {
	l := &simSocket{net: n, local: at, listening: true, serve: accept}
	n.listeners[at] = append(n.listeners[at], l)
	return &SimServer{l}
}

// SimServer is what Serve opened.
type SimServer struct{ sock *simSocket }

// Close stops listening. Connections stay.
func (s *SimServer) Close() { s.sock.unlisten() }

// Write sends b, of any length, as fast as the other end takes it.
func (p *SimPeer) Write(b string) {
	if s := p.sock; !s.dead && !s.ended {
		s.out = append(s.out, b...)
		s.move()
	}
}

// Read takes what has arrived. What is not read fills the Window.
func (p *SimPeer) Read() string {
	b := string(p.sock.in)
	if p.sock.in = nil; b != "" {
		p.sock.peer.move()
	}
	return b
}

// Connected reports whether the connection was made.
func (p *SimPeer) Connected() bool { return p.sock.peer != nil }

// Ended reports whether the other end sent all that it will send and it was read.
func (p *SimPeer) Ended() bool { return p.sock.peerEnded && len(p.sock.in) == 0 }

// Broken is how the connection failed, nil if it did not.
func (p *SimPeer) Broken() error {
	if p.sock.dead {
		return p.sock.err
	}
	return nil
}

// Addr is this end's address.
func (p *SimPeer) Addr() netip.AddrPort { return p.sock.local }

// CloseWrite sends the end of the stream; the other direction stays open.
func (p *SimPeer) CloseWrite() { p.sock.end() }

// Close closes this end. If it was sent bytes that it did not read, or is sent
// more, the other end sees a reset.
func (p *SimPeer) Close() {
	p.Handle = nil
	p.sock.release()
}

// Reset breaks the connection.
func (p *SimPeer) Reset() {
	p.Handle = nil
	p.sock.abort()
}

// connect starts to connect s, from an address of its own.
func (s *simSocket) connect(to netip.AddrPort) {
	s.net.port = max(s.net.port+1, 32768)
	s.local = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, 0, 1}), s.net.port)
	s.remote, s.connecting = to, true
	s.net.plan(s.net.ConnectDelay, (*simSocket).decide, s)
}

// decide is the answer to a Connect.
func (s *simSocket) decide() {
	n := s.net
	fate, fated := n.fates[s.remote]
	switch {
	case s.closed, fated && fate == dropped:
		return
	case fated:
		s.kill(fate)
		return
	case len(n.listeners[s.remote]) == 0, n.chance(n.RefuseChance):
		s.kill(syscall.ECONNREFUSED)
		return
	}
	all := n.listeners[s.remote]
	l := all[n.rng.IntN(len(all))]
	s.connecting = false
	s.peer = &simSocket{net: n, local: s.remote, remote: s.local, peer: s}
	s.mark()
	s.move() // a script may have written already
	if l.serve == nil {
		l.waiting = append(l.waiting, s.peer)
		l.mark()
		return
	}
	p := &SimPeer{sock: s.peer}
	s.peer.script = p
	l.serve(p)
}

// unlisten closes a listening socket and resets what it did not accept.
func (s *simSocket) unlisten() {
	n := s.net
	n.listeners[s.local] = slices.DeleteFunc(n.listeners[s.local], func(o *simSocket) bool { return o == s })
	for _, c := range s.waiting {
		c.abort()
	}
	s.waiting = nil
}
