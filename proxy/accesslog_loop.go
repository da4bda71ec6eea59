package proxy

import (
	"encoding/binary"

	"arzur.net/lb/proxy/http1"
	"arzur.net/lb/proxy/loop"
)

// SetAccessLog has every Exchange that begins from now on written to a; nil
// turns the access log off. The one before it can be closed then.
func (p *Proxy) SetAccessLog(a *AccessLog) { p.access.Store(a) }

// The note of an Exchange is what its line needs of the request head, copied
// while the head is there: the minor version, then the pieces, each behind its
// length. An empty note means that the Exchange is not logged.
const (
	noteMethod = iota
	noteHost
	noteTarget
	noteAgent
	noteReferer
	notePieces
)

// maxPiece bounds a piece of a note, in bytes; longer ones are cut. maxNote is
// the largest note whose memory stays with its Exchange record.
const (
	maxPiece = 8 << 10
	maxNote  = 4 << 10
)

// noVersion is the minor version of a head that could not be read.
const noVersion = 0xff

// noteRequest keeps what the access log wants of the head in k.req.
func (k *core) noteRequest(x *Exchange) {
	if k.proxy.access.Load() == nil {
		return
	}
	r := &k.req
	n := append(x.note, byte(r.Minor))
	n = appendPiece(n, r.Method)
	n = appendPiece(n, r.Host)
	n = appendPiece(n, r.Target)
	n = appendPiece(n, field(r, "User-Agent"))
	x.note = appendPiece(n, field(r, "Referer"))
}

// noteRefused makes the note of a head that could not be read: nothing in it is
// worth believing.
func (k *core) noteRefused(x *Exchange) { k.noteStream(x, nil) }

// noteStream makes the note of a connection of which no more is known than the
// name it asked for.
func (k *core) noteStream(x *Exchange, name []byte) {
	if k.proxy.access.Load() == nil {
		return
	}
	x.note = append(x.note, noVersion)
	for piece := range notePieces {
		if piece == noteHost {
			x.note = appendPiece(x.note, name)
		} else {
			x.note = appendPiece(x.note, nil)
		}
	}
}

func field(r *http1.Request, name string) []byte {
	v, _ := r.Value(name, 0)
	return v
}

func appendPiece(b, p []byte) []byte {
	p = p[:min(len(p), maxPiece)]
	return append(binary.BigEndian.AppendUint16(b, uint16(len(p))), p...)
}

// readNote is the opposite of noteRequest.
func readNote(note []byte) (minor byte, pieces [notePieces][]byte) {
	rest := note[1:]
	for i := range pieces {
		n := 2 + int(binary.BigEndian.Uint16(rest))
		pieces[i], rest = rest[2:n], rest[n:]
	}
	return note[0], pieces
}

// logChunk holds the lines of one Loop that are not handed over yet.
type logChunk struct {
	chunk
	to    *AccessLog // whose lines these are, nil if there are none
	timer loop.Timer
	armed bool
	clock logClock
}

func (c *logChunk) init() {
	c.timer.Init(func() {
		c.armed = false
		c.handOver()
	})
}

// logExchange adds the line of an Exchange that ends.
func (k *core) logExchange(x *Exchange) {
	a := k.proxy.access.Load()
	c := &k.lines
	if c.to != a {
		c.handOver()
	}
	if a == nil { // turned off since the Exchange began
		return
	}
	if c.to == nil {
		k.beginChunk(a)
	}
	l := lineOf(x, k.loop.Now())
	l.began = c.clock.at(x.began + a.wall.Load())
	if a.combined {
		c.text = appendCombined(c.text, &l)
	} else {
		c.text = appendJSON(c.text, &l)
	}
	c.lines++
	if len(c.text) > chunkSize {
		c.handOver()
	}
	if cap(x.note) > maxNote {
		x.note = nil
	}
}

func (k *core) beginChunk(a *AccessLog) {
	c := &k.lines
	c.to = a
	a.held.Add(1)
	if cap(c.text) == 0 {
		c.text = a.buffer()
	}
	if c.armed {
		return
	}
	c.armed = true
	k.loop.AddTimer(&c.timer, k.loop.Now()+chunkAge)
}

// handOver passes the lines on to be written.
func (c *logChunk) handOver() {
	if c.to == nil {
		return
	}
	if c.to.offer(c.chunk) {
		c.text = nil
	}
	c.text, c.lines, c.to = c.text[:0], 0, nil
}
