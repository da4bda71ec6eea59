package http1

import (
	"bytes"
	"fmt"
	"strings"
)

// message is a parsed message as plain values, so that two can be compared.
type message struct {
	start         string // start line as it is to be forwarded
	host          string
	fields        []string // "id/nominated name: value"
	contentLength int64
	chunked       bool
	keepAlive     bool
	flags         string
	body          string
	trailers      string
}

// outcome is what became of a stream of requests.
type outcome struct {
	messages []message
	rej      *Reject
	rest     string // what did not suffice for one more head or body
}

// readRequests feeds raw in pieces of at most size bytes and takes in requests
// as a server does, until the bytes end or one is refused.
func readRequests(raw []byte, size int) outcome {
	var o outcome
	s := stream{raw: raw, size: size}
	var r Request
	for s.more() {
		ok, rej := r.Parse(s.buf, nil)
		if rej != nil {
			o.rej = rej
			return o
		}
		if !ok {
			continue
		}
		m := requestMessage(&r)
		s.buf = s.buf[r.Head:]
		if m.body, m.trailers, ok, rej = s.body(&r.Message); rej != nil || !ok {
			o.rej = rej
			o.rest = m.body
			return o
		}
		o.messages = append(o.messages, m)
		s.again = true
	}
	o.rest = string(s.buf)
	return o
}

type stream struct {
	raw, buf []byte
	size     int
	again    bool // look at buf before more comes
}

func (s *stream) more() bool {
	if s.again {
		s.again = false
		if len(s.buf) > 0 {
			return true
		}
	}
	n := min(s.size, len(s.raw))
	s.buf = append(bytes.Clone(s.buf), s.raw[:n]...)
	s.raw = s.raw[n:]
	return n > 0
}

// body reads the content that follows the head. What Chunks forwards is read
// back by the simplest possible reader.
func (s *stream) body(m *Message) (body, trailers string, ok bool, rej *Reject) {
	if !m.Chunked {
		n := int(max(m.ContentLength, 0))
		for len(s.buf) < n && s.more() {
		}
		if len(s.buf) < n {
			return string(s.buf), "", false, nil
		}
		body, s.buf = string(s.buf[:n]), s.buf[n:]
		return body, "", true, nil
	}
	var out []byte
	var c Chunks
	s.again = true
	for s.more() {
		for len(s.buf) > 0 {
			span, n, done, rej := c.Next(s.buf)
			if rej != nil {
				return "", "", false, rej
			}
			out = append(out, span...)
			s.buf = s.buf[n:]
			if done {
				body, trailers = unchunk(string(out))
				return body, trailers, true, nil
			}
		}
	}
	return "", "", false, nil
}

// unchunk decodes a chunked body that must be as Chunks forwards it.
func unchunk(s string) (body, trailers string) {
	for {
		line, rest, ok := strings.Cut(s, "\r\n")
		var n int
		if _, err := fmt.Sscanf(line, "%x", &n); err != nil || !ok || strings.ContainsAny(line, "; \t") {
			panic("forwarded size line " + line)
		}
		if n == 0 {
			trailers, ok = strings.CutSuffix(rest, "\r\n")
			if !ok {
				panic("forwarded end " + rest)
			}
			return body, trailers
		}
		if rest[n:n+2] != "\r\n" {
			panic("forwarded chunk " + line)
		}
		body, s = body+rest[:n], rest[n+2:]
	}
}

func requestMessage(r *Request) message {
	m := plain(&r.Message)
	m.start = fmt.Sprintf("%s %s HTTP/1.%d", r.Method, r.PathQuery, r.Minor)
	m.host = string(r.Host)
	m.flags = fmt.Sprint(r.Expect100, r.Websocket, r.TrailersOK)
	return m
}

func responseMessage(r *Response) message {
	m := plain(&r.Message)
	m.start = fmt.Sprintf("HTTP/1.%d %d %s", r.Minor, r.Status, r.Reason)
	m.flags = fmt.Sprint(r.NoBody, r.BodyForbidden, r.UntilClose, r.UpgradeWebsocket)
	return m
}

func plain(m *Message) message {
	o := message{contentLength: m.ContentLength, chunked: m.Chunked, keepAlive: m.KeepAlive}
	for i := range m.Fields {
		f := &m.Fields[i]
		o.fields = append(o.fields, fmt.Sprintf("%d/%t %s: %s", f.ID, f.Nominated, m.Name(f), m.FieldValue(f)))
	}
	return o
}

// rebuild writes a head anew from what was parsed.
func rebuild(start string, m *Message) []byte {
	b := append([]byte(start), "\r\n"...)
	for i := range m.Fields {
		f := &m.Fields[i]
		b = append(b, m.Buf[f.Start:f.End]...)
	}
	return append(b, "\r\n"...)
}
