package loop

import (
	"math"
	"math/bits"
)

// The wheel keeps deadlines in levels of 256 slots. A slot of level 0 is one
// tick wide and each level's slots are eight times as wide as those below, so
// that a far deadline is rounded up more: to 1/31 of its distance. Nothing moves
// down as time passes, and thousands of idle connections whose deadlines are a
// minute away wake the loop once a second rather than once each.
const (
	tickBits  = 24 // one tick is 2^24 ns, 16.8 ms
	slotBits  = 8
	slots     = 1 << slotBits
	levelBits = 3
	levels    = 7 // the last reaches 13 days; what is later is looked at again then
	never     = math.MaxInt64
)

type wheel struct {
	now   int64 // as of turn
	tick  int64 // the tick of now
	clock int64 // the tick whose slots were taken last
	soon  int64 // no slot is due before this tick; never if none is occupied

	heads    [levels * slots]*Conn
	occupied [levels * slots / 64]uint64
}

func (w *wheel) init(now int64) {
	w.now, w.tick, w.clock, w.soon = now, now>>tickBits, now>>tickBits, never
}

// turn sets the time; expired then yields what became due. What is set before
// that is measured from now, not from when the loop went to sleep.
func (w *wheel) turn(now int64) {
	w.now, w.tick = now, now>>tickBits
	w.clock = min(w.tick, w.soon-1)
}

// next is the time before which nothing is due, never if nothing is pending.
func (w *wheel) next() int64 {
	if w.soon == never {
		return never
	}
	return w.soon << tickBits
}

// set replaces c's deadline. If the slot where c sits comes up in good time for
// it, c stays there: expired looks at the deadline again.
func (w *wheel) set(c *Conn, at int64) {
	c.deadline = at
	if at == 0 || c.slot != 0 && c.fires <= at+max(1<<tickBits, (at-w.now)>>5) {
		return
	}
	w.remove(c)
	c.deadline = at
	w.link(c)
}

// link puts c into the first slot that is not before its deadline, and not
// before the next tick.
func (w *wheel) link(c *Conn) {
	const reach = slots - 2 // rounding may add two slots
	tick := max((c.deadline-1)>>tickBits+1, w.tick+1)
	level := 0
	for tick-w.clock >= reach<<(levelBits*level) {
		if level == levels-1 {
			tick = w.clock + (reach-1)<<(levelBits*level)
			break
		}
		level++
	}
	shift := levelBits * level
	n := (tick + 1<<shift - 1) >> shift
	i := level<<slotBits + int(n&(slots-1))
	w.soon = min(w.soon, n<<shift)
	c.fires = n << shift << tickBits
	c.slot = uint16(i + 1)
	c.prev, c.next = nil, w.heads[i]
	if c.next != nil {
		c.next.prev = c
	}
	w.heads[i] = c
	w.occupied[i/64] |= 1 << (i % 64)
}

// remove takes c out of the wheel, with its deadline.
func (w *wheel) remove(c *Conn) {
	c.deadline = 0
	if c.slot != 0 {
		w.unlink(c)
	}
}

func (w *wheel) unlink(c *Conn) {
	i := int(c.slot) - 1
	if c.prev != nil {
		c.prev.next = c.next
	} else if w.heads[i] = c.next; c.next == nil {
		w.occupied[i/64] &^= 1 << (i % 64)
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.next, c.prev, c.slot = nil, nil, 0
}

// expired takes the next Conn whose deadline has passed, nil if there is none.
// Between calls anything may be set and removed.
func (w *wheel) expired() *Conn {
	for w.soon <= w.tick {
		w.clock = w.soon
		if c := w.take(); c != nil {
			return c
		}
		w.soon = w.earliest()
	}
	w.clock = w.tick
	return nil
}

// take empties the slots that come up at clock until it meets a Conn whose
// deadline has passed. The others go where their present deadline belongs.
func (w *wheel) take() *Conn {
	for level := range levels {
		shift := levelBits * level
		if w.clock&(1<<shift-1) != 0 {
			return nil
		}
		i := level<<slotBits + int(w.clock>>shift&(slots-1))
		for c := w.heads[i]; c != nil; c = w.heads[i] {
			w.unlink(c)
			if c.deadline > w.now {
				w.link(c)
			} else if c.deadline != 0 {
				c.deadline = 0
				return c
			}
		}
	}
	return nil
}

// earliest is the tick of the first occupied slot after clock.
func (w *wheel) earliest() int64 {
	soon := int64(never)
	for level := range levels {
		shift := levelBits * level
		from := w.clock>>shift + 1
		if d := w.distance(level, int(from&(slots-1))); d >= 0 {
			soon = min(soon, (from+int64(d))<<shift)
		}
	}
	return soon
}

// distance counts the slots of one level from slot first to the first occupied
// one, going round; -1 if none is.
func (w *wheel) distance(level, first int) int {
	const words = slots / 64
	occupied := w.occupied[level*words : (level+1)*words]
	word := occupied[first/64] >> (first % 64)
	if word != 0 {
		return bits.TrailingZeros64(word)
	}
	for i := 1; i <= words; i++ {
		if word := occupied[(first/64+i)%words]; word != 0 {
			return i*64 - first%64 + bits.TrailingZeros64(word)
		}
	}
	return -1
}
