package loop

import (
	"net/netip"
	"slices"
	"syscall"
)

// simSocket is one end of a connection, a listening socket, a socket for
// datagrams, or a pipe (both ends of which are one simSocket under two descriptors).
type simSocket struct {
	net    *SimNet
	poller *Sim // that watches it, if any
	token  uint64
	marked bool // in poller.ready

	local, remote netip.AddrPort
	peer          *simSocket

	in  []byte // arrived, not yet read
	out []byte // written, not yet arrived at the peer

	err        syscall.Errno // to be reported once
	connecting bool
	listening  bool
	pipe       bool
	moving     bool // an arrival at the peer is planned
	full       bool // a write was cut short: room will be an event
	ended      bool // no writes any more; the peer learns it after the last byte
	peerEnded  bool
	dead       bool // reset, refused
	closed     bool // nobody holds this end any more

	udp   bool
	inbox []datagram

	waiting []*simSocket // listening: connections to accept
	serve   func(*SimPeer)
	script  *SimPeer // the test that holds this end, if it is one
}

// mark has s reported to whoever watches it.
func (s *simSocket) mark() {
	if s.poller != nil && !s.marked {
		s.marked = true
		s.poller.ready = append(s.poller.ready, s)
	}
	if s.script != nil && s.script.Handle != nil && !s.script.planned {
		s.script.planned = true
		s.net.plan(0, (*simSocket).play, s)
	}
}

// play runs the script of this end.
func (s *simSocket) play() {
	s.script.planned = false
	if s.script.Handle != nil { // it may have closed since
		s.script.Handle(s.script)
	}
}

// state is what poll(2) would say.
func (s *simSocket) state() (r Ready) {
	switch {
	case s.udp && len(s.inbox) == 0 && s.err == 0:
		return 0 // there is always room, and nobody waits for it
	case s.udp:
		return Readable
	case s.listening && len(s.waiting) > 0:
		return Readable
	case s.listening, s.connecting:
		return 0
	case s.dead:
		return Readable | Writable | PeerClosed | Failed
	}
	if len(s.in) > 0 || s.peerEnded {
		r |= Readable
	}
	if !s.full && len(s.out) < s.net.room() {
		r |= Writable
	}
	if s.peerEnded {
		r |= PeerClosed
		if s.ended {
			r |= Failed
		}
	}
	return r
}

// room is how much a socket may have under way.
func (n *SimNet) room() int {
	if n.MaxWrite > 0 {
		return n.MaxWrite
	}
	return n.Window
}

func (s *simSocket) read(p []byte) (int, error) {
	if s.udp {
		d, err := s.take()
		return copy(p, d.data), err
	}
	if len(s.in) > 0 {
		n := copy(p, s.in)
		s.in = s.in[n:]
		s.peer.move()
		return n, nil
	}
	switch {
	case s.err != 0:
		return 0, s.report()
	case s.dead, s.peerEnded:
		return 0, nil
	}
	return 0, ErrAgain
}

func (s *simSocket) write(p []byte) (int, error) {
	switch {
	case s.err != 0:
		return 0, s.report()
	case s.dead, s.ended:
		return 0, syscall.EPIPE
	case s.connecting:
		return 0, ErrAgain
	case s.udp:
		s.net.dispatch(s, datagram{s.local, s.remote, slices.Clone(p)})
		return len(p), nil
	}
	n := 0
	if room := s.net.room() - len(s.out); !s.full && room > 0 {
		n = s.net.size(min(len(p), room), s.net.MaxWrite)
	}
	s.full = s.full || n < len(p)
	if n == 0 && len(p) > 0 {
		return 0, ErrAgain
	}
	s.out = append(s.out, p[:n]...)
	s.move()
	return n, nil
}

// report takes the error, which is told once.
func (s *simSocket) report() error {
	err := s.err
	s.err = 0
	return err
}

// end is shutdown(SHUT_WR).
func (s *simSocket) end() {
	s.ended = true
	if s.peerEnded {
		s.mark()
	}
	s.move()
}

// release is close(2): bytes that nobody will read make a reset of it.
func (s *simSocket) release() {
	s.closed = true
	switch {
	case s.udp:
		s.unbind()
	case s.listening:
		s.unlisten()
	case s.peer == nil || s.pipe:
	case len(s.in) > 0:
		s.peer.kill(syscall.ECONNRESET)
	default:
		s.end()
	}
}

// abort is close(2) with a reset.
func (s *simSocket) abort() {
	s.closed, s.out = true, nil
	if s.udp {
		s.unbind()
	}
	if s.peer != nil {
		s.peer.kill(syscall.ECONNRESET)
	}
}

// kill ends s with err. What arrived before can still be read.
func (s *simSocket) kill(err syscall.Errno) {
	if s.dead || s.closed {
		return
	}
	s.dead, s.err, s.out, s.connecting = true, err, nil, false
	s.mark()
}

// move plans an arrival at the peer, if there is something to arrive.
func (s *simSocket) move() {
	if s.moving || s.dead || s.peer == nil || s.pipe {
		return
	}
	if len(s.out) > 0 && (s.peer.closed || len(s.peer.in) < s.net.Window) || s.ended && len(s.out) == 0 && !s.peer.peerEnded {
		s.moving = true
		s.net.plan(s.net.Latency, (*simSocket).arrive, s)
	}
}

// arrive hands the peer what is under way, as much as comes at once.
func (s *simSocket) arrive() {
	s.moving = false
	p, n := s.peer, s.net
	switch {
	case s.dead:
		return
	case p.closed && len(s.out) > 0: // it answers with a reset
		s.out = nil
		s.kill(syscall.ECONNRESET)
		return
	case n.chance(n.ResetChance):
		s.kill(syscall.ECONNRESET)
		p.kill(syscall.ECONNRESET)
		return
	}
	if k := n.size(min(len(s.out), n.Window-len(p.in)), n.MaxRead); k > 0 {
		p.in = append(p.in, s.out[:k]...)
		s.out = s.out[k:]
		p.mark()
		if s.full {
			s.full = false
			s.mark()
		}
		if n.MaxRead > 0 || n.Ragged { // the end is a packet of its own
			s.move()
			return
		}
	}
	if s.ended && len(s.out) == 0 {
		p.peerEnded = true
		p.mark()
	}
	s.move()
}
