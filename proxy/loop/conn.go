package loop

// Handler is what a Conn belongs to. Its methods run in the Loop.
//
// A Handler may also have a method Panicked(). It is called after a panic of
// Ready or Expired was contained; a connection is closed by then, a listener
// goes on.
type Handler interface {
	// Ready says that the socket has something to say. Every condition is
	// announced once, when it arises: use it up (short Read or Write, or
	// ErrAgain), or ask for another turn with Loop.Again.
	Ready(r Ready)
	// Expired says that the deadline passed. It is cleared before the call.
	Expired()
}

// Conn is one watched descriptor, to be embedded by value. The zero value is
// not attached. It belongs to its Loop's goroutine and must not be copied.
type Conn struct {
	loop     *Loop
	handler  Handler
	next     *Conn // in the same wheel slot
	prev     *Conn
	deadline int64
	fires    int64 // when its wheel slot comes up, valid while slot is set
	fd       int32
	gen      uint32 // names this attachment in events; 0 while not attached
	slot     uint16 // 1 + index of the wheel slot it sits in; 0 for none
	again    Ready  // what Again asked for; queued while set
	listener bool
	paused   bool
	soon     bool // its Sender stands in Loop.soon
}

// FD is the descriptor, -1 while not attached.
func (c *Conn) FD() int {
	if c.gen == 0 {
		return -1
	}
	return int(c.fd)
}

// Loop is the Loop that c is or was last attached to, nil if it never was.
func (c *Conn) Loop() *Loop { return c.loop }

// Attached reports whether c has a descriptor in a Loop.
func (c *Conn) Attached() bool { return c.gen != 0 }

// SetDeadline replaces the deadline: Expired is called once the Loop's Now has
// reached at, in nanoseconds, never earlier, and late by at most 34 ms and 1/31
// of the time until then. 0 clears it. Moving a deadline later costs a
// comparison. Without effect while not attached.
func (c *Conn) SetDeadline(at int64) {
	if c.gen != 0 {
		c.loop.wheel.set(c, at)
	}
}

// Deadline is what SetDeadline set, 0 if there is none.
func (c *Conn) Deadline() int64 { return c.deadline }

// Attach makes l watch the connection fd on behalf of h. On error c is not
// attached and fd stays the caller's.
func (l *Loop) Attach(c *Conn, fd int, h Handler) error { return l.attach(c, fd, h, false) }

// AttachListener makes l watch the listening socket fd on behalf of h, which is
// Readable for as long as connections wait.
func (l *Loop) AttachListener(c *Conn, fd int, h Handler) error { return l.attach(c, fd, h, true) }

func (l *Loop) attach(c *Conn, fd int, h Handler, listener bool) error {
	if c.gen != 0 {
		panic("BUG: attach: the Conn is attached already")
	}
	l.gen++
	if l.gen == 0 { // 0 means not attached
		l.gen = 1
	}
	if err := l.sys.Add(fd, token(fd, l.gen), listener); err != nil {
		return err
	}
	for fd >= len(l.conns) {
		l.conns = append(l.conns, make([]*Conn, max(64, len(l.conns)))...)
	}
	l.conns[fd] = c
	*c = Conn{loop: l, handler: h, fd: int32(fd), gen: l.gen, listener: listener}
	return nil
}

// Pause stops watching c and keeps all else, for a listener that takes no
// connections for now.
func (l *Loop) Pause(c *Conn) {
	if c.gen != 0 && !c.paused {
		l.sys.Remove(int(c.fd))
		c.paused = true
	}
}

// Resume undoes Pause. On error c stays paused.
func (l *Loop) Resume(c *Conn) error {
	if c.gen == 0 || !c.paused {
		return nil
	}
	if err := l.sys.Add(int(c.fd), token(int(c.fd), c.gen), c.listener); err != nil {
		return err
	}
	c.paused = false
	return nil
}

// Close detaches c and closes its descriptor. What the current batch still holds
// for c is dropped. Without effect while not attached.
func (l *Loop) Close(c *Conn) {
	if c.gen == 0 {
		return
	}
	// Closing ends the watch only with the last copy of the descriptor, and a
	// process that takes over has copies of the listeners.
	if c.listener && !c.paused {
		l.sys.Remove(int(c.fd))
	}
	l.sys.Close(l.forget(c))
}

// Reset is Close, with RST instead of FIN for the peer.
func (l *Loop) Reset(c *Conn) {
	if c.gen != 0 {
		l.sys.Reset(l.forget(c))
	}
}

// Detach stops watching and hands the descriptor back, -1 if there is none.
func (l *Loop) Detach(c *Conn) int {
	if c.gen == 0 {
		return -1
	}
	if !c.paused {
		l.sys.Remove(int(c.fd))
	}
	return l.forget(c)
}

// forget drops c from the Loop's books.
func (l *Loop) forget(c *Conn) (fd int) {
	fd = int(c.fd)
	l.wheel.remove(c)
	l.conns[fd] = nil
	c.gen, c.again, c.soon = 0, 0, false
	return fd
}

// Again delivers r to c's Handler once more, in the next round, after all others
// had their turn. Calls before that are merged.
func (l *Loop) Again(c *Conn, r Ready) {
	if c.gen == 0 {
		return
	}
	if c.again == 0 {
		l.again = append(l.again, token(int(c.fd), c.gen))
	}
	c.again |= r
}

// find is the Conn that t was made for, nil if it is gone.
func (l *Loop) find(t uint64) *Conn {
	fd := int(uint32(t))
	if fd >= len(l.conns) {
		return nil
	}
	c := l.conns[fd]
	if c == nil || c.gen != uint32(t>>32) {
		return nil
	}
	return c
}

// token names one attachment of fd.
func token(fd int, gen uint32) uint64 { return uint64(uint32(fd)) | uint64(gen)<<32 }
