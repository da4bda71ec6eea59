package proxy

import (
	"strconv"

	"arzur.net/lb/proxy/http1"
	"arzur.net/lb/rules"
)

// appendResponse writes the response head as the client gets it.
func (x *Exchange) appendResponse(b []byte, r *http1.Response) []byte {
	b = appendStatusLine(b, r)
	drop := notReturned
	if x.state.opts.RequestID {
		drop |= setOf(http1.IDXRequestID)
	}
	edit := &x.entry.Rule.ResponseHeaders
	b = appendFields(b, &r.Message, drop, edit)
	b = appendEdits(b, edit)
	if x.state.opts.RequestID {
		b = append(append(append(b, "X-Request-Id: "...), x.requestID()...), "\r\n"...)
	}
	b = x.appendFraming(b, r)
	return append(x.appendConnection(b), "\r\n"...)
}

// appendFraming writes how the body ends. The answer to HEAD and a 304 say what
// a GET would have had (RFC 9110 section 8.6).
func (x *Exchange) appendFraming(b []byte, r *http1.Response) []byte {
	switch {
	case r.Status == 204 || r.Status < 200:
	case r.ContentLength >= 0:
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), r.ContentLength, 10), "\r\n"...)
	case x.respMode == bodyNone && !r.Chunked, x.oldClient:
	case r.Chunked || x.rechunk:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	return b
}

// appendConnection says whether the connection lives on, where that is not what
// the client's version implies.
func (x *Exchange) appendConnection(b []byte) []byte {
	switch {
	case x.client.last && !x.oldClient:
		b = append(b, "Connection: close\r\n"...)
	case x.keptAlive && !x.client.last:
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	return b
}

func appendStatusLine(b []byte, r *http1.Response) []byte {
	return appendStatus(b, r.Status, r.Reason)
}

func appendStatus[T []byte | string](b []byte, code int, reason T) []byte {
	b = strconv.AppendInt(append(b, "HTTP/1.1 "...), int64(code), 10)
	b = append(append(b, ' '), reason...)
	return append(b, "\r\n"...)
}

// appendInterim writes a 1xx response.
func appendInterim(b []byte, r *http1.Response) []byte {
	b = appendStatusLine(b, r)
	b = appendFields(b, &r.Message, notReturned, &rules.HeaderEdit{})
	return append(b, "\r\n"...)
}
