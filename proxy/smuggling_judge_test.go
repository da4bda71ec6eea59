package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// faults collects what is wrong with a played case.
type faults []string

func (f *faults) add(when bool, format string, args ...any) {
	if when {
		*f = append(*f, fmt.Sprintf(format, args...))
	}
}

// closeTime is within how long a connection that is to be closed must be.
const closeTime = 2 * time.Second

// judge says what is wrong with what was seen.
func (c *smugglingCase) judge(p *played) []string {
	var f faults
	f.add(p.reset && c.Expect.Action != "abort_client", "reset before all was read")
	st := finals(statuses(p.out))
	var own []*recorded
	for _, q := range p.requests {
		f = append(f, q.judge()...)
		if !q.canary() {
			own = append(own, q)
		}
	}
	for i, q := range own {
		f.add(c.Class != "pipelining" && strings.Contains(q.requestLine(), "/smuggled"), "a smuggled request reached the backend")
		f.add(q.complete && len(st) > 0 && st[0] >= 400 && c.Direction == "request", "refused, but request %d went out whole", i)
		f.add(c.Expect.Complete != nil && q.complete != *c.Expect.Complete, "request %d to the backend complete: %v", i, q.complete)
	}
	for _, a := range p.canaries {
		f.add(!strings.HasSuffix(a, "\r\n\r\nCANARY") || !slices.Equal(statuses(a), []int{200}), "canary got %.100q", a)
	}
	f = append(f, c.judgeAnswer(p)...)
	if c.Direction == "response" {
		f = append(f, c.judgeResponse(p, own)...)
		return f
	}
	n := len(own)
	switch e := &c.Expect; e.Action {
	case "reject":
		f.add(n > 0 && (e.Complete == nil || *e.Complete), "accepted: %d requests to the backend", n)
	default:
		f.add(len(st) > 0 && st[0] == 200 && n == 0, "200 from nowhere")
		f.add(e.Requests != nil && n != *e.Requests && slices.Contains(st, 200), "%d requests to the backend, want %d", n, deref(e.Requests))
		f.add(e.RequestsMax != nil && n > *e.RequestsMax, "%d requests to the backend", n)
		if n > 0 && st[0] < 400 {
			f = append(f, c.judgeUpstream(own[0])...)
		}
	}
	return f
}

func deref(n *int) int {
	if n == nil {
		return -1
	}
	return *n
}

// judgeAnswer looks at the statuses and at the connection's end.
func (c *smugglingCase) judgeAnswer(p *played) (f faults) {
	e := &c.Expect
	st := finals(statuses(p.out))
	f.add(!p.closed, "the connection stays open")
	f.add(e.Close && p.closed && p.lag > closeTime, "closed %v late", p.lag)
	for _, s := range e.MustNot {
		f.add(slices.Contains(statuses(p.out), s), "status %d", s)
	}
	if e.Action == "bounded" || e.Action == "abort_client" && p.reset && p.out == "" {
		return f
	}
	want := slices.Concat(e.Status, e.FinalStatus)
	f.add(len(st) == 0, "no answer")
	for i, s := range st {
		ok := slices.Contains(want, s)
		if i == len(st)-1 && e.FinalStatus != nil {
			ok = slices.Contains(e.FinalStatus, s)
		}
		f.add(!ok && len(e.StatusCount) == 0, "status %d, want one of %v", s, want)
	}
	more := e.RequestsMax != nil && *e.RequestsMax > 1 || strings.HasPrefix(e.Harness, "answer after header block") || e.FinalStatus != nil
	f.add(len(st) != c.answers() && !more, "%d answers, want %d", len(st), c.answers())
	for s, n := range e.StatusCount {
		code, _ := strconv.Atoi(s)
		got := len(st) - len(slices.DeleteFunc(slices.Clone(st), func(s int) bool { return s == code }))
		f.add(got != n, "%d answers %s, want %d", got, s, n)
	}
	return f
}

// startOfStatus finds a status line, even behind a body that was longer than it said.
var startOfStatus = regexp.MustCompile(`HTTP/1\.[01] (\d{3,})`)

func statuses(out string) (st []int) {
	for _, at := range startOfStatus.FindAllStringSubmatchIndex(out, -1) {
		if i := at[0]; i == 0 || strings.IndexByte("\n_>}", out[i-1]) >= 0 || isAlnum(out[i-1]) {
			n, _ := strconv.Atoi(out[at[2]:at[3]])
			st = append(st, n)
		}
	}
	return st
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

func finals(st []int) []int {
	return slices.DeleteFunc(slices.Clone(st), func(s int) bool { return s < 200 && s != 101 })
}

var (
	cleanRequestLine = regexp.MustCompile(`^[!#$%&'*+\-.^_|~0-9A-Za-z` + "`" + `]+ [\x21-\x7e]+ HTTP/1\.1$`)
	cleanFieldLine   = regexp.MustCompile(`^[!#$%&'*+\-.^_|~0-9A-Za-z` + "`" + `]+:[^\x00-\x08\x0a-\x1f\x7f]*$`)
	dotSegment       = regexp.MustCompile(`(?i)/(\.|%2e){1,2}(/| |$)`)
	headOnlyField    = regexp.MustCompile(`(?im)^(content-length|transfer-encoding|host|te|trailer|connection|expect|cookie|authorization|forwarded|x-forwarded-[a-z]*|x-real-ip|content-[a-z]*)[ \t]*:`)
)

// judge says what no backend should ever get, whatever the case is about.
func (q *recorded) judge() faults {
	f := faults(slices.Clone(q.faults))
	lines := strings.Split(q.head, "\r\n")
	f.add(!cleanRequestLine.MatchString(lines[0]), "request line %.60q forwarded", lines[0])
	f.add(dotSegment.MatchString(beforeQuery(lines[0])), "dot segment forwarded: %.60q", lines[0])
	for _, l := range lines[1:] {
		f.add(!cleanFieldLine.MatchString(l), "field line %.60q forwarded", l)
	}
	f.add(len(q.te)+len(q.cl) > 1, "lengths forwarded: %q, %q", q.te, q.cl)
	f.add(len(q.te) > 0 && q.te[0] != "chunked", "transfer-encoding %q forwarded", q.te)
	f.add(len(q.cl) > 0 && !regexp.MustCompile(`^(0|[1-9]\d{0,17})$`).MatchString(q.cl[0]), "content-length %q forwarded", q.cl)
	f.add(len(q.values("host")) != 1, "hosts forwarded: %q", q.values("host"))
	f.add(!slices.Equal(q.values("x-forwarded-for"), []string{"127.0.0.1"}), "x-forwarded-for %q", q.values("x-forwarded-for"))
	f.add(!slices.Equal(q.values("x-forwarded-proto"), []string{"http"}), "x-forwarded-proto %q", q.values("x-forwarded-proto"))
	for _, name := range []string{"x-real-ip", "forwarded", "keep-alive", "proxy-connection", "proxy-authorization", "http2-settings", "proxy"} {
		f.add(len(q.values(name)) > 0, "header %s forwarded", name)
	}
	f.add(headOnlyField.MatchString(q.trailer), "trailers %.100q forwarded", q.trailer)
	return f
}

// judgeUpstream looks at what the case says about the forwarded request.
func (c *smugglingCase) judgeUpstream(q *recorded) (f faults) {
	u := &c.Expect.Upstream
	f.add(!q.complete, "the request to the backend is not complete")
	f.add(u.Body != nil && q.body != text(u.Body), "body %.40q", q.body)
	f.add(u.BodyLen != nil && len(q.body) != deref(u.BodyLen), "body of %d bytes", len(q.body))
	f.add(u.RequestLine != "" && q.requestLine() != u.RequestLine, "request line %q", q.requestLine())
	f.add(u.Method != "" && !strings.HasPrefix(q.head, u.Method+" "), "request line %q", q.requestLine())
	f.add(u.Version != nil && !slices.Contains(u.Version, q.head[strings.LastIndexByte(q.requestLine(), ' ')+1:len(q.requestLine())]), "request line %q", q.requestLine())
	for _, n := range u.HeaderAbsent {
		f.add(len(q.values(n)) > 0, "header %s forwarded", n)
	}
	for _, n := range u.HeaderPresent {
		f.add(len(q.values(n)) == 0, "header %s lost", n)
	}
	for n, want := range u.HeaderValue {
		f.add(strings.Join(q.values(n), ", ") != string(expand(want)), "header %s: %q", n, q.values(n))
	}
	for _, s := range u.RawAbsent {
		f.add(strings.Contains(q.raw, string(expand(s))), "%q forwarded", s)
	}
	for _, s := range u.RawContains {
		f.add(!strings.Contains(q.raw, string(expand(s))), "%q lost", s)
	}
	is := func(name, want string) {
		f.add(want != "" && !slices.Equal(q.values(name), []string{want}), "%s %q", name, q.values(name))
	}
	is("host", u.Host)
	is("content-length", u.ContentLength)
	is("transfer-encoding", u.TransferEncoding)
	is("x-forwarded-proto", u.XForwardedProto)
	f.add(u.XRealIPNot != "" && slices.Contains(q.values("x-real-ip"), u.XRealIPNot), "x-real-ip forwarded")
	f.add(u.TrailerNotMerged && regexp.MustCompile(`(?i)x-checksum|bearer evil|evil\.test|content-length: 50`).MatchString(q.head), "trailer merged")
	f.add(!oneOf(u.TE, q.values("te")), "te %q", q.values("te"))
	f.add(!oneOf(u.Upgrade, q.values("upgrade")), "upgrade %q", q.values("upgrade"))
	f.add(c.Expect.Action == "no_tunnel" && len(q.values("upgrade")) > 0, "upgrade %q", q.values("upgrade"))
	if sent := firstLine(string(expand(c.Raw))); u.SamePath && !dotSegment.MatchString(beforeQuery(sent)) {
		f.add(q.requestLine() != sent, "request line %q", q.requestLine())
	}
	return f
}

func beforeQuery(requestLine string) string {
	path, _, _ := strings.Cut(requestLine, "?")
	return path
}

func text(s *string) string { return string(expand(*s)) }

// oneOf says whether a header has one of the wanted values; nil is its absence.
func oneOf(want []*string, got []string) bool {
	if want == nil {
		return true
	}
	return slices.ContainsFunc(want, func(w *string) bool {
		return w == nil && len(got) == 0 || w != nil && slices.Equal(got, []string{*w})
	})
}

var (
	bareLF   = regexp.MustCompile(`(^|[^\r])\n`)
	bareCR   = regexp.MustCompile(`\r([^\n]|$)`)
	injected = regexp.MustCompile(`(?im)^(set-cookie|x): *evil`)
)

// judgeResponse looks at what the client was told and at the connection that it came from.
func (c *smugglingCase) judgeResponse(p *played, own []*recorded) (f faults) {
	e := &c.Expect
	keep := e.BackendConn == "" || e.BackendConn == "must_not_be_reused_unless_body_fully_sent" && len(own) > 0 && own[0].complete
	for _, q := range p.requests {
		f.add(!keep && q.canary() && slices.ContainsFunc(own, func(o *recorded) bool { return o.conn == q.conn }), "the backend's connection was used again")
	}
	f.add(len(own) == 0, "no request to the backend")
	if p.out == "" {
		return f // judged already
	}
	final := p.out
	for {
		head, rest, ok := strings.Cut(final, "\r\n\r\n")
		head += "\r\n"
		f.add(!ok, "no head: %.60q", final)
		f.add(bareLF.MatchString(head) || bareCR.MatchString(head) || strings.Contains(head, "\x00"), "head %.100q", head)
		f.add(injected.MatchString(head), "injected header")
		lengths := len(values(head, "content-length"))
		f.add(lengths+len(values(head, "transfer-encoding")) > 1, "lengths in %.200q", head)
		if st := statuses(final); !ok || len(st) == 0 || st[0] >= 200 || st[0] == 101 {
			break
		}
		f.add(lengths > 0, "length in %.200q", head)
		final = rest
	}
	return append(f, c.judgeContent(final, p.reset)...)
}

func values(head, name string) []string { return (&recorded{head: head}).values(name) }

// judgeContent looks at the final response, of which only the backend's own is of interest.
func (c *smugglingCase) judgeContent(final string, reset bool) (f faults) {
	e := &c.Expect
	head, rest, _ := strings.Cut(final, "\r\n\r\n")
	if st := statuses(head); len(st) == 0 || st[0] >= 500 || st[0] == 101 {
		return f
	}
	for _, n := range e.Client.HeaderAbsent {
		f.add(len(values(head, n)) > 0, "header %s returned", n)
	}
	for n, k := range e.Client.HeaderCount {
		f.add(len(values(head, n)) != k, "header %s: %q", n, values(head, n))
	}
	for _, s := range e.Client.RawAbsent {
		f.add(strings.Contains(head, s), "%q returned", s)
	}
	method, _, _ := strings.Cut(c.Request, " ")
	r, err := http.ReadResponse(bufio.NewReader(strings.NewReader(final)), &http.Request{Method: method})
	if err != nil {
		f.add(true, "answer: %v", err)
		return f
	}
	body, err := io.ReadAll(r.Body)
	whole := err == nil && !reset
	noBody := method == "HEAD" || r.StatusCode == 204 || r.StatusCode == 304
	f.add(noBody && rest != "", "content %.40q behind a head that has none", rest)
	f.add(e.Client.Body != nil && string(body) != text(e.Client.Body), "content %.40q", body)
	f.add(e.Action == "abort_client" == whole, "message whole: %v", whole)
	f.add(!whole && e.ClientComplete == nil && e.Action != "abort_client", "message cut: %v", err)
	return f
}
