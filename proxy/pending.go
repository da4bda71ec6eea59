package proxy

import "arzur.net/lb/proxy/loop"

// pending is output that a socket did not take at once: the tail of one write,
// at most one scratch buffer long, because the other side is not read before it
// has gone.
type pending struct {
	buf []byte
	off int
}

func (p *pending) empty() bool { return p.off == len(p.buf) }

// size is how many bytes wait.
func (p *pending) size() int { return len(p.buf) - p.off }

func (p *pending) add(l *loop.Loop, b []byte) {
	if cap(p.buf)-len(p.buf) < len(b) {
		grown := append(l.Get(len(p.buf)-p.off+len(b)), p.buf[p.off:]...)
		p.drop(l)
		p.buf = grown
	}
	p.buf = append(p.buf, b...)
}

// flush writes what it can. It returns nil when all has gone, loop.ErrAgain when
// the socket is full, and the socket's error otherwise.
func (p *pending) flush(l *loop.Loop, fd int) error {
	for p.off < len(p.buf) {
		n, err := l.Sys().Write(fd, p.buf[p.off:])
		if err != nil {
			return err
		}
		p.off += n
	}
	p.drop(l)
	return nil
}

func (p *pending) drop(l *loop.Loop) {
	if p.buf != nil {
		l.Put(p.buf)
	}
	p.buf, p.off = nil, 0
}

// send writes a and then b, keeping what the socket does not take. It reports
// loop.ErrAgain when something was kept and any other error as it came.
func (p *pending) send(l *loop.Loop, fd int, a, b []byte) error {
	if !p.empty() {
		p.add(l, a)
		p.add(l, b)
		return loop.ErrAgain
	}
	for len(a)+len(b) > 0 {
		n, err := write2(l.Sys(), fd, a, b)
		if err == loop.ErrAgain {
			p.add(l, a)
			p.add(l, b)
			return err
		}
		if err != nil {
			return err
		}
		if n < len(a) {
			a = a[n:]
		} else {
			a, b = nil, b[n-len(a):]
		}
	}
	return nil
}

func write2(s loop.System, fd int, a, b []byte) (int, error) {
	switch {
	case len(b) == 0:
		return s.Write(fd, a)
	case len(a) == 0:
		return s.Write(fd, b)
	}
	return s.Write2(fd, a, b)
}
