package loop

import (
	"net/netip"
	"slices"
	"syscall"
)

// datagram is one that is under way or waits.
type datagram struct {
	from, to netip.AddrPort
	data     []byte
}

// maxInbox is how many datagrams wait at a socket; more are lost.
const maxInbox = 64

// ListenUDP opens a UDP socket for a Loop. Several may share one address; each
// client has one of them.
func (s *Sim) ListenUDP(at netip.AddrPort) (fd int, err error) {
	u := &simSocket{net: s.SimNet, local: at, udp: true}
	if fd, err = s.enter(u); err != nil {
		return -1, err
	}
	s.bound[at] = append(s.bound[at], u)
	return fd, nil
}

// ConnectUDP implements System.
func (s *Sim) ConnectUDP(to netip.AddrPort) (int, error) {
	u := s.newUDP(netip.AddrPort{})
	u.remote = to
	fd, err := s.enter(u)
	if err != nil {
		u.unbind()
		return -1, err
	}
	return fd, nil
}

// newUDP binds a socket to at, or to an address of its own.
func (n *SimNet) newUDP(at netip.AddrPort) *simSocket {
	if !at.IsValid() {
		n.port = max(n.port+1, 32768)
		at = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, 0, 1}), n.port)
	}
	u := &simSocket{net: n, local: at, udp: true}
	n.bound[at] = append(n.bound[at], u)
	return u
}

// Local implements System.
func (s *Sim) Local(fd int) netip.AddrPort { return s.file(fd).local }

// ReceiveFrom implements System.
func (s *Sim) ReceiveFrom(fd int, p []byte) (int, netip.AddrPort, netip.Addr, error) {
	u := s.file(fd)
	d, err := u.take()
	if err != nil {
		return 0, netip.AddrPort{}, netip.Addr{}, err
	}
	return copy(p, d.data), d.from, d.to.Addr(), nil
}

// SendTo implements System.
func (s *Sim) SendTo(fd int, p []byte, to netip.AddrPort, from netip.Addr) error {
	u := s.file(fd)
	local := u.local
	if from.IsValid() {
		local = netip.AddrPortFrom(from, local.Port())
	}
	s.dispatch(u, datagram{local, to, slices.Clone(p)})
	return nil
}

// take is the next datagram, or the error that was reported to us.
func (s *simSocket) take() (datagram, error) {
	switch {
	case s.err != 0:
		return datagram{}, s.report()
	case len(s.inbox) == 0:
		return datagram{}, ErrAgain
	}
	d := s.inbox[0]
	s.inbox = s.inbox[1:]
	return d, nil
}

// dispatch sends d on its way, on which it may get lost.
func (n *SimNet) dispatch(sender *simSocket, d datagram) {
	if n.chance(n.LossChance) {
		return
	}
	n.plan(n.Latency, func(*simSocket) { n.deliver(sender, d) }, nil)
}

// deliver hands d to whom it is for. A sender that is connected learns that
// nobody is there.
func (n *SimNet) deliver(sender *simSocket, d datagram) {
	fate, fated := n.fates[d.to]
	all := n.bound[d.to]
	switch {
	case fated && fate == dropped:
	case fated, len(all) == 0:
		if sender.remote.IsValid() && !sender.closed {
			sender.err = syscall.ECONNREFUSED
			sender.mark()
		}
	default:
		u := all[int(d.from.Port())%len(all)]
		if len(u.inbox) < maxInbox && (!u.remote.IsValid() || u.remote == d.from) {
			u.inbox = append(u.inbox, d)
			u.mark()
		}
	}
}

// unbind closes a UDP socket.
func (s *simSocket) unbind() {
	s.net.bound[s.local] = slices.DeleteFunc(s.net.bound[s.local], func(o *simSocket) bool { return o == s })
	s.inbox = nil
}

// SimUDP is the test's end of datagrams on a SimNet: a client or a server.
type SimUDP struct {
	// Handle, if set, is called for each datagram that arrives.
	Handle func(u *SimUDP, from netip.AddrPort, data string)

	sock *simSocket
}

// Datagrams opens the test's UDP socket at an address, or at one of its own if
// that is the zero AddrPort. Close ends it.
func (n *SimNet) Datagrams(at netip.AddrPort) *SimUDP {
	u := &SimUDP{sock: n.newUDP(at)}
	u.sock.script = &SimPeer{sock: u.sock, Handle: func(*SimPeer) {
		for {
			d, err := u.sock.take()
			if err != nil {
				return
			}
			if u.Handle != nil {
				u.Handle(u, d.from, string(d.data))
			}
		}
	}}
	return u
}

// Send sends one datagram.
func (u *SimUDP) Send(to netip.AddrPort, data string) {
	u.sock.net.dispatch(u.sock, datagram{u.sock.local, to, []byte(data)})
}

// Addr is this end's address.
func (u *SimUDP) Addr() netip.AddrPort { return u.sock.local }

// Close closes this end.
func (u *SimUDP) Close() {
	u.sock.closed = true
	u.sock.unbind()
}
