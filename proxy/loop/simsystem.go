package loop

import (
	"errors"
	"net/netip"
	"slices"
	"syscall"
)

// Listen opens a listening socket for a Loop. Several may share one address.
func (s *Sim) Listen(at netip.AddrPort) (fd int, err error) {
	l := &simSocket{net: s.SimNet, local: at, listening: true}
	if fd, err = s.enter(l); err != nil {
		return -1, err
	}
	s.listeners[at] = append(s.listeners[at], l)
	return fd, nil
}

// enter gives s the lowest free descriptor.
func (n *SimNet) enter(s *simSocket) (fd int, err error) {
	if n.MaxFiles > 0 && n.open >= n.MaxFiles {
		return -1, syscall.EMFILE
	}
	n.open++
	for fd := firstFile; fd < len(n.files); fd++ {
		if n.files[fd] == nil {
			n.files[fd] = s
			return fd, nil
		}
	}
	n.files = append(n.files, s)
	return len(n.files) - 1, nil
}

// file is what fd stands for. A descriptor that is not open is the caller's bug.
func (n *SimNet) file(fd int) *simSocket {
	if fd < 0 || fd >= len(n.files) || n.files[fd] == nil {
		panic("BUG: use of a descriptor that is not open")
	}
	return n.files[fd]
}

// Accept implements System.
func (s *Sim) Accept(fd int) (int, netip.AddrPort, error) {
	l := s.file(fd)
	if len(l.waiting) == 0 {
		return -1, netip.AddrPort{}, ErrAgain
	}
	c := l.waiting[0]
	nfd, err := s.enter(c)
	if err != nil {
		return -1, netip.AddrPort{}, err
	}
	l.waiting = l.waiting[1:]
	return nfd, c.remote, nil
}

// Unheard implements System. Machines do not vanish here.
func (s *Sim) Unheard(fd int, _ int64) { s.file(fd) }

// Quiesce implements System.
func (s *Sim) Quiesce(fd int) {
	l := s.file(fd)
	s.listeners[l.local] = slices.DeleteFunc(s.listeners[l.local], func(o *simSocket) bool { return o == l })
}

// Connect implements System.
func (s *Sim) Connect(to netip.AddrPort) (int, error) {
	if s.fates[to] == syscall.EADDRNOTAVAIL {
		return -1, syscall.EADDRNOTAVAIL
	}
	c := &simSocket{net: s.SimNet}
	fd, err := s.enter(c)
	if err != nil {
		return -1, err
	}
	c.connect(to)
	return fd, nil
}

// ConnectResult implements System.
func (s *Sim) ConnectResult(fd int) error {
	c := s.file(fd)
	switch {
	case c.err != 0:
		return c.report()
	case c.connecting:
		return syscall.EINPROGRESS
	}
	return nil
}

// Read implements System.
func (s *Sim) Read(fd int, p []byte) (int, error) { return s.file(fd).read(p) }

// Write implements System.
func (s *Sim) Write(fd int, p []byte) (int, error) { return s.file(fd).write(p) }

// Write2 implements System.
func (s *Sim) Write2(fd int, a, b []byte) (int, error) {
	return s.file(fd).write(slices.Concat(a, b))
}

// SendAll implements System.
func (s *Sim) SendAll(batch []Send) { sendEach(s, batch) }

// Together implements System.
func (s *Sim) Together() (least int, why error) {
	if s.Collect {
		return 1, nil
	}
	return 0, errors.New("the simulation is to do without")
}

// Pipe implements System.
func (s *Sim) Pipe() (r, w int, err error) {
	p := &simSocket{net: s.SimNet, pipe: true}
	p.peer = p
	if r, err = s.enter(p); err != nil {
		return -1, -1, err
	}
	if w, err = s.enter(p); err != nil {
		s.Close(r)
		return -1, -1, err
	}
	return r, w, nil
}

// simPipe is how much a pipe holds.
const simPipe = 256 << 10

// Splice implements System.
func (s *Sim) Splice(from, to, limit int) (int, error) {
	f, t := s.file(from), s.file(to)
	switch {
	case f.pipe == t.pipe:
		return 0, syscall.EINVAL
	case f.pipe && len(f.in) == 0:
		if f.closed {
			return 0, nil
		}
		return 0, ErrAgain
	case f.pipe:
		n, err := t.write(f.in[:min(limit, len(f.in))])
		f.in = f.in[n:]
		return n, err
	case t.closed: // nobody reads the pipe
		return 0, syscall.EPIPE
	case len(t.in) >= simPipe:
		return 0, ErrAgain
	}
	p := make([]byte, min(limit, simPipe-len(t.in)))
	n, err := f.read(p)
	t.in = append(t.in, p[:n]...)
	return n, err
}

// KeepAlive implements System. A SimPeer does not die unseen.
func (s *Sim) KeepAlive(fd int) {
	s.file(fd)
	s.KeptAlive++
}

// CloseWrite implements System.
func (s *Sim) CloseWrite(fd int) error {
	c := s.file(fd)
	if c.dead || c.connecting {
		return syscall.ENOTCONN
	}
	c.end()
	return nil
}

// Close implements System.
func (s *Sim) Close(fd int) {
	s.leave(fd).release()
}

// Reset implements System.
func (s *Sim) Reset(fd int) {
	s.leave(fd).abort()
}

// leave frees fd.
func (s *Sim) leave(fd int) *simSocket {
	s.Remove(fd)
	c := s.files[fd]
	s.files[fd] = nil
	s.open--
	return c
}

// Add implements System.
func (s *Sim) Add(fd int, token uint64, _ bool) error {
	c := s.file(fd)
	if c.poller != nil {
		return syscall.EEXIST
	}
	c.poller, c.token = s, token
	c.mark()
	return nil
}

// Remove implements System.
func (s *Sim) Remove(fd int) {
	c := s.file(fd)
	if c.marked {
		c.poller.ready = slices.DeleteFunc(c.poller.ready, func(o *simSocket) bool { return o == c })
	}
	c.poller, c.marked = nil, false
}

// Wait implements System. If there is nothing to report it moves the clock to
// what happens next, or by timeout. Where a real one would sleep for ever it
// returns at once. Events cost a microsecond, so that deadlines pass even for a
// Loop that has always something to do.
func (s *Sim) Wait(events []Event, timeout int64) (int, error) {
	until := s.now + timeout
	for {
		s.due()
		if n := s.collect(events); n > 0 || s.woken.Swap(false) {
			s.now += int64(n) * eventCost
			return n, nil
		}
		switch {
		case timeout == 0 && s.busy(): // somebody else's turn
			return 0, nil
		case len(s.agenda) > 0 && (timeout < 0 || s.agenda[0].at <= until):
			s.now = max(s.now, s.agenda[0].at)
		case timeout >= 0:
			s.now = until
			return 0, nil
		default:
			return 0, nil
		}
	}
}

const eventCost = 1000

// busy reports whether any System has something to report.
func (n *SimNet) busy() bool {
	return slices.ContainsFunc(n.sims, func(s *Sim) bool { return len(s.ready) > 0 || s.woken.Load() })
}

// collect fills events. A listener stays on the list for as long as connections,
// or datagrams, wait.
func (s *Sim) collect(events []Event) (n int) {
	if s.Shuffle {
		s.rng.Shuffle(len(s.ready), func(i, j int) { s.ready[i], s.ready[j] = s.ready[j], s.ready[i] })
	}
	ready := s.ready
	s.ready = nil
	for i, c := range ready {
		if n == len(events) {
			s.ready = append(s.ready, ready[i:]...)
			break
		}
		c.marked = false
		r := c.state()
		if r == 0 {
			continue
		}
		events[n] = Event{Token: c.token, Ready: r}
		n++
		if c.listening || c.udp && !c.remote.IsValid() {
			c.mark()
		}
	}
	return n
}

// Wake implements System.
func (s *Sim) Wake() { s.woken.Store(true) }

// Shut implements System.
func (s *Sim) Shut() {
	s.sims = slices.DeleteFunc(s.sims, func(o *Sim) bool { return o == s })
}
