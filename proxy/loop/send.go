package loop

// sendBatch is how many writes are collected at most: more gain nothing, and the
// first would wait for longer than the 100 µs or so that these take.
const sendBatch = 32

// Send is one write of System.SendAll.
type Send struct {
	FD   int
	Data []byte
	// N and Err are what came of it, as Write would have said.
	N   int
	Err error
}

// Sender is a Handler whose output may be collected.
type Sender interface {
	// Unsent is what waits to be written; nothing, if that was done meanwhile.
	Unsent() []byte
	// Sent says what came of a write of that, as Write would have.
	Sent(n int, err error)
}

// waiting is a Sender and the attachment that it asked for.
type waiting struct {
	token  uint64
	sender Sender
}

// Collects reports whether SendSoon is of use in this round: the System has to gain
// from it, and there has to be more than one who might send.
func (l *Loop) Collects() bool { return l.collects }

// SendSoon writes what s has for c, at the end of the round or earlier: in one go
// with what others have by then. s is told what came of it, unless c is closed
// before that.
func (l *Loop) SendSoon(c *Conn, s Sender) {
	if c.gen == 0 || c.soon {
		return
	}
	c.soon = true
	l.soon = append(l.soon, waiting{token(int(c.fd), c.gen), s})
}

// Soon reports whether SendSoon has yet to write to c.
func (c *Conn) Soon() bool { return c.soon }

// sendCollected does what SendSoon was asked for. What that leads to waits for
// the next time, so that nobody keeps the Loop to himself.
func (l *Loop) sendCollected() {
	l.sends, l.sentTo = l.sendBuf[:0], l.sentBuf[:0]
	for _, w := range l.soon {
		c := l.find(w.token)
		if c == nil {
			continue
		}
		c.soon = false
		if data := w.sender.Unsent(); len(data) > 0 {
			l.sends = append(l.sends, Send{FD: int(c.fd), Data: data})
			l.sentTo = append(l.sentTo, w)
		}
	}
	clear(l.soon)
	l.soon = l.soon[:0]
	l.sendBuf, l.sentBuf = l.sends, l.sentTo
	l.sys.SendAll(l.sends)
	l.tellSenders()
}

// tellSenders hands out the results that are left of SendAll.
func (l *Loop) tellSenders() {
	for len(l.sentTo) > 0 {
		w, r := l.sentTo[0], l.sends[0]
		l.sentTo[0], l.sends[0] = waiting{}, Send{} // which may be freed
		l.sentTo, l.sends = l.sentTo[1:], l.sends[1:]
		if c := l.find(w.token); c != nil {
			l.current = attachment{c, c.handler, c.gen}
			w.sender.Sent(r.N, r.Err)
		}
	}
	l.current = attachment{}
}

// sendEach is SendAll where that is nothing but many Writes.
func sendEach(s System, batch []Send) {
	for i := range batch {
		b := &batch[i]
		b.N, b.Err = s.Write(b.FD, b.Data)
	}
}
