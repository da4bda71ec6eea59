package proxy

import (
	"syscall"

	"arzur.net/lb/proxy/loop"
)

// Long cleartext bodies of known length go through splice(2): from socket to
// pipe to socket, without being copied into this process.

// spliceMin is the rest of a body from which that is cheaper than read and write.
const spliceMin = 256 << 10

// spliceChunk is how much one call is asked to move, the size of the pipe.
const spliceChunk = 256 << 10

// maxPipes bounds the pipes that a Loop has in use, and maxIdlePipes those it
// keeps: each costs two descriptors and what waits in it the kernel's memory.
const (
	maxPipes     = 128
	maxIdlePipes = 16
)

// pipe is a kernel buffer for splice(2).
type pipe struct{ r, w int }

// splicer moves one direction of an Exchange. A nil splicer holds nothing.
type splicer struct {
	pipe
	held int // bytes in the pipe
}

// newSplicer is nil where there is TLS on a side, no splice(2) or no pipe to
// spare; bytes are read and written then.
func (x *Exchange) newSplicer() *splicer {
	k := x.core
	if x.client.tls != nil || x.up.tls != nil || k.noSplice || k.piped == maxPipes {
		return nil
	}
	if n := len(k.pipes); n > 0 {
		p := k.pipes[n-1]
		k.pipes = k.pipes[:n-1]
		k.piped++
		return &splicer{pipe: p}
	}
	r, w, err := k.sys.Pipe()
	if err != nil {
		k.noSplice = err == syscall.ENOSYS
		return nil
	}
	k.piped++
	return &splicer{pipe: pipe{r, w}}
}

func (s *splicer) holds() bool { return s != nil && s.held > 0 }

// move brings up to limit bytes from one socket towards the other, in through an
// empty pipe or out of a filled one. full says which side has to be waited for
// on loop.ErrAgain: the writer (true) or the reader.
func (s *splicer) move(sys loop.System, from, to, limit int) (n int, full bool, err error) {
	if s.held == 0 {
		in, err := sys.Splice(from, s.w, min(limit, spliceChunk))
		if err != nil || in == 0 {
			return 0, false, err
		}
		s.held, n = in, in
	}
	for s.held > 0 {
		out, err := sys.Splice(s.r, to, s.held)
		if err != nil {
			return n, true, err
		}
		s.held -= out
	}
	return n, false, nil
}

// putSplicer gives a pipe back, or closes one with a remainder. It returns nil.
func (k *core) putSplicer(s *splicer) *splicer {
	if s == nil {
		return nil
	}
	k.piped--
	if s.held == 0 && len(k.pipes) < maxIdlePipes {
		k.pipes = append(k.pipes, s.pipe)
		return nil
	}
	k.sys.Close(s.r)
	k.sys.Close(s.w)
	return nil
}

// dropPipes gives the pipes of an Exchange back.
func (x *Exchange) dropPipes() {
	x.splice, x.reqSplice = x.core.putSplicer(x.splice), x.core.putSplicer(x.reqSplice)
}

// clientBusy says whether the client has yet to take what was read for it.
func (x *Exchange) clientBusy() bool { return !x.client.out.empty() || x.splice.holds() }

// spliceResponse moves response body until one side is dry or full, or its turn is over.
func (x *Exchange) spliceResponse() {
	k, c, u := x.core, x.client, x.up
	for range readsPerEvent {
		if x.respLeft == 0 && !x.splice.holds() {
			x.responseDone(true)
			return
		}
		if !u.canRead && !x.splice.holds() {
			return
		}
		began := x.splice.held == 0
		n, full, err := x.splice.move(k.sys, u.FD(), c.FD(), int(min(x.respLeft, spliceChunk)))
		x.respLeft -= int64(n)
		x.respBytes += int64(n)
		k.stats.bytesOut.add(n)
		switch {
		case err == loop.ErrAgain && full:
			c.SetDeadline(k.loop.Now() + int64(x.state.opts.WriteTimeout))
			return
		case err == loop.ErrAgain:
			u.canRead = false
			return
		case err != nil && full:
			c.gone()
			return
		case err != nil:
			x.upstreamBroke(reason("splice", err))
			return
		case n == 0 && began:
			u.canRead, u.peerClosed = false, true
			x.upstreamEnded()
			return
		}
		x.refreshBody()
	}
	k.loop.Again(&u.Conn, loop.Readable)
}

// spliceRequest moves request body if it is long enough. False: it is not.
func (x *Exchange) spliceRequest() bool {
	if x.reqSplice == nil {
		if x.reqMode != bodyLength || x.reqLeft < spliceMin {
			return false
		}
		if x.reqSplice = x.newSplicer(); x.reqSplice == nil {
			return false
		}
		x.replay = false
	}
	if x.pumpRequest() {
		x.requestMoved()
	}
	return true
}

// pumpRequest moves request body while both sides go along. True: the pipe is
// empty, and the client is dry or the body is done.
func (x *Exchange) pumpRequest() bool {
	k, c, u := x.core, x.client, x.up
	for range readsPerEvent {
		if x.reqLeft == 0 && !x.reqSplice.holds() {
			x.reqDone = true
			return true
		}
		if !c.canRead && !x.reqSplice.holds() {
			return true
		}
		began := x.reqSplice.held == 0
		n, full, err := x.reqSplice.move(k.sys, c.FD(), u.FD(), int(min(x.reqLeft, spliceChunk)))
		x.reqLeft -= int64(n)
		x.reqBytes += int64(n)
		k.stats.bytesIn.add(n)
		switch {
		case err == loop.ErrAgain && full:
			x.deadline(int64(x.state.opts.WriteTimeout))
			return false
		case err == loop.ErrAgain:
			c.canRead = false
			return true
		case err != nil && full:
			x.upstreamDeaf(reason("splice", err))
			return false
		case err != nil:
			c.gone()
			return false
		case n == 0 && began:
			c.canRead, c.peerClosed = false, true
			c.ended()
			return false
		}
	}
	k.loop.Again(&c.Conn, loop.Readable)
	return false
}
