package proxy

import (
	"context"
	"slices"
	"time"
)

// end stops accepting after a moment, in nanoseconds. Connections that stand are
// answered once more.
func (p *Proxy) end(l *listener, moment int64) {
	l.closed.Store(true)
	l.closing.Store(int32(len(l.doors)))
	p.leaving = append(p.leaving, l)
	for _, d := range l.doors {
		d.home().loop.Post(func() { d.end(moment) })
	}
}

// left counts a door out that has closed its socket.
func (l *listener) left() {
	if l.closing.Add(-1) == 0 {
		close(l.gone)
	}
}

// leavePatience is how long a listener that is opened again waits for the Loops
// to close the sockets it had before. They do so in their next round.
const leavePatience = time.Second

// awaitLeaving waits until those who listened on a port before have closed their
// sockets, which otherwise would be in the way. p.mu is held.
func (p *Proxy) awaitLeaving(port uint16) {
	patience, cancel := context.WithTimeout(context.Background(), leavePatience)
	defer cancel()
	p.leaving = slices.DeleteFunc(p.leaving, func(l *listener) bool {
		if l.socket.Port == port {
			select {
			case <-l.gone:
			case <-patience.Done():
			}
		}
		select {
		case <-l.gone:
			return true
		default:
			return false
		}
	})
}

// end implements door. It stops accepting, but not before those are in that are connecting now.
func (a *acceptor) end(moment int64) {
	k := a.core
	if !a.Attached() {
		a.lst.left()
		return
	}
	if !k.proxy.shared.Load() {
		k.sys.Quiesce(a.FD())
	}
	k.hurry(a.lst)
	a.ending = true
	k.ending++
	if moment == 0 {
		a.close()
		return
	}
	a.SetDeadline(k.loop.Now() + moment)
}

// close takes what waits in the socket first, because closing it resets that.
func (a *acceptor) close() {
	k := a.core
	a.accept(1 << 16)
	k.loop.Close(&a.Conn)
	a.lst.left()
	k.ending--
	k.sayEmpty()
}

// Shared says that another process holds the listening sockets too: the one that
// opened them, or one that takes over. Then closing them here resets nobody, and
// what is done to them is done to the other's.
func (p *Proxy) Shared() { p.shared.Store(true) }

// hurry gives the idle connections of a listener that ends a moment for a last request.
func (k *core) hurry(l *listener) {
	for _, c := range k.clients {
		if c.lst == l && c.quiet() {
			c.SetDeadline(k.loop.Now() + lastMoment)
		}
	}
}

// handshakeTime is how long a connection may take from our answer to its first
// segment until it stands: a round trip around the world.
const handshakeTime = int64(200e6)

// lastMoment is how long an idle connection is kept while draining: a request
// that is on its way now still gets its answer.
const lastMoment = int64(1e9)

// idleTime is how long a connection may stay idle.
func (k *core) idleTime(c *client) int64 {
	if k.draining || c.lst.closed.Load() {
		return lastMoment
	}
	return int64(c.lst.state.Load().opts.KeepAliveTimeout)
}
