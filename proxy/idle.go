package proxy

import (
	"arzur.net/lb/health"
	"arzur.net/lb/proxy/loop"
)

// idleList holds a Loop's idle connections to one Backend, newest last: the
// newest is the least likely to have gone stale.
type idleList struct{ conns []*upstream }

// takeIdle hands out an idle connection, nil if there is none. For a request
// that cannot be repeated the connection is asked first whether it still lives.
func (k *core) takeIdle(b *health.Backend, repeatable bool) *upstream {
	list := k.idle[b]
	if list == nil {
		return nil
	}
	for n := len(list.conns); n > 0; n = len(list.conns) {
		u := list.conns[n-1]
		list.conns = list.conns[:n-1]
		if repeatable || u.alive() {
			return u
		}
		u.close()
	}
	return nil
}

// alive says whether there is nothing to read: neither an end nor bytes that
// nobody asked for, which would pass for the next response.
func (u *upstream) alive() bool {
	_, err := u.read(u.core.loop.In()[:1])
	return err == loop.ErrAgain
}

// putIdle keeps a connection for the next Exchange.
func (k *core) putIdle(u *upstream, o *Options) {
	list := k.idle[u.backend]
	if list == nil {
		list = &idleList{}
		k.idle[u.backend] = list
	}
	if len(list.conns) >= o.MaxIdle || k.draining {
		u.close()
		return
	}
	u.x = nil
	if u.tls != nil {
		u.tls.Rest()
	}
	u.slot = int32(len(list.conns))
	u.served++
	list.conns = append(list.conns, u)
	u.SetDeadline(k.loop.Now() + int64(o.UpstreamKeepAlive))
}

// dropIdle closes a connection that stands in its idleList.
func (k *core) dropIdle(u *upstream) {
	list := k.idle[u.backend]
	last := len(list.conns) - 1
	moved := list.conns[last]
	list.conns[u.slot] = moved
	moved.slot = u.slot
	list.conns[last] = nil
	list.conns = list.conns[:last]
	if last == 0 {
		delete(k.idle, u.backend)
	}
	u.close()
}

// shedIdle closes an idle connection, for somebody who lacks its descriptor. False:
// there is none.
func (k *core) shedIdle() bool {
	for _, list := range k.idle {
		if len(list.conns) > 0 {
			k.dropIdle(list.conns[0]) // the oldest
			return true
		}
	}
	return false
}

// retire closes the idle connections to Backends that no Table names any more.
func (k *core) retire(gone []*health.Backend) {
	for _, b := range gone {
		k.dropIdleOf(b)
	}
}

// dropIdleOf closes the idle connections to a Backend.
func (k *core) dropIdleOf(b *health.Backend) {
	if list := k.idle[b]; list != nil {
		for _, u := range list.conns {
			u.close()
		}
		delete(k.idle, b)
	}
}
