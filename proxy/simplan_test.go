package proxy

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// simFate is what a backend does to a request instead of answering it.
type simFate uint8

const (
	fateNone     simFate = iota
	fateReset            // breaks the connection when the head has come
	fateClose            // closes it
	fateTruncate         // says part of the answer, then breaks the connection
	fateNonsense         // is not speaking HTTP
	fateBadChunk         // spoils the framing of the body
	fateGarbage          // answers, and says more than that
	fateSilence          // never answers
	fateInterims         // 1xx without end
	fateBigHead          // a head beyond all limits
	fates
)

// simPlan is one request: what its client sends, what a backend answers, and
// what has become of it. Its id travels as the path.
type simPlan struct {
	id     int
	method string
	old    bool // HTTP/1.0
	expect bool // 100-continue
	tunnel bool // websocket: up and down are its two streams
	last   bool // Connection: close
	bad    bool // raw is not a valid request
	head   string
	raw    string // the body as it is framed
	up     string // the body
	mode   bodyMode

	status   int
	down     string
	downMode bodyMode
	interims int
	pause    int64 // before the answer
	early    bool  // answers without waiting for the body
	closes   bool  // ends the connection after the answer
	fate     simFate
	fateful  int // how many Attempts meet the fate

	sentAt   int64 // when the client began to send, 0: never
	hits     int   // heads that reached a backend
	whole    int   // requests that reached one completely
	said     []bool
	answered bool
}

// idempotent is RFC 9110 section 9.2.2, once more.
func (p *simPlan) idempotent() bool { return p.method != "POST" && p.method != "PATCH" }

func (p *simPlan) bodiless() bool { return p.method == "HEAD" }

// answer is the response body for the given hit: no two are alike.
func (p *simPlan) answer(hit int) string { return fmt.Sprintf("%d/%d:%s", p.id, hit, p.down) }

const letters = "abcdefghijklmnopqrstuvwxyz0123456789"

// simText is n bytes in which a lost or repeated byte shows.
func simText(id, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[(i+i/len(letters)+i/1000*7+id)%len(letters)]
	}
	return string(b)
}

// size draws the length of a body.
func (w *simWorld) size() int {
	narrow := w.Window // what travels at once
	for _, max := range []int{w.MaxRead, w.MaxWrite} {
		if max > 0 {
			narrow = min(narrow, max)
		}
	}
	switch n := w.rng.IntN(20); {
	case n < 4:
		return 0
	case n < 14 || narrow < 100:
		return w.rng.IntN(300)
	case n < 19 || narrow < 4096:
		return w.rng.IntN(5000)
	}
	return w.rng.IntN(700 << 10) // beyond spliceMin
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func (w *simWorld) newPlan() *simPlan {
	r := w.rng
	p := &simPlan{
		id:     len(w.plans),
		method: pick(r, "GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE", "PATCH"),
		status: pick(r, 200, 200, 200, 201, 204, 304, 404, 500),
		closes: r.IntN(6) == 0,
		pause:  r.Int64N(50e6),
	}
	w.plans = append(w.plans, p)
	p.down = simText(p.id, w.size())
	p.downMode = pick(r, bodyLength, bodyChunks, bodyClose)
	if r.IntN(10) == 0 {
		p.interims = 1 + r.IntN(3)
	}
	if w.level == faultsAll && r.IntN(3) == 0 {
		p.fate, p.fateful = simFate(r.IntN(int(fates))), 1+r.IntN(3)
	}
	if w.level == faultsAll && r.IntN(15) == 0 {
		p.bad, p.last = true, true
		p.method = "GET"
		p.head = pick(r,
			"GET /%d HTTP/1.1\r\n\r\n",
			"GET /%d HTTP/9.9\r\nHost: x\r\n\r\n",
			"\x00\x01%d\r\n\r\n",
			"GET /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
			"GET /%d HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 70<<10)+"\r\n\r\n",
			"GET /%d HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
		)
		p.head = fmt.Sprintf(p.head, p.id)
		return p
	}
	switch r.IntN(12) {
	case 0:
		p.tunnel, p.last, p.method = true, true, "GET"
		p.up = simText(p.id+1, w.size())
	case 1, 2:
		p.old, p.last = true, true
	}
	w.composeHead(p)
	return p
}

// composeHead writes the request.
func (w *simWorld) composeHead(p *simPlan) {
	r := w.rng
	h := fmt.Sprintf("%s /%d HTTP/1.%d\r\nHost: x.test\r\n", p.method, p.id, map[bool]int{true: 0, false: 1}[p.old])
	for i := range r.IntN(4) {
		h += fmt.Sprintf("X-%d: %s\r\n", i, simText(i, r.IntN(60)))
	}
	if p.tunnel {
		p.head = h + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
		return
	}
	if p.last && !p.old {
		h += "Connection: close\r\n"
	}
	if p.method == "POST" || p.method == "PUT" || p.method == "PATCH" {
		p.up = simText(p.id+2, w.size())
		p.early = p.last && r.IntN(4) == 0
		p.expect = p.last && !p.old && r.IntN(3) == 0
		p.mode = bodyLength
		if !p.old && r.IntN(2) == 0 {
			p.mode = bodyChunks
		}
	}
	if p.expect {
		h += "Expect: 100-continue\r\n"
	}
	switch p.mode {
	case bodyLength:
		h += fmt.Sprintf("Content-Length: %d\r\n", len(p.up))
		p.raw = p.up
	case bodyChunks:
		h += "Transfer-Encoding: chunked\r\n"
		p.raw = w.chunked(p.up, ";e=1", "Req-Trailer: "+fmt.Sprint(p.id)+"\r\n")
	}
	p.head = h + "\r\n"
}

// chunked frames text in chunks of random sizes.
func (w *simWorld) chunked(text, ext, trailer string) string {
	var b strings.Builder
	for text != "" {
		n := 1 + w.rng.IntN(len(text))
		fmt.Fprintf(&b, "%x%s\r\n%s\r\n", n, pick(w.rng, "", "", ext), text[:n])
		text = text[n:]
	}
	return b.String() + "0\r\n" + pick(w.rng, "", trailer) + "\r\n"
}

// composeAnswer writes the response to the given hit. spoiled says that it can
// not pass for a whole one.
func (w *simWorld) composeAnswer(p *simPlan, hit int) (answer string, spoiled bool) {
	body := p.answer(hit)
	h := strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", p.interims)
	h += fmt.Sprintf("HTTP/1.1 %d Status\r\nX-Id: %d\r\nX-Hit: %d\r\n", p.status, p.id, hit)
	if p.closes {
		h += "Connection: close\r\n"
	}
	empty := p.bodiless() || p.status == 204 || p.status == 304
	bad := p.fate == fateBadChunk && hit <= p.fateful
	switch {
	case p.status == 204:
	case bad && !empty, p.downMode == bodyChunks:
		h += "Transfer-Encoding: chunked\r\n"
		if body = w.chunked(body, ";e", fmt.Sprintf("Resp-Trailer: %d\r\n", p.id)); bad {
			body = body[:len(body)-5] + "nonsense\r\n"
		}
	case p.downMode == bodyLength:
		h += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	if empty {
		return h + "\r\n", false
	}
	return h + "\r\n" + body, bad
}

// ends says whether the end of the connection is the end of the answer.
func (p *simPlan) ends() bool {
	return p.downMode == bodyClose && p.status != 204 && p.status != 304 && !p.bodiless()
}
