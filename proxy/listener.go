package proxy

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"

	"go.uber.org/zap"

	"arzur.net/lb/proxy/loop"
	"arzur.net/lb/rules"
)

// portState is what an Exchange on one listener works with. It never changes;
// Apply stores a new one, and each Exchange keeps the one it started with.
type portState struct {
	protocol  string      // one of rules.Protocols; new connections follow a change
	stream    bool        // of those that are not HTTP
	tls       *tls.Config // nil: in the clear, or none is known
	table     *rules.PortTable
	opts      *Options
	port      uint16
	portField []byte // "X-Forwarded-Port: 80\r\n"
}

// listener is one address and port: a listening socket per Loop, because with
// SO_REUSEPORT the kernel spreads new connections without a lock between them.
// It stays when its port is to speak another protocol.
type listener struct {
	socket  rules.Listen // see rules.Listen.Socket
	fds     []int
	state   atomic.Pointer[portState]
	closed  atomic.Bool // removed or draining: answer once more, then close
	doors   []door
	closing atomic.Int32  // doors that have not closed their socket yet
	gone    chan struct{} // closed when there is none left
}

func (l *listener) String() string {
	if !l.socket.Address.IsValid() {
		return ":" + strconv.Itoa(int(l.socket.Port))
	}
	return netip.AddrPortFrom(l.socket.Address, l.socket.Port).String()
}

func (l *listener) use(protocol string, t *rules.PortTable, o *Options) {
	port := l.socket.Port
	field := append(strconv.AppendInt([]byte("X-Forwarded-Port: "), int64(port), 10), "\r\n"...)
	l.state.Store(&portState{protocol: protocol, stream: protocol != rules.HTTP && protocol != rules.HTTPS, tls: o.TLS[protocol], table: t, opts: o, port: port, portField: field})
}

// opener opens n sockets for one address and port.
type opener func(addr netip.Addr, port uint16, n int) ([]int, error)

// door is a listener's socket in one Loop.
type door interface {
	home() *core
	open(fd int) error
	// end stops letting clients in after a moment, in nanoseconds.
	end(moment int64)
}

// acceptor is the door of connections.
type acceptor struct {
	loop.Conn
	core *core
	lst  *listener

	ending bool // to be closed at the deadline
}

// acceptsPerEvent bounds how many connections are taken before others get a turn.
const acceptsPerEvent = 64

func (a *acceptor) home() *core { return a.core }

// open implements door.
func (a *acceptor) open(fd int) error { return a.core.loop.AttachListener(&a.Conn, fd, a) }

// Ready implements loop.Handler.
func (a *acceptor) Ready(loop.Ready) { a.accept(acceptsPerEvent) }

func (a *acceptor) accept(most int) {
	k, p := a.core, a.core.proxy
	for range most {
		state := a.lst.state.Load()
		max := state.opts.MaxConnections
		if max > 0 && p.connections.Load() >= int64(max) || state.secure() && p.greeting.open.Load() >= maxHandshakes {
			k.stats.overLimit.inc()
			a.rest(int64(10e6))
			return
		}
		fd, peer, err := k.sys.Accept(a.FD())
		switch err {
		case nil:
			p.connections.Add(1)
			k.adopt(fd, peer, a.lst)
		case loop.ErrAgain:
			return
		case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM:
			k.stats.acceptErrors.inc()
			p.logScarce("accept", a.lst, err)
			a.rest(int64(100e6))
			return
		case syscall.ECONNABORTED: // it left before we came
		default:
			k.stats.acceptErrors.inc()
			return
		}
	}
}

// rest stops accepting for d nanoseconds: what waits in the backlog is served then.
func (a *acceptor) rest(d int64) {
	a.core.loop.Pause(&a.Conn)
	a.SetDeadline(a.core.loop.Now() + d)
}

// Expired implements loop.Handler: the rest is over, or the end has come.
func (a *acceptor) Expired() {
	if a.ending {
		a.close()
		return
	}
	if err := a.core.loop.Resume(&a.Conn); err != nil {
		a.rest(int64(100e6))
	}
}

// served are the protocols that the engine speaks.
var served = []string{rules.HTTP, rules.HTTPS, rules.TLS, rules.SNI, rules.TCP, rules.UDP}

func checkServed(ports []rules.Listen) error {
	for _, at := range ports {
		if !slices.Contains(served, at.Protocol) {
			return &ListenError{at, fmt.Errorf("listen on %s: this build does not speak %s", at, at.Protocol)}
		}
	}
	return nil
}

// ListenError is why a listener cannot be opened.
type ListenError struct {
	Listen rules.Listen
	Err    error // names the address
}

// Error implements error.
func (e *ListenError) Error() string { return e.Err.Error() }

// Unwrap is for package errors.
func (e *ListenError) Unwrap() error { return e.Err }

// open makes the sockets of one address and port: those handed over to this
// process, or new ones.
func (p *Proxy) open(at rules.Listen) (*listener, error) {
	p.awaitLeaving(at.Port)
	l := &listener{socket: at.Socket(), gone: make(chan struct{})}
	l.fds = p.takeInherited(at)
	if l.fds == nil {
		fds, err := p.openerOf(at)(at.Address, at.Port, len(p.cores))
		if err != nil {
			return nil, &ListenError{at, err}
		}
		l.fds = fds
	}
	return l, nil
}

func (p *Proxy) openerOf(at rules.Listen) opener {
	if at.Protocol == rules.UDP {
		return p.bind
	}
	return p.listen
}

// Inherit gives the Proxy listening sockets that came with the process
// (LISTEN_FDS). They are used for the addresses they are bound to; CloseUnused
// closes the others.
func (p *Proxy) Inherit(fds []int) error {
	for _, fd := range fds {
		at, err := loop.ListenAddr(fd)
		if err != nil {
			return fmt.Errorf("inherited socket %d: %w", fd, err)
		}
		if err := syscall.SetNonblock(fd, true); err != nil {
			return fmt.Errorf("inherited socket %d: %w", fd, err)
		}
		syscall.CloseOnExec(fd)
		key := rules.Listen{Address: at.Addr(), Port: at.Port(), Protocol: rules.TCP}
		if loop.IsUDP(fd) {
			key.Protocol = rules.UDP
		}
		p.inherited[key] = append(p.inherited[key], fd)
	}
	return nil
}

// takeInherited finds sockets bound to an address; all addresses are bound as ::
// or 0.0.0.0.
func (p *Proxy) takeInherited(at rules.Listen) []int {
	try := []netip.Addr{at.Address}
	if !at.Address.IsValid() {
		try = []netip.Addr{netip.IPv6Unspecified(), netip.IPv4Unspecified()}
	}
	for _, a := range try {
		key := at.Socket()
		key.Address = a
		fds := p.inherited[key]
		if fds == nil {
			continue
		}
		delete(p.inherited, key)
		// One socket for several Loops (systemd hands over one) is shared.
		for i := len(fds); i < len(p.cores); i++ {
			dup, err := syscall.Dup(fds[i%len(fds)])
			if err != nil {
				break
			}
			syscall.CloseOnExec(dup)
			fds = append(fds, dup)
		}
		return fds
	}
	return nil
}

// CloseUnused closes inherited sockets that no rule wants.
func (p *Proxy) CloseUnused() {
	for at, fds := range p.inherited {
		p.log.Warn("inherited socket is not named by any rule", zap.Stringer("address", at))
		for _, fd := range fds {
			_ = syscall.Close(fd)
		}
	}
	clear(p.inherited)
}

// begin starts accepting in every Loop.
func (p *Proxy) begin(l *listener) {
	for i, fd := range l.fds {
		k := p.cores[i%len(p.cores)]
		d := door(&acceptor{core: k, lst: l})
		if l.socket.Protocol == rules.UDP {
			d = &udpPort{core: k, lst: l, sessions: map[udpKey]*session{}}
		}
		l.doors = append(l.doors, d)
		k.loop.Post(func() {
			if err := d.open(fd); err != nil {
				p.log.Error("watch listener", zap.Stringer("listener", l), zap.Error(err))
			}
		})
	}
}

// TryListen finds out whether the listeners that t would add can be opened. It
// opens none.
func (p *Proxy) TryListen(t *rules.Table) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := checkServed(t.Ports()); err != nil {
		return err
	}
	for _, at := range t.Ports() {
		if p.listeners[at.Socket()] != nil {
			continue
		}
		p.awaitLeaving(at.Port)
		fds, err := p.openerOf(at)(at.Address, at.Port, 1)
		if err != nil {
			return &ListenError{at, err}
		}
		closeAll(fds)
	}
	return nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = syscall.Close(fd)
	}
}
