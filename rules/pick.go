package rules

import (
	"slices"

	"arzur.net/lb/health"
)

// Result is how Pick ended.
type Result uint8

const (
	// Picked: there is a Target, and the caller owes Done on its Backend.
	Picked Result = iota
	// NoneUsable: no Target may be asked (again); the answer is 503.
	NoneUsable
	// AllFull: every Target that may be asked is at its MaxConnections; wait in the queue.
	AllFull
)

// Picker says whose turn it is among the usable Targets of a Pool. The Pool
// makes a new one whenever that set changes; it also skips who is full or was
// tried, so a Picker looks at weights and live records only. Safe for all loops at once.
type Picker interface {
	// Turn is the index of the Target whose turn it is, in the list that the
	// Picker was made for. Only with advance does the turn pass on: a retry looks, but takes
	// nobody's turn away.
	Turn(advance bool) int
}

// A newPicker makes a Picker over targets, none of weight 0. Where the
// policy has an order, it begins with targets[first] or who comes after it.
type newPicker func(targets []*Target, first int) Picker

// pickers are the policies that `balance` may name.
var pickers = map[string]newPicker{
	"round-robin": newRoundRobin,
}

// turn is a Picker over the Targets that take part, and the condition under
// which they still do.
type turn struct {
	standing standing
	in       []*Target // who takes part: all are of this standing
	watch    []*Target // the others; the turn is over when one is of this standing, or better
	picker   Picker
}

// standing orders the Targets of a Pool: only those of the best standing get
// traffic. Backups stand behind primaries in the same state. An ejected Target
// is better than a down one: live traffic ejects on suspicion, and suspicion
// alone never empties a Pool.
type standing int

const (
	usable standing = iota
	usableBackup
	ejected
	ejectedBackup
	down
	downBackup
	nobody
)

func (t *Target) standing(now int64) standing {
	s := down
	switch {
	case t.Backend.Usable(now):
		s = usable
	case !t.Backend.Down():
		s = ejected
	}
	if t.Backup {
		s++
	}
	return s
}

// best is the best standing that t could ever have.
func (t *Target) best() standing {
	if t.Backup {
		return usableBackup
	}
	return usable
}

// Pick chooses a Target and claims a place on its Backend; the caller owes one
// Done. tried lists the Backends that earlier Attempts of the same Exchange
// failed at; they are passed over, and a retry does not use up a turn. now is
// health.Now. It allocates and takes time only when the set of usable Targets has changed.
func (p *Pool) Pick(now int64, tried []*health.Backend) (*Target, Result) {
	t := p.current(now)
	if p.nobodyIn(t.standing) {
		return nil, NoneUsable
	}
	first := t.picker.Turn(len(tried) == 0)
	if s := t.in[first].standing(now); s != t.standing {
		t = p.renew(t, now, t.in[first])
		if p.nobodyIn(t.standing) {
			return nil, NoneUsable
		}
		first = t.picker.Turn(len(tried) == 0)
	}
	target, result := t.claim(first, now, tried)
	if result == NoneUsable {
		// This Exchange has tried all whose turn it could be, or they went down
		// just now: a backup will do as well.
		anyone := turn{standing: usableBackup, in: p.Targets}
		return anyone.claim(0, now, tried)
	}
	return target, result
}

// Serves says whether Pick would find a Target now, or a full one to wait for.
func (p *Pool) Serves(now int64) bool {
	best := nobody
	for _, t := range p.Targets {
		if t.Weight > 0 {
			best = min(best, t.standing(now))
		}
	}
	return !p.nobodyIn(best)
}

// nobodyIn says whether even the best standing among the Targets is none to send
// a request to.
func (p *Pool) nobodyIn(best standing) bool {
	return best == nobody || best >= down && p.WhenAllDown == Fail
}

// claim takes the first Target at or after first that has a place.
func (t *turn) claim(first int, now int64, tried []*health.Backend) (*Target, Result) {
	result := NoneUsable
	for i := range t.in {
		c := t.in[(first+i)%len(t.in)]
		if c.Weight == 0 || c.standing(now) > t.standing || slices.Contains(tried, c.Backend) {
			continue
		}
		if c.Backend.TryBegin(c.MaxConnections, now) {
			return c, Picked
		}
		result = AllFull
	}
	return nil, result
}

// current is the turn in use, renewed when somebody came back.
func (p *Pool) current(now int64) *turn {
	t := p.turn.Load()
	if t == nil {
		return p.renew(nil, now, nil)
	}
	if !t.over(now) {
		return t
	}
	return p.renew(t, now, t.in[t.picker.Turn(false)])
}

// over says whether somebody came back: then those who take part are not the
// best any more. That somebody left shows when it is chosen.
func (t *turn) over(now int64) bool {
	for _, c := range t.watch {
		if c.standing(now) <= t.standing {
			return true
		}
	}
	if t.standing <= usableBackup {
		return false
	}
	for _, c := range t.in {
		if c.standing(now) < t.standing {
			return true
		}
	}
	return false
}

// renew replaces old by a turn among those who are of the best standing now.
// It begins where old stood: with next, or who comes after it. When another
// loop was faster, that loop's turn counts.
func (p *Pool) renew(old *turn, now int64, next *Target) *turn {
	t := &turn{standing: nobody}
	standings := make([]standing, len(p.Targets)) // read once: they may change under us
	for i, c := range p.Targets {
		if c.Weight > 0 {
			standings[i] = c.standing(now)
			t.standing = min(t.standing, standings[i])
		}
	}
	first := 0
	for i, c := range p.Targets {
		switch {
		case c.Weight == 0:
		case standings[i] == t.standing:
			if next != nil && i < next.Index {
				first++
			}
			t.in = append(t.in, c)
		case c.best() <= t.standing:
			t.watch = append(t.watch, c)
		}
	}
	if len(t.in) > 0 {
		t.picker = p.newPicker(t.in, first%len(t.in))
	}
	if !p.turn.CompareAndSwap(old, t) {
		return p.turn.Load()
	}
	return t
}
