package proxy

import (
	"bytes"
	"fmt"
	"net/textproto"
	"strconv"
	"strings"
)

// simMessage is an HTTP/1.1 message as the peers of the engine read it.
type simMessage struct {
	line   string
	fields map[string]string // by canonical name; repeated ones joined with a comma
	body   []byte
	framed bool // its end does not depend on the connection's
}

func (m *simMessage) closes() bool { return strings.EqualFold(m.fields["Connection"], "close") }

func (m *simMessage) status() int {
	n, _ := strconv.Atoi(m.line[len("HTTP/1.1 "):][:3])
	return n
}

// simReader reads messages off a stream: simple, strict about what the engine
// may send, and sharing no code with http1.
type simReader struct {
	in     []byte
	msg    *simMessage // the one whose body is being read
	mode   bodyMode
	left   int  // bytes of the body, or of the chunk
	inside bool // of a chunk
	err    error
}

// head reads the next head, nil if it has not come yet. bodiless says of its
// message, if it is a response, whether it was to a HEAD.
func (r *simReader) head(bodiless bool) *simMessage {
	end := bytes.Index(r.in, []byte("\r\n\r\n"))
	if end < 0 || r.err != nil {
		return nil
	}
	lines := strings.Split(string(r.in[:end]), "\r\n")
	r.in = r.in[end+4:]
	m := &simMessage{line: lines[0], fields: map[string]string{}}
	for _, l := range lines[1:] {
		name, value, ok := strings.Cut(l, ": ")
		if !ok || name == "" || strings.ContainsAny(l, "\r\n\x00") {
			r.err = fmt.Errorf("field line %q", l)
			return nil
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		if old, repeated := m.fields[name]; repeated {
			value = old + "," + value
		}
		m.fields[name] = value
	}
	r.msg = m
	r.frame(bodiless)
	return m
}

func (r *simReader) frame(bodiless bool) {
	m := r.msg
	length, hasLength := m.fields["Content-Length"]
	coding, hasCoding := m.fields["Transfer-Encoding"]
	response := strings.HasPrefix(m.line, "HTTP/")
	n, err := strconv.Atoi(length)
	switch {
	case response && !strings.HasPrefix(m.line, "HTTP/1.1 "), !response && !strings.HasSuffix(m.line, " HTTP/1.1"):
		r.err = fmt.Errorf("start line %q", m.line)
	case hasLength && hasCoding, hasCoding && coding != "chunked", hasLength && (err != nil || n < 0):
		r.err = fmt.Errorf("framing %q and %q", length, coding)
	case response && (bodiless || m.status() < 200 || m.status() == 204 || m.status() == 304):
		r.mode = bodyNone
	case hasCoding:
		r.mode, r.left, r.inside = bodyChunks, 0, false
	case hasLength:
		r.mode, r.left = bodyLength, n
	case response:
		r.mode = bodyClose
	default:
		r.mode = bodyNone
	}
	m.framed = r.mode != bodyClose
}

// body reads on in the body and says whether it is complete; ended says that
// the stream has come to a clean end.
func (r *simReader) body(ended bool) bool {
	if r.msg == nil || r.err != nil {
		return false
	}
	done := false
	switch r.mode {
	case bodyNone:
		done = true
	case bodyLength:
		r.take(min(r.left, len(r.in)))
		done = r.left == 0
	case bodyChunks:
		done = r.chunks()
	case bodyClose:
		r.take(len(r.in))
		done = ended
	}
	if done {
		r.msg = nil
	}
	return done
}

func (r *simReader) take(n int) {
	r.msg.body = append(r.msg.body, r.in[:n]...)
	r.in = r.in[n:]
	r.left -= n
}

// chunks reads chunks; the trailer fields become fields of the message.
func (r *simReader) chunks() (done bool) {
	for r.err == nil {
		if r.left > 0 {
			if len(r.in) == 0 {
				return false
			}
			r.take(min(r.left, len(r.in)))
			continue
		}
		end := bytes.Index(r.in, []byte("\r\n"))
		switch {
		case end < 0:
			return false
		case r.inside && end != 0:
			r.err = fmt.Errorf("chunk is followed by %q", r.in)
		case r.inside:
			r.inside, r.in = false, r.in[2:]
		case bytes.HasPrefix(r.in, []byte("0\r\n")):
			return r.trailer()
		default:
			n, err := strconv.ParseUint(string(r.in[:end]), 16, 31)
			if err != nil || n == 0 {
				r.err = fmt.Errorf("chunk size %q", r.in[:end])
			}
			r.left, r.inside, r.in = int(n), true, r.in[end+2:]
		}
	}
	return false
}

func (r *simReader) trailer() (done bool) {
	if bytes.HasPrefix(r.in, []byte("0\r\n\r\n")) {
		r.in = r.in[5:]
		return true
	}
	end := bytes.Index(r.in, []byte("\r\n\r\n"))
	if end < 0 {
		return false
	}
	for _, l := range strings.Split(string(r.in[3:end]), "\r\n") {
		name, value, _ := strings.Cut(l, ": ")
		r.msg.fields[name] = value
	}
	r.in = r.in[end+4:]
	return true
}
