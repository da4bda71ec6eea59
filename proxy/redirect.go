package proxy

import (
	"bytes"
	"strconv"

	"arzur.net/lb/proxy/http1"
	"arzur.net/lb/rules"
)

// redirects composes the Location in buf if the rule redirects this request.
func (x *Exchange) redirects(r *http1.Request) bool {
	to := x.entry.Rule.Redirect
	if to == nil {
		return false
	}
	l := x.core.loop
	if to.Pattern == "" {
		x.buf = appendRedirect(l.Get(1024), to, r, x.scheme(r))
	} else {
		url := append(append(append(append(l.Get(1024), x.scheme(r)...), "://"...), r.Host...), r.PathQuery...)
		location := x.entry.RedirectURL(url)
		if location == nil {
			l.Put(url)
			return false
		}
		x.buf = append(url[:0], location...)
	}
	x.getMethod = string(r.Method) == "GET"
	x.redirected = true
	return true
}

// scheme is the one that the client used: a trusted proxy in front may have
// taken TLS off.
func (x *Exchange) scheme(r *http1.Request) string {
	if x.trusted && string(lastValue(r, http1.IDXForwardedProto)) == "https" {
		return "https"
	}
	return x.client.scheme()
}

// redirect sends the answer that start has composed in buf.
func (x *Exchange) redirect() {
	x.status = x.entry.Rule.Redirect.Status(x.method == methodHead || x.getMethod)
	if !x.reqDone {
		x.client.last, x.client.linger = true, true
	}
	out := appendStatus(x.core.loop.Out(), x.status, http1.StatusText(x.status))
	out = append(out, "Location: "...)
	out = append(out, x.buf...)
	out = append(out, "\r\nContent-Length: 0\r\n"...)
	out = x.appendConnection(out)
	out = append(out, "\r\n"...)
	if x.client.put(out, nil) {
		x.flush()
	}
}

// appendRedirect composes the Location: what the rule names is replaced, the rest
// stays as the client asked.
func appendRedirect(dst []byte, to *rules.Redirect, r *http1.Request, scheme string) []byte {
	if to.Scheme != "" {
		scheme = to.Scheme
	}
	dst = append(append(dst, scheme...), "://"...)
	host, hostPort := splitHost(r.Host)
	if to.Host != "" {
		dst = append(dst, to.Host...)
	} else {
		dst = append(dst, host...)
	}
	switch {
	case to.Port != 0:
		if to.Port != defaultPort(scheme) {
			dst = strconv.AppendInt(append(dst, ':'), int64(to.Port), 10)
		}
	case to.Scheme == "" && to.Host == "" && len(hostPort) > 0:
		dst = append(append(dst, ':'), hostPort...)
	}
	if to.Path != "" {
		dst = append(dst, to.Path...)
	} else {
		dst = append(dst, r.Path...)
	}
	if r.HasQuery {
		dst = append(append(dst, '?'), r.Query...)
	}
	return dst
}

func defaultPort(scheme string) uint16 {
	if scheme == "https" {
		return 443
	}
	return 80
}

// splitHost cuts a valid Host into name (brackets kept) and port.
func splitHost(h []byte) (name, port []byte) {
	if i := bytes.LastIndexByte(h, ':'); i >= 0 && bytes.IndexByte(h[i:], ']') < 0 {
		return h[:i], h[i+1:]
	}
	return h, nil
}
