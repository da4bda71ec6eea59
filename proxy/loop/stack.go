package loop

import (
	"iter"
	"slices"
)

// stack is a coroutine that does one handshake after another, because growing a
// stack to what crypto/tls needs is 4 % of a handshake.
//
// The runtime ties a coroutine to the thread of whoever is locked to one when it
// begins. So nobody may be who resumes it: neither workers nor Loops.
type stack struct {
	h      *Handshake
	resume func() (over, alive bool)
	stop   func()
	yield  func(over bool) bool
}

// maxStacks is how many stacks a Loop keeps for handshakes to come.
const maxStacks = 32

// step goes on with the handshake of s, and says whether it is over.
func (s *stack) step() (over bool) {
	if s.resume == nil {
		s.resume, s.stop = iter.Pull(s.run)
	}
	over, alive := s.resume()
	return over || !alive
}

// end ends the coroutine, inside a handshake or not.
func (s *stack) end() {
	if s.stop != nil {
		s.stop()
	}
}

// run is the coroutine.
func (s *stack) run(yield func(over bool) bool) {
	s.yield = yield
	for {
		s.h.run()
		s.h = nil
		if !yield(true) {
			return
		}
	}
}

// stack is one that is free.
func (l *Loop) stack() *stack {
	n := len(l.stacks)
	if n == 0 {
		return &stack{}
	}
	s := l.stacks[n-1]
	l.stacks[n-1] = nil
	l.stacks = l.stacks[:n-1]
	return s
}

// keepStack has the next handshake use s.
func (l *Loop) keepStack(s *stack) {
	if len(l.stacks) < maxStacks {
		l.stacks = append(l.stacks, s)
		return
	}
	s.end()
}

// A worker is another thread that has to wake up, and then to wake the Loop: that
// was a sixth of a handshake. So a Loop takes steps itself, one a round, so that
// what else arrives waits for one at most; unless maxChores wait already, or the
// first steps take longer than maxChore (nanoseconds), as with an RSA key.
const (
	maxChores = 16
	maxChore  = int64(500e3)
)

// takes says whether the Loop takes one more step itself.
func (l *Loop) takes() bool { return len(l.chores) < maxChores && l.beginning < maxChore }

// spent notes how long the beginning of a handshake has taken. Short says more
// than long: the clock runs on while another program has the processor.
func (l *Loop) spent(d int64) {
	if d = min(d, 4*maxChore); d > l.beginning {
		l.beginning += (d - l.beginning) / 16
	} else {
		l.beginning -= (l.beginning - d) / 4
	}
}

// chore takes the step that has waited longest.
func (l *Loop) chore() {
	if len(l.chores) == 0 {
		return
	}
	h := l.chores[0]
	l.chores = slices.Delete(l.chores, 0, 1)
	if h.state.Load() == abandoned {
		h.unwind()
	} else if h.step() {
		h.after()
	}
}

// EndShakes lets go of what the handshakes of a Loop that has ended have left:
// after the last Abandon.
func (l *Loop) EndShakes() {
	for _, h := range l.chores {
		h.unwind()
	}
	for _, s := range l.stacks {
		s.end()
	}
	l.chores, l.stacks = nil, nil
}
