package proxy

import (
	"bytes"
	"strconv"

	"arzur.net/lb/health"
	"arzur.net/lb/proxy/http1"
)

// accept is the kind of error body that a client asked for.
type accept uint8

const (
	acceptText accept = iota
	acceptHTML
	acceptJSON
)

// accepts reads Accept only as far as needed: the first of html and json that it
// names wins, anything else gets plain text.
func accepts(r *http1.Request) accept {
	for i := range r.Fields {
		f := &r.Fields[i]
		if f.ID != http1.IDAccept {
			continue
		}
		v := r.FieldValue(f)
		html, json := bytes.Index(v, []byte("text/html")), bytes.Index(v, []byte("application/json"))
		switch {
		case html >= 0 && (json < 0 || html < json):
			return acceptHTML
		case json >= 0:
			return acceptJSON
		}
	}
	return acceptText
}

// fail answers with an error of our own, or, when a response has begun, cuts it.
func (x *Exchange) fail(f *failure, detail string) {
	c := x.client
	x.dropUpstream()
	x.settleBackend(health.Unjudged)
	x.failed, x.detail = f, detail
	switch {
	case f.status == failures[clientGone].status:
		x.status = f.status
		c.gone()
		return
	case x.stream:
		x.status = f.status
		x.cut(f, detail)
		return
	case x.stage == stageRespond || x.stage == stageFlush || x.stage == stageTunnel:
		x.cut(f, detail)
		return
	}
	if !x.reqDone {
		c.last, c.linger = true, true
	}
	x.status = f.status
	out := appendError(x.core.loop.Out(), f, x)
	if c.put(out, nil) {
		x.flush()
	}
}

// refuse answers a message that never became an Exchange, and closes.
func (c *client) refuse(f *failure, _ []byte) {
	k := c.core
	x := k.newExchange()
	x.core, x.client, x.state = k, c, c.lst.state.Load()
	x.began = k.loop.Now()
	c.x, c.phase = x, phaseExchange
	c.last, c.linger = true, true
	c.keep(nil)
	k.noteRefused(x)
	x.reqDone = true
	x.fail(f, "")
}

// appendError composes an error answer: short, with the reason and the request id.
func appendError(dst []byte, f *failure, x *Exchange) []byte {
	page, own := x.state.opts.ErrorPages[f.status]
	if !own {
		page = errorBody(f, x)
	}
	dst = appendStatus(dst, f.status, http1.StatusText(f.status))
	dst = append(dst, "Content-Type: "...)
	dst = append(dst, page.ContentType...)
	dst = append(dst, "\r\nX-Request-Id: "...)
	dst = append(dst, x.requestID()...)
	if f.status == 503 {
		dst = append(dst, "\r\nRetry-After: 1"...)
	}
	if f.status == 405 {
		dst = append(dst, "\r\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"...)
	}
	dst = append(dst, "\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(page.Body)), 10)
	dst = x.appendConnection(append(dst, "\r\n"...))
	dst = append(dst, "\r\n"...)
	if x.method != methodHead {
		dst = append(dst, page.Body...)
		x.respBytes = int64(len(page.Body))
	}
	return dst
}

func errorBody(f *failure, x *Exchange) ErrorPage {
	status, text, id := strconv.Itoa(f.status), f.text, string(x.requestID())
	title := status + " " + http1.StatusText(f.status)
	switch x.accept {
	case acceptHTML:
		return ErrorPage{"text/html; charset=utf-8", []byte("<!doctype html><title>" + title + "</title>\n<h1>" + title + "</h1>\n<p>" + text + "</p>\n<p><small>request " + id + "</small></p>\n")}
	case acceptJSON:
		return ErrorPage{"application/json", []byte(`{"status":` + status + `,"error":"` + f.word + `","reason":"` + text + `","request_id":"` + id + "\"}\n")}
	}
	return ErrorPage{"text/plain; charset=utf-8", []byte(title + ": " + text + "\nrequest " + id + "\n")}
}
