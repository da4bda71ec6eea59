package http1

// maxMethod is above the longest registered method, UPDATEREDIRECTREF.
const maxMethod = 32

// maxBlank is how many empty lines may come before a request line; clients
// that send one after a body exist (RFC 9112 2.2).
const maxBlank = 2

// Request is a request head. The zero value is ready for Parse.
type Request struct {
	Message

	Method    []byte
	Target    []byte // the request target as sent
	Path      []byte // as sent, without query; "*" or "/" where the target has none
	Query     []byte // as sent, without "?"; nil if there is none
	PathQuery []byte // the target in origin form (or "*"), as it is to be forwarded
	Host      []byte // as sent, with its port if any; nil only in HTTP/1.0
	HasQuery  bool   // there is a "?", if only with nothing behind it

	Expect100  bool // the client waits for 100 before it sends its body
	Websocket  bool // a websocket handshake: GET, HTTP/1.1, no body
	TrailersOK bool // TE: trailers

	authority []byte // of an absolute-form target
	rewritten []byte // backs PathQuery where it is not in Buf
}

// Parse reads one request head from the start of buf. It returns true with r
// filled in, false when more bytes are needed, or a Reject. What it fills in
// aliases buf, except that PathQuery may be memory of r. Bytes that can never
// become a valid request are refused as soon as they are seen, and a prefix
// of a head is never refused for another reason than the whole.
func (r *Request) Parse(buf []byte, lim *Limits) (bool, *Reject) {
	limits := lim.filled()
	full := len(buf) >= limits.Head
	if full {
		buf = buf[:limits.Head]
	}
	*r = Request{
		Message:   Message{Buf: buf, Fields: r.Fields[:0], ContentLength: -1},
		rewritten: r.rewritten,
	}
	end, rej := r.parse(&limits)
	switch {
	case rej != nil:
		return false, rej
	case end > 0:
		r.Head = end
		return true, nil
	case full:
		return false, rejectHeadSize
	}
	return false, nil
}

// HasBody reports whether content follows the head.
func (r *Request) HasBody() bool { return r.Chunked || r.ContentLength > 0 }

// parse returns the end of the head, 0 when there are too few bytes.
func (r *Request) parse(lim *Limits) (int, *Reject) {
	p, rej := r.line(lim.Target)
	if p == 0 || rej != nil {
		return 0, rej
	}
	for b := r.Buf; p < len(b); {
		if b[p] == '\r' || b[p] == '\n' {
			if p, rej = lineEnd(b, p, nil); p == 0 {
				return 0, rej
			}
			return p, r.finish()
		}
		if p, rej = r.field(p, lim.Fields); p == 0 {
			return 0, rej
		}
		f := &r.Fields[len(r.Fields)-1]
		if rej = r.take(f); rej != nil {
			return 0, rej
		}
		r.seen |= 1 << f.ID
	}
	return 0, nil
}

// line reads the request line and returns where the fields start, 0 when it is
// not complete.
func (r *Request) line(maxTarget int) (int, *Reject) {
	b, p := r.Buf, 0
	for blanks := 0; p < len(b) && (b[p] == '\r' || b[p] == '\n'); blanks++ {
		if blanks == maxBlank {
			return 0, rejectBlank
		}
		var rej *Reject
		if p, rej = lineEnd(b, p, nil); p == 0 {
			return 0, rej
		}
	}
	i := p
	for ; i < len(b) && chars[b[i]]&tchar != 0; i++ {
		if i-p == maxMethod {
			return 0, rejectLong
		}
	}
	switch {
	case i == len(b):
		return 0, nil
	case i == p || b[i] != ' ':
		return 0, rejectMethod
	}
	r.Method = b[p:i:i]
	if string(r.Method) == "CONNECT" {
		return 0, rejectConnect
	}
	i++
	for p = i; i < len(b) && chars[b[i]]&targetChar != 0; i++ {
	}
	switch {
	case i-p > maxTarget:
		return 0, rejectTargetSize
	case i == len(b):
		return 0, nil
	case i == p || b[i] != ' ':
		return 0, rejectTarget
	}
	r.Target = b[p:i:i]
	return r.version(i + 1)
}

// version reads the protocol version at p, the end of the request line.
func (r *Request) version(p int) (int, *Reject) {
	const version = "HTTP/1."
	b := r.Buf
	for i := range len(version) {
		switch {
		case p+i == len(b):
			return 0, nil
		case b[p+i] == version[i]:
		case i == len("HTTP/") && chars[b[p+i]]&digitChar != 0:
			return 0, rejectMajor
		default:
			return 0, rejectVersion
		}
	}
	p += len(version)
	switch {
	case p == len(b):
		return 0, nil
	case chars[b[p]]&digitChar == 0:
		return 0, rejectVersion
	case b[p] != '0':
		r.Minor = 1
	}
	next, rej := lineEnd(b, p+1, rejectVersion)
	if next > 0 {
		rej = r.splitTarget()
	}
	return next, rej
}

// take looks at a field as soon as its line is complete.
func (r *Request) take(f *Field) *Reject {
	switch f.ID {
	case IDHost:
		if r.Has(IDHost) {
			return rejectTwoHosts
		}
		return r.takeHost(r.FieldValue(f))
	case IDContentLength:
		return r.length(r.FieldValue(f), false)
	case IDTransferEncoding:
		return r.coding(r.FieldValue(f))
	case IDExpect:
		if r.Has(IDExpect) || !equalFold(r.FieldValue(f), "100-continue") {
			return rejectExpect
		}
	}
	return nil
}

// finish draws the conclusions that need the whole head.
func (r *Request) finish() *Reject {
	if r.Host == nil && r.Minor > 0 || r.authority != nil && r.Minor > 0 && !r.Has(IDHost) {
		return rejectNoHost
	}
	if rej := r.connection(); rej != nil {
		return rej
	}
	// An expectation in HTTP/1.0 is to be ignored (RFC 9110 10.1.1).
	r.Expect100 = r.Has(IDExpect) && r.Minor > 0 && r.HasBody()
	r.TrailersOK = r.Has(IDTE) && r.lists(IDTE, "trailers")
	r.Websocket = r.Has(IDUpgrade) && r.options&optUpgrade != 0 && r.Minor > 0 && !r.HasBody() &&
		string(r.Method) == "GET" && r.lists(IDUpgrade, "websocket")
	return nil
}
