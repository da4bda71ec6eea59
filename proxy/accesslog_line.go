package proxy

import "time"

// line is what the access log says about one Exchange. It is valid as long as
// the Exchange is.
type line struct {
	x      *Exchange
	began  *logClock
	now    int64
	minor  byte
	pieces [notePieces][]byte
}

func lineOf(x *Exchange, now int64) line {
	l := line{x: x, now: now}
	l.minor, l.pieces = readNote(x.note)
	return l
}

// protocol is the version as the request line has it, "" if there was none.
func (l *line) protocol() string {
	if l.x.stream {
		return l.x.state.protocol
	}
	switch l.minor {
	case 0:
		return "HTTP/1.0"
	case noVersion:
		return ""
	}
	return "HTTP/1.1"
}

// logClock words times of the wall clock and keeps the text of the last second.
type logClock struct {
	second   int64
	millis   int64
	iso      []byte // 2006-01-02T15:04:05
	combined []byte // 02/Jan/2006:15:04:05 -0700
}

// at moves the clock to a unix time in nanoseconds.
func (c *logClock) at(ns int64) *logClock {
	t := time.Unix(0, ns)
	c.millis = int64(t.Nanosecond()) / 1e6
	if s := t.Unix(); s != c.second {
		c.second = s
		c.iso = t.UTC().AppendFormat(c.iso[:0], "2006-01-02T15:04:05")
		c.combined = t.AppendFormat(c.combined[:0], "02/Jan/2006:15:04:05 -0700")
	}
	return c
}

const hexDigits = "0123456789abcdef"
