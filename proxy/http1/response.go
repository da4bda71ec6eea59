package http1

// Response is a response head. The zero value is ready for Parse.
type Response struct {
	Message

	Status int    // 100 to 999
	Reason []byte // as sent, may be empty

	NoBody           bool // 1xx, 204, 304 or the answer to HEAD: the next message starts behind the head
	BodyForbidden    bool // a 204 that announces content all the same: do not trust the connection any further
	UntilClose       bool // content ends with the connection
	UpgradeWebsocket bool // 101 with Connection: upgrade and Upgrade: websocket
}

// Parse reads one response head from the start of buf, as Request.Parse does.
// method is the request's: the answer to HEAD has no content. Every Reject has
// status 502. Whether a 1xx was asked for is the caller's business.
func (r *Response) Parse(buf, method []byte, lim *Limits) (bool, *Reject) {
	limits := lim.filled()
	full := len(buf) >= limits.Head
	if full {
		buf = buf[:limits.Head]
	}
	*r = Response{Message: Message{Buf: buf, Fields: r.Fields[:0], ContentLength: -1}}
	end, rej := r.parse(limits.Fields)
	if rej == nil && end > 0 {
		rej = r.finish(string(method) == "HEAD")
	}
	switch {
	case rej != nil:
		return false, rej.gateway
	case end > 0:
		r.Head = end
		return true, nil
	case full:
		return false, rejectHeadSize.gateway
	}
	return false, nil
}

// parse returns the end of the head, 0 when there are too few bytes.
func (r *Response) parse(maxFields int) (int, *Reject) {
	p, rej := r.line()
	if p == 0 {
		return 0, rej
	}
	for b := r.Buf; p < len(b); {
		if b[p] == '\r' || b[p] == '\n' {
			return lineEnd(b, p, nil)
		}
		if p, rej = r.field(p, maxFields); p == 0 {
			return 0, rej
		}
		f := &r.Fields[len(r.Fields)-1]
		switch f.ID {
		case IDContentLength:
			rej = r.length(r.FieldValue(f), true)
		case IDTransferEncoding:
			rej = r.coding(r.FieldValue(f))
		}
		if rej != nil {
			return 0, rej
		}
		r.seen |= 1 << f.ID
	}
	return 0, nil
}

// line reads the status line and returns where the fields start, 0 when it is
// not complete.
func (r *Response) line() (int, *Reject) {
	const form = "HTTP/1.m sss"
	b := r.Buf
	for i := range len(form) {
		if i == len(b) {
			return 0, nil
		}
		isDigit := chars[b[i]]&digitChar != 0
		switch {
		case form[i] == 'm' && isDigit:
			r.Minor = min(int(b[i]-'0'), 1)
		case form[i] == 's' && isDigit:
			r.Status = r.Status*10 + int(b[i]-'0')
		case b[i] != form[i] || form[i] == 'm' || form[i] == 's':
			return 0, rejectStatusLine
		}
	}
	if r.Status < 100 {
		return 0, rejectStatusLine
	}
	// Backends that leave out the reason tend to leave out its space too.
	i := len(form)
	if i < len(b) && b[i] == ' ' {
		i = valueEnd(b, i+1)
		r.Reason = b[len(form)+1 : i : i]
	}
	return lineEnd(b, i, rejectStatusLine)
}

// finish derives the framing (RFC 9112 6.3).
func (r *Response) finish(head bool) *Reject {
	framed := r.Chunked || r.ContentLength >= 0
	interim := r.Status < 200
	if interim && framed {
		return rejectInterim
	}
	if rej := r.connection(); rej != nil {
		return rej
	}
	r.NoBody = interim || head || r.Status == 204 || r.Status == 304
	r.BodyForbidden = r.Status == 204 && framed
	if !r.NoBody && !framed {
		r.UntilClose, r.KeepAlive = true, false
	}
	// A server picks one protocol (RFC 6455 4.1), so no list here.
	if r.Status == 101 && r.options&optUpgrade != 0 {
		value, _ := r.Value("upgrade", 0)
		_, two := r.Value("upgrade", 1)
		r.UpgradeWebsocket = equalFold(value, "websocket") && !two
	}
	return nil
}
