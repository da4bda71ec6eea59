package proxy

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	forwardedHead = "POST / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n"
	refusal       = "HTTP/1.1 400 Bad Request\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"
)

// What a judge lets pass no test will find, so each of its objections is raised once.
func TestSmuggling_JudgeObjects(t *testing.T) {
	cases := map[string]*smugglingCase{}
	for _, c := range smugglingCases(t, "smuggling_cases.json") {
		cases[c.ID] = c
	}
	f := func(id string, change func(*played), want ...string) {
		t.Helper()
		c := cases[id]
		p := played{out: okAnswer, closed: true, canaries: []string{canaryAnswer, canaryAnswer}}
		switch {
		case c.Direction == "response":
			p.out = string(expand(c.Raw))
			p.requests = []*recorded{forwarded(forwardedHead, true)}
		case c.Expect.Action == "reject":
			p.out = refusal
		default:
			p.requests = []*recorded{forwarded(forwardedHead+"Transfer-Encoding: chunked\r\n", true)}
		}
		change(&p)
		require.Equal(t, want, c.judge(&p), id)
	}
	none := []string(nil)
	f("clte-agree", func(*played) {}, none...)
	f("te-upper-name", func(*played) {}, none...)
	f("r-status-noreason", func(*played) {}, none...)

	f("clte-agree", func(p *played) { p.closed = false }, "the connection stays open")
	f("clte-agree", func(p *played) { p.lag = 3 * time.Second }, "closed 3s late")
	f("clte-agree", func(p *played) { p.reset = true }, "reset before all was read")
	f("clte-agree", func(p *played) { p.out = "" }, "no answer", "0 answers, want 1")
	f("clte-agree", func(p *played) { p.out += refusal }, "2 answers, want 1")
	f("clte-agree", func(p *played) { p.canaries[1] = okAnswer }, `canary got "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"`)
	f("clte-agree", func(p *played) { p.requests = []*recorded{forwarded(forwardedHead, false)} }, "accepted: 1 requests to the backend")
	f("clte-agree", func(p *played) { p.out = strings.Replace(refusal, "400", "502", 1) }, "status 502, want one of [400]")
	f("chunk-spill", func(p *played) { p.requests = []*recorded{forwarded(forwardedHead, true)} },
		"refused, but request 0 went out whole", "request 0 to the backend complete: true")
	f("exp-10", func(p *played) { p.out = "HTTP/1.1 100 Continue\r\n\r\n" + p.out }, "status 100")
	f("pipe-2", func(p *played) { p.requests = append(p.requests, p.requests[0]) }, "1 answers, want 2")
	f("pipe-2", func(p *played) { p.out += okAnswer }, "1 requests to the backend, want 2")
	f("te-upper-name", func(p *played) { p.requests = nil }, "200 from nowhere", "0 requests to the backend, want 1")
	f("te-upper-name", func(p *played) { p.requests[0].body = "hell" }, `body "hell"`)
	f("te-upper-name", func(p *played) { p.requests[0].complete = false }, "the request to the backend is not complete")
	f("te-upper-name", func(p *played) { p.requests[0].trailer = "Host: b.test\r\n" }, `trailers "Host: b.test\r\n" forwarded`)

	f("r-early-413", func(p *played) { p.requests[0].complete = false; reuse(p) }, "the backend's connection was used again")
	f("r-204-body", reuse, "the backend's connection was used again", `content "hello" behind a head that has none`)
	f("r-hdr-lf", func(*played) {}, `head "HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: evil=1\r\nContent-Length: 2\r\n"`, "injected header")
	f("r-cl-dup-diff", func(p *played) { p.out = strings.Replace(p.out, "10", "5", 1) }, "status 200, want one of [502]",
		`lengths in "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n"`)
	f("r-cl-truncated", func(p *played) { p.out = okAnswer }, "message whole: true")
	f("r-keepalive-hdr", func(*played) {}, "header keep-alive returned")
}

// forwarded is a request as the backend of te-upper-name should get it.
func forwarded(head string, complete bool) *recorded {
	q := &recorded{head: strings.TrimSuffix(head, "\r\n"), raw: head, body: "hello", complete: complete}
	q.te = q.values("transfer-encoding")
	return q
}

// reuse lets a canary come on the connection of the request before it.
func reuse(p *played) {
	canary := forwarded(strings.Replace(forwardedHead, "POST /", "GET /canary", 1), true)
	p.requests = append(p.requests, canary)
}

// A head that no backend should get is objected to whatever the case.
func TestSmuggling_JudgeObjectsToAHead(t *testing.T) {
	f := func(head, want string) {
		t.Helper()
		q := forwarded(head, true)
		q.cl = q.values("content-length")
		require.Equal(t, faults{want}, q.judge())
	}
	more := func(lines string) string { return forwardedHead + lines + "\r\n" }
	f(more("A : b"), `field line "A : b" forwarded`)
	f(more("A: b\r\n c"), `field line " c" forwarded`)
	f(more("A: b\nc"), `field line "A: b\nc" forwarded`)
	f(more("A: b\rc"), `field line "A: b\rc" forwarded`)
	f(more("A: \x00"), `field line "A: \x00" forwarded`)
	f(more("A"), `field line "A" forwarded`)
	f(more("Content-Length: 5\r\ncontent-length: 5"), `lengths forwarded: [], ["5" "5"]`)
	f(more("Content-Length: 5\r\nTransfer-Encoding: chunked"), `lengths forwarded: ["chunked"], ["5"]`)
	f(more("Transfer-Encoding: Chunked"), `transfer-encoding ["Chunked"] forwarded`)
	f(more("Content-Length: 05"), `content-length ["05"] forwarded`)
	f(more("Host: b.test"), `hosts forwarded: ["a.test" "b.test"]`)
	f(more("X-Forwarded-For: 1.2.3.4"), `x-forwarded-for ["127.0.0.1" "1.2.3.4"]`)
	f(more("X-Forwarded-Proto: https"), `x-forwarded-proto ["http" "https"]`)
	f(more("Keep-Alive: x"), "header keep-alive forwarded")
	f(strings.Replace(more("A: b"), "POST / ", "POST /a/../b ", 1), `dot segment forwarded: "POST /a/../b HTTP/1.1"`)
	f(strings.Replace(more("A: b"), "POST / ", "POST  / ", 1), `request line "POST  / HTTP/1.1" forwarded`)
}
