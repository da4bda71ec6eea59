package loop

// Timer calls a function in the Loop at a given time, for periodic work. It
// fires once; its function may add it again. Not to be copied.
type Timer struct {
	conn Conn // one without a descriptor: all that the wheel knows are Conns
	f    func()
}

// Init sets what t calls.
func (t *Timer) Init(f func()) { t.f = f }

// AddTimer has t fire once Now has reached at, as precisely as a deadline does.
// A pending t is moved.
func (l *Loop) AddTimer(t *Timer, at int64) {
	t.conn.loop, t.conn.handler = l, (*timerHandler)(t)
	l.wheel.set(&t.conn, at)
}

// StopTimer keeps t from firing.
func (l *Loop) StopTimer(t *Timer) { l.wheel.remove(&t.conn) }

type timerHandler Timer

func (t *timerHandler) Ready(Ready) {}
func (t *timerHandler) Expired()    { t.f() }
