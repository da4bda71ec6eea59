package proxy

import (
	"bytes"
	"net/netip"
	"strconv"

	"arzur.net/lb/proxy/http1"
	"arzur.net/lb/rules"
)

// This file is the one home of hop-by-hop and forwarding fields. The order
// matters: what a client may not say is taken out first, what we say is added
// last, because a client can name our own fields in Connection.

// set is a set of http1.IDs.
type set uint64

func setOf(ids ...http1.ID) (s set) {
	for _, id := range ids {
		s |= 1 << id
	}
	return s
}

func (s set) has(id http1.ID) bool { return s&(1<<id) != 0 }

var (
	// hopByHop never travels (RFC 9110 section 7.6.1); Connection's own nominees
	// are marked in the Field. The framing fields are written anew.
	hopByHop = setOf(http1.IDConnection, http1.IDKeepAlive, http1.IDProxyConnection, http1.IDTE, http1.IDUpgrade,
		http1.IDTransferEncoding, http1.IDContentLength, http1.IDHTTP2Settings, http1.IDProxyAuthorization)

	// notForwarded is what of a request is never copied: the above, what is
	// written anew, and what only an attacker sends (Proxy becomes HTTP_PROXY in CGI).
	notForwarded = hopByHop | setOf(http1.IDHost, http1.IDExpect, http1.IDProxy, http1.IDAlias,
		http1.IDXForwardedFor, http1.IDXForwardedProto, http1.IDXForwardedPort, http1.IDXForwardedHost, http1.IDForwarded)

	// claims is what only a trusted proxy may say of a client.
	claims = setOf(http1.IDXForwardedOther, http1.IDXForwardedServer, http1.IDXRealIP)

	notReturned = hopByHop | setOf(http1.IDAlias)
)

// compose writes the request head as the Backend gets it into x.buf.
func (x *Exchange) compose(r *http1.Request) *failure {
	k := x.core
	rule := x.entry.Rule
	if x.pool == nil {
		return &failures[noRule] // a redirect by pattern that does not match this URL
	}
	var edited rules.Rewritten
	if x.entry.Rewrites() {
		ok := false
		k.edited = rule.AppendPath(k.edited[:0], k.match.Path)
		if edited, ok = x.entry.Rewrite(k.edited); !ok {
			return &failures[badPath]
		}
	}
	b := k.loop.Get(r.Head + 512)
	b = append(append(b, r.Method...), ' ')
	b = x.appendTarget(b, r, rule, edited.Path)
	b = append(b, " HTTP/1.1\r\n"...)
	b = x.appendHostField(b, r, rule)
	drop := notForwarded
	if !x.trusted {
		drop |= claims
	}
	if x.state.opts.RequestID {
		drop |= setOf(http1.IDXRequestID)
	}
	x.state.opts.dropCertFields(&r.Message)
	b = appendFields(b, &r.Message, drop, &rule.RequestHeaders)
	b = x.appendForwarding(b, r, x.trusted)
	b = x.client.appendClientCert(b, x.state.opts.ClientCert)
	if edited.Prefix != nil {
		b = append(append(append(b, "X-Forwarded-Prefix: "...), edited.Prefix...), "\r\n"...)
	}
	if edited.Replaced != nil {
		b = append(append(append(b, "X-Replaced-Path: "...), edited.Replaced...), "\r\n"...)
	}
	switch {
	case x.upgrade:
		b = append(b, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	case r.TrailersOK:
		b = append(b, "Connection: TE\r\nTE: trailers\r\n"...)
	}
	if x.expects {
		b = append(b, "Expect: 100-continue\r\n"...)
	}
	switch {
	case r.Chunked:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case r.ContentLength >= 0:
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), r.ContentLength, 10), "\r\n"...)
	}
	x.buf = append(appendEdits(b, &rule.RequestHeaders), "\r\n"...)
	x.replay = true
	x.core.budget(x.pool).earn(int64(x.state.opts.RetryBudget))
	return nil
}

// appendTarget writes the request target: as it came, unless the rule rewrites
// the path or the path had to be cleaned of dot segments to be matched. rewritten
// is the path after the rule's Rewrites, nil without them.
func (x *Exchange) appendTarget(b []byte, r *http1.Request, rule *rules.Rule, rewritten []byte) []byte {
	edits := rule.StripPrefix != "" || rule.AddPrefix != "" || rule.ReplacePath != "" || rewritten != nil || x.dots
	switch {
	case !edits || r.Path[0] != '/':
		return append(b, r.PathQuery...)
	case rewritten != nil:
		b = append(b, rewritten...)
	default:
		b = rule.AppendPath(b, x.core.match.Path)
	}
	if r.HasQuery {
		b = append(append(b, '?'), r.Query...)
	}
	return b
}

func (x *Exchange) appendHostField(b []byte, r *http1.Request, rule *rules.Rule) []byte {
	b = append(b, "Host: "...)
	host := ""
	for i := range rule.RequestHeaders.Set {
		if f := &rule.RequestHeaders.Set[i]; equalFold([]byte(f.Name), "host") {
			host = f.Value
		}
	}
	switch {
	case host != "":
		b = append(b, host...)
	case rule.ServerHost:
		x.hostAt = len(b) // filled in by each Attempt
	case r.Host != nil:
		b = append(b, r.Host...)
	default: // HTTP/1.0 without one: HTTP/1.1 wants it, so the service it is for stands there
		b = append(b, x.pool.Service.Name...)
	}
	return append(b, "\r\n"...)
}

// appendFields copies the field lines that are not dropped, in runs.
func appendFields(b []byte, m *http1.Message, drop set, edit *rules.HeaderEdit) []byte {
	run, end := uint32(0), uint32(0) // the lines waiting to be copied
	edits := len(edit.Remove) > 0 || len(edit.Set) > 0
	for i := range m.Fields {
		f := &m.Fields[i]
		if drop.has(f.ID) || f.Nominated || edits && replaced(m.Name(f), edit) {
			continue
		}
		if f.Start != end {
			b = append(b, m.Buf[run:end]...)
			run = f.Start
		}
		end = f.End
	}
	return append(b, m.Buf[run:end]...)
}

func replaced(name []byte, edit *rules.HeaderEdit) bool {
	for _, n := range edit.Remove {
		if equalFold(name, n) {
			return true
		}
	}
	for i := range edit.Set {
		if equalFold(name, edit.Set[i].Name) {
			return true
		}
	}
	return false
}

func appendEdits(b []byte, edit *rules.HeaderEdit) []byte {
	for i := range edit.Set {
		if f := &edit.Set[i]; !equalFold([]byte(f.Name), "host") {
			b = appendField(b, f.Name, f.Value)
		}
	}
	for i := range edit.Add {
		b = appendField(b, edit.Add[i].Name, edit.Add[i].Value)
	}
	return b
}

func appendField(b []byte, name, value string) []byte {
	b = append(append(b, name...), ": "...)
	return append(append(b, value...), "\r\n"...)
}

func equalFold(a []byte, b string) bool {
	return len(a) == len(b) && bytes.EqualFold(a, []byte(b))
}

// appendForwarding says who asked, how and where. Of what came in only a trusted
// peer's word is kept.
func (x *Exchange) appendForwarding(b []byte, r *http1.Request, trusted bool) []byte {
	peer := x.client.peer.Addr()
	b = append(b, "X-Forwarded-For: "...)
	if trusted {
		b = appendJoined(b, r, http1.IDXForwardedFor)
	}
	b = append(peer.AppendTo(b), "\r\n"...)
	if v := lastValue(r, http1.IDXForwardedProto); trusted && v != nil {
		b = append(append(append(b, "X-Forwarded-Proto: "...), v...), "\r\n"...)
	} else {
		b = append(append(append(b, "X-Forwarded-Proto: "...), x.client.scheme()...), "\r\n"...)
	}
	if v := lastValue(r, http1.IDXForwardedPort); trusted && v != nil {
		b = append(append(append(b, "X-Forwarded-Port: "...), v...), "\r\n"...)
	} else {
		b = append(b, x.state.portField...)
	}
	host := r.Host
	if v := lastValue(r, http1.IDXForwardedHost); trusted && v != nil {
		host = v
	}
	if host != nil {
		b = append(append(append(b, "X-Forwarded-Host: "...), host...), "\r\n"...)
	}
	if x.state.opts.Forwarded {
		b = x.appendForwarded(b, r, trusted, peer)
	}
	if x.state.opts.RequestID {
		b = append(append(append(b, "X-Request-Id: "...), x.requestID()...), "\r\n"...)
	}
	return b
}

// appendForwarded adds our element to Forwarded (RFC 7239).
func (x *Exchange) appendForwarded(b []byte, r *http1.Request, trusted bool, peer netip.Addr) []byte {
	b = append(b, "Forwarded: "...)
	if trusted {
		b = appendJoined(b, r, http1.IDForwarded)
	}
	b = append(b, "for="...)
	if peer.Is6() {
		b = append(peer.AppendTo(append(b, `"[`...)), `]"`...)
	} else {
		b = peer.AppendTo(b)
	}
	b = append(append(b, ";proto="...), x.client.scheme()...)
	if r.Host != nil {
		b = append(append(append(b, `;host="`...), r.Host...), '"')
	}
	return append(b, "\r\n"...)
}

// appendJoined writes all values of a list field, each with a comma behind it.
func appendJoined(b []byte, r *http1.Request, id http1.ID) []byte {
	if !r.Has(id) {
		return b
	}
	for i := range r.Fields {
		if f := &r.Fields[i]; f.ID == id && f.ValueEnd > f.ValueStart {
			b = append(append(b, r.FieldValue(f)...), ", "...)
		}
	}
	return b
}

func lastValue(r *http1.Request, id http1.ID) (v []byte) {
	if !r.Has(id) {
		return nil
	}
	for i := range r.Fields {
		if f := &r.Fields[i]; f.ID == id {
			v = r.FieldValue(f)
		}
	}
	return v
}
