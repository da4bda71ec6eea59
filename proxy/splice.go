package proxy

import (
	"arzur.net/lb/health"
	"arzur.net/lb/proxy/loop"
)

// spliceMin is the body length from which moving it through a pipe inside the
// kernel is cheaper than reading and writing it.
const spliceMin = 256 << 10

// spliceChunk is how much one splice(2) is asked to move.
const spliceChunk = 256 << 10

// pipe is a kernel buffer for splice(2).
type pipe struct{ r, w int }

// splicer moves the rest of a long cleartext response body.
type splicer struct {
	pipe
	held int // bytes in the pipe
}

// maybeSplice switches to splicing when much of the body is still to come.
func (x *Exchange) maybeSplice() {
	k := x.core
	if x.respMode != bodyLength || x.respLeft < spliceMin || x.splice != nil || k.noSplice {
		return
	}
	s := &splicer{}
	if n := len(k.pipes); n > 0 {
		s.pipe = k.pipes[n-1]
		k.pipes = k.pipes[:n-1]
	} else {
		r, w, err := k.sys.Pipe()
		if err != nil {
			k.noSplice = true
			return
		}
		s.pipe = pipe{r, w}
	}
	x.splice = s
}

// free gives the pipe back, or closes it when something is left in it.
func (s *splicer) free(k *core) {
	if s.held == 0 && len(k.pipes) < 16 {
		k.pipes = append(k.pipes, s.pipe)
		return
	}
	k.sys.Close(s.r)
	k.sys.Close(s.w)
}

// run moves bytes until one side is dry or full, or its turn is over.
func (s *splicer) run(x *Exchange) {
	k, u := x.core, x.up
	for range readsPerEvent {
		if s.held == 0 {
			if x.respLeft == 0 {
				x.responseDone(true)
				return
			}
			if !u.canRead || !s.fill(x) {
				return
			}
		}
		if !s.empty(x) {
			return
		}
		x.refreshBody()
	}
	k.loop.Again(&u.Conn, loop.Readable)
}

// fill moves bytes from the Backend into the pipe. False: there are none now.
func (s *splicer) fill(x *Exchange) bool {
	u := x.up
	n, err := x.core.sys.Splice(u.FD(), s.w, int(min(x.respLeft, spliceChunk)))
	switch {
	case err == loop.ErrAgain:
		u.canRead = false
		return false
	case err != nil:
		x.upstreamBroke(reason("splice", err))
		return false
	case n == 0:
		u.ended = true
		x.upstreamEnded()
		return false
	}
	s.held += n
	x.respLeft -= int64(n)
	x.respBytes += int64(n)
	return true
}

// empty moves what the pipe holds to the client. False: the client is full or gone.
func (s *splicer) empty(x *Exchange) bool {
	c, k := x.client, x.core
	for s.held > 0 {
		n, err := k.sys.Splice(s.r, c.FD(), s.held)
		if err == loop.ErrAgain {
			c.SetDeadline(k.loop.Now() + int64(x.state.opts.WriteTimeout))
			return false
		}
		if err != nil {
			x.settleBackend(health.Unjudged)
			c.gone()
			return false
		}
		s.held -= n
		k.stats.bytesOut.add(n)
	}
	return true
}
