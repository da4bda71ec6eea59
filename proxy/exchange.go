package proxy

import (
	"arzur.net/lb/health"
	"arzur.net/lb/proxy/http1"
	"arzur.net/lb/rules"
)

// stage is how far an Exchange has come.
type stage uint8

const (
	stageQueued  stage = iota // waits for a place on a Backend
	stageConnect              // waits for a connection to a Backend
	stageSend                 // the request is on its way, no response yet
	stageRespond              // the response is on its way
	stageTunnel               // upgraded
	stageFlush                // all is decided; the client has yet to take the rest
	stageDone
)

// bodyMode is how the end of a body is known.
type bodyMode uint8

const (
	bodyNone   bodyMode = iota
	bodyLength          // counted down
	bodyChunks          // by its own framing
	bodyClose           // with the connection (responses only)
)

// maxTries bounds the Attempts of one Exchange whatever the options say.
const maxTries = 8

// Exchange is one request and its response, from first byte to last. The story
// goes: start (match, edit) -> attempt (pick, connect) -> send -> respond ->
// settle. Everything that is about one request lives here, never on a
// connection, a Target or the Table.
type Exchange struct {
	core   *core
	client *client
	state  *portState
	entry  *rules.Entry
	pool   *rules.Pool
	target *rules.Target
	up     *upstream

	// The request.
	buf       []byte // head as sent, and the body while it can be sent again
	sent      int    // bytes of buf that the present connection took
	hostAt    int    // where in buf the server's own address goes, 0: nowhere
	hostLen   int    // of the one that stands there
	reqMode   bodyMode
	reqLeft   int64
	reqChunks http1.Chunks
	reqBytes  int64
	reqSplice *splicer // moves the rest of the body, if it is long

	// The response.
	status     int
	respMode   bodyMode
	respLeft   int64
	respChunks http1.Chunks
	respBytes  int64
	interims   int
	splice     *splicer // moves the rest of the body, if it is long

	tried    [maxTries]*health.Backend
	ntried   int
	repeats  int // Attempts after one that may have reached a Backend
	attempts int
	failed   *failure // what went wrong last
	detail   string   // more about it, for the log

	question *question  // of a challenge, unanswered yet; nil: none
	heldFrom int64      // since when it has been held, 0: never
	known    *portState // whose Table it has looked at for a Target, once held

	began, taken, connected, sentAt, answered int64 // Loop.Now; taken is when the last Attempt began
	giveUp                                    int64 // total timeout, 0: none

	stage      stage
	stream     bool // carries bytes as they come, see stream.go
	accept     accept
	method     methodKind
	oldClient  bool // HTTP/1.0
	keptAlive  bool // HTTP/1.0 with keep-alive: wants to be told
	upgrade    bool // asked for a websocket
	expects    bool // Expect: 100-continue
	replay     bool // buf is all that was sent so far
	reqDone    bool // the request body has been read
	held       bool // stageQueued: waits for a Target that can be asked
	claimed    bool // holds a place on target's Backend
	reused     bool // the last Attempt went over an idle connection
	fresh      bool // do not use an idle connection for the next Attempt
	rechunk    bool // until-close response for a client that gets chunks
	getMethod  bool // redirects tell GET from others
	redirected bool // buf holds a Location
	dots       bool // the path had dot segments; the clean one is sent on
	trusted    bool // the peer's word on forwarding is believed
	reusable   bool // the upstream connection may serve again, as far as the response says
	upEnded    bool // tunnel: the client sends nothing more
	downEnded  bool // tunnel: the Backend sends nothing more
	downShut   bool // tunnel: and the client has been told
	asks       bool // tunnel: it was silent, and both sides have TCP's keep-alive since

	id    [maxID]byte // request id, once there is one
	idLen uint8
	note  []byte // what the access log wants of the request head
}

// start takes the request that the core has just parsed from data, up to its
// first Attempt or its answer. data is only valid during the call.
func (x *Exchange) start(c *client, state *portState, data []byte) {
	k := c.core
	r := &k.req
	x.core, x.client, x.state = k, c, state
	x.began = k.loop.Now()
	if t := state.opts.TotalTimeout; t > 0 {
		x.giveUp = x.began + int64(t)
	}
	x.method = kindOf(r.Method)
	x.oldClient = r.Minor == 0
	x.keptAlive = x.oldClient && r.KeepAlive
	x.expects = r.Expect100
	x.upgrade = r.Websocket
	x.accept = accepts(r)
	x.trusted = state.opts.trusts(c.peer.Addr())
	x.takeID(r)
	k.noteRequest(x)
	x.frame(r)

	fail := x.route(r)
	switch {
	case fail != nil:
	case x.redirects(r):
	default:
		fail = x.compose(r)
	}
	asked := x.questionOf(r)
	n, bad := x.takeBody(data[r.Head:])
	if bad != nil && fail == nil {
		fail = bad
	}
	c.keep(data[r.Head+n:])
	if c.in != nil && r.Has(http1.IDUpgrade) {
		c.last = true // what follows may be in the protocol that was asked for, and never a request
	}
	if asked != nil {
		asked.fail = fail
		x.ask(asked)
		return
	}
	x.proceed(fail)
}

// proceed answers a request that has been looked at, or has a server answer it.
func (x *Exchange) proceed(fail *failure) {
	switch {
	case fail != nil:
		x.fail(fail, "")
	case x.redirected:
		x.redirect()
	default:
		x.attempt()
	}
}

// route finds the Entry.
func (x *Exchange) route(r *http1.Request) *failure {
	k := x.core
	m := &k.match
	m.Method, m.Query, m.Client = r.Method, r.Query, x.client.peer.Addr()
	m.Host = rules.NormalizeHost(k.host[:0], r.Host)
	m.Path, x.dots = rules.CleanPath(k.path, r.Path)
	if &m.Path[0] != &r.Path[0] {
		k.path = m.Path // decoded into our scratch, which may have grown
	}
	if x.client.misdirected(m.Host) {
		return &failures[misdirected]
	}
	if x.state.table != nil {
		x.entry = x.state.table.Lookup(m)
	}
	if x.entry == nil {
		return &failures[noRule]
	}
	x.pool = x.entry.Pool
	if why := x.entry.Rule.Refuse; why != "" {
		return &failure{failures[refused].status, failures[refused].word, why}
	}
	if max := x.state.opts.MaxBody; max > 0 && r.ContentLength > max {
		return &failures[bodyTooLarge]
	}
	return nil
}

// frame notes how the request body ends.
func (x *Exchange) frame(r *http1.Request) {
	switch {
	case r.Chunked:
		x.reqMode = bodyChunks
		mode := http1.KeepFraming
		if x.state.opts.ClientCert != (ClientCertFields{}) {
			// A server that takes trailer fields for those of the head would believe
			// what a client says of its own certificate there.
			mode = http1.DropTrailer
		}
		x.reqChunks.Reset(mode, maxTrailer)
	case r.ContentLength > 0:
		x.reqMode, x.reqLeft = bodyLength, r.ContentLength
	default:
		x.reqDone = true
	}
}

// maxTrailer bounds a trailer section, in bytes.
const maxTrailer = 8 << 10

// takeBody reads body bytes that arrived together with the head.
func (x *Exchange) takeBody(p []byte) (int, *failure) {
	taken := 0
	for !x.reqDone && taken < len(p) {
		span, n, fail := x.bodySpan(p[taken:])
		if fail != nil {
			return taken, fail
		}
		taken += n
		if x.buf != nil && !x.redirected { // a Location is nothing to send a body with
			x.buf = grow(x.core.loop, x.buf, len(span))
			x.buf = append(x.buf, span...)
		}
	}
	return taken, nil
}

// bodySpan takes the next piece of the request body from p: what to pass on and
// how much of p it was.
func (x *Exchange) bodySpan(p []byte) (span []byte, n int, fail *failure) {
	if x.reqMode == bodyLength {
		n = int(min(int64(len(p)), x.reqLeft))
		x.reqLeft -= int64(n)
		x.reqDone = x.reqLeft == 0
		x.reqBytes += int64(n)
		return p[:n], n, nil
	}
	before := x.reqChunks.Data()
	span, n, done, rej := x.reqChunks.Next(p)
	x.reqDone = done
	if rej != nil {
		return nil, 0, &failure{rej.Status, failures[badBody].word, rej.Reason}
	}
	x.reqBytes += x.reqChunks.Data() - before
	if max := x.state.opts.MaxBody; max > 0 && x.reqChunks.Data() > max {
		x.reqDone = false // nothing behind it is taken for a request
		return nil, 0, &failures[bodyTooLarge]
	}
	return span, n, nil
}
