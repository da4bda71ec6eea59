package loop

// ScratchSize is the size of In: what one Read takes at most.
const ScratchSize = 64 << 10

// outSize holds a full In with new heads around it.
const outSize = ScratchSize + 32<<10

// classes are the capacities of pooled buffers, and how many of each a Loop
// keeps: 11 MiB if all were idle at once.
var classes = [...]struct{ size, keep int }{
	{1 << 10, 1024},
	{4 << 10, 512},
	{16 << 10, 128},
	{64 << 10, 64},
	{128 << 10, 16},
}

// In is the Loop's scratch buffer for reading, ScratchSize long. Nothing that
// points into it survives the event.
func (l *Loop) In() []byte { return l.in }

// Out is the Loop's scratch buffer for composing: empty, with room for 96 KiB.
// Nothing that points into it survives the event.
func (l *Loop) Out() []byte { return l.out }

// Lent is how many buffers Get has handed out that were not Put back.
func (l *Loop) Lent() int { return l.lent }

// Get returns an empty buffer with room for at least n bytes.
func (l *Loop) Get(n int) []byte {
	l.lent++
	for i := range classes {
		if n > classes[i].size {
			continue
		}
		last := len(l.free[i]) - 1
		if last < 0 {
			return make([]byte, 0, classes[i].size)
		}
		b := l.free[i][last]
		l.free[i][last] = nil
		l.free[i] = l.free[i][:last]
		return b
	}
	return make([]byte, 0, n)
}

// Put takes back what Get returned, once, and from its first byte on; a buffer
// of another capacity is left to the garbage collector.
func (l *Loop) Put(b []byte) {
	l.lent--
	for i := range classes {
		if cap(b) == classes[i].size && len(l.free[i]) < classes[i].keep {
			l.free[i] = append(l.free[i], b[:0])
			return
		}
	}
}
