package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// smugglingCase is one of testdata/smuggling_*.json, whose meta says how to
// read it: strings hold one byte for each code point, {{X*N}} is N times X.
type smugglingCase struct {
	ID        string
	Direction string // "request": raw goes to the engine; "response": raw is the answer to request
	Class     string `json:"cls"`
	Raw       string
	Request   string
	Why       string
	RFC       string
	Ref       string
	Severity  string
	Expect    expectation
}

// expectation is what a case wants to see. Those fields that nobody judges say
// so; a field that is not here at all is an error.
type expectation struct {
	Action      string
	Status      []int
	FinalStatus []int          `json:"final_status"`
	StatusCount map[string]int `json:"status_count"`
	MustNot     []int          `json:"must_not_status"`
	Harness     string
	ThenSend    string `json:"then_send"` // once the client has seen a 100
	Close       bool   // after the answer, by the engine

	Requests    *int  `json:"upstream_requests"`
	RequestsMax *int  `json:"upstream_requests_max"`
	Complete    *bool `json:"upstream_request_complete"`
	Upstream    upstreamExpectation
	BackendConn string `json:"backend_conn"`
	Client      struct {
		Body         *string
		HeaderAbsent []string       `json:"header_absent"`
		HeaderCount  map[string]int `json:"header_count"`
		RawAbsent    []string       `json:"raw_absent"`
	}
	ClientComplete *bool `json:"client_complete"`

	// For people. A reject is always answered here, and no alternative taken.
	CloseSilently   bool   `json:"close_without_response_ok"`
	RFCAlternative  string `json:"rfc_alternative"`
	ClientMustNot   string `json:"client_must_not_see"`
	MustNotText     string `json:"must_not"`
	IfH2CEnabled    string `json:"if_h2c_enabled"`
	NoteForReviewer string `json:"note"`
}

// upstreamExpectation is about the first request that the backend gets.
type upstreamExpectation struct {
	Body             *string
	BodyLen          *int   `json:"body_len"`
	RequestLine      string `json:"request_line"`
	Version          []string
	Method           string
	Host             string
	HeaderAbsent     []string          `json:"header_absent"`
	HeaderPresent    []string          `json:"header_present"`
	HeaderValue      map[string]string `json:"header_value"`
	RawAbsent        []string          `json:"raw_absent"`
	RawContains      []string          `json:"raw_contains"`
	ContentLength    string            `json:"content_length"`
	TransferEncoding string            `json:"transfer_encoding"`
	TrailerNotMerged bool              `json:"trailer_not_merged"`
	XForwardedProto  string            `json:"x_forwarded_proto"`
	XRealIPNot       string            `json:"x_real_ip_not"`
	TE               []*string         // one of these; null: none
	Upgrade          []*string
	SamePath         bool `json:"same_path_for_routing_and_forward"`

	LineEndings string `json:"line_endings"` // always judged
	Route       string // the bed has one rule
}

func smugglingCases(t *testing.T, file string) []*smugglingCase {
	raw, err := os.ReadFile("testdata/" + file)
	require.NoError(t, err)
	var all struct {
		Meta  any
		Cases []*smugglingCase
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&all))
	require.Greater(t, len(all.Cases), 200)
	return all.Cases
}

var macro = regexp.MustCompile(`(?s)\{\{(.*?)\*(\d+)\}\}`)

func expand(s string) []byte {
	s = macro.ReplaceAllStringFunc(s, func(m string) string {
		part := macro.FindStringSubmatch(m)
		n, _ := strconv.Atoi(part[2])
		return strings.Repeat(part[1], n)
	})
	b := make([]byte, 0, len(s))
	for _, r := range s {
		b = append(b, byte(r))
	}
	return b
}

// caseTime is how long anything may take before it counts as hanging.
const caseTime = eventually

// played is what was seen of a case.
type played struct {
	out      string // what the client got
	closed   bool   // the engine ended the connection
	reset    bool   // and not with a FIN
	lag      time.Duration
	requests []*recorded // with the canaries
	canaries []string    // their answers
}

// answers says that out holds every response that c wants, so that the client
// may leave. After a reject it may not: the engine has to close.
func (c *smugglingCase) answered(out string) bool {
	st := finals(statuses(out))
	switch {
	case c.Expect.Close, len(st) < c.answers():
		return false
	case c.Direction == "request":
		return st[len(st)-1] < 400 || st[len(st)-1] >= 500
	}
	return c.Expect.Action != "abort_client" || st[0] != 200
}

// answers is the number of final responses that c wants.
func (c *smugglingCase) answers() int {
	e := &c.Expect
	n := 0
	for _, k := range e.StatusCount {
		n += k
	}
	switch {
	case n > 0:
		return n
	case len(e.Status) == 2 && e.Status[0] == e.Status[1]:
		return 2
	}
	return 1
}

// talk sends what c has the client say, step bytes a write, and reads until the
// engine closes. Once the case is answered it closes answered and tells the
// engine that no more will come, so that nobody waits for a connection to be idle.
func (c *smugglingCase) talk(t *testing.T, addr string, step int, answered chan struct{}) (p played) {
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	continued := make(chan struct{})
	mayContinue, mayLeave := sync.OnceFunc(func() { close(continued) }), sync.OnceFunc(func() { close(answered) })
	var sender sync.WaitGroup
	sender.Go(func() {
		c.send(conn, step)
		if c.Expect.ThenSend != "" {
			<-continued
			_, _ = conn.Write(expand(c.Expect.ThenSend))
		}
		if !strings.Contains(c.Expect.Harness, "SHUT_WR") {
			<-answered
		}
		_ = conn.(*net.TCPConn).CloseWrite()
	})
	defer func() {
		_ = conn.Close()
		mayContinue()
		mayLeave()
		sender.Wait()
	}()

	require.NoError(t, conn.SetReadDeadline(time.Now().Add(caseTime)))
	buf := make([]byte, 64<<10)
	for last := time.Now(); ; last = time.Now() {
		n, err := conn.Read(buf)
		p.out += string(buf[:n])
		if err != nil {
			p.closed = !errors.Is(err, os.ErrDeadlineExceeded)
			p.reset = errors.Is(err, syscall.ECONNRESET)
			p.lag = time.Since(last)
			return p
		}
		if strings.Contains(p.out, "100 Continue") {
			mayContinue()
		}
		if c.answered(p.out) {
			mayLeave()
		}
	}
}

// send writes until the engine wants no more.
func (c *smugglingCase) send(to io.Writer, step int) {
	raw := expand(c.Raw)
	if c.Direction == "response" {
		raw = expand(c.Request)
	}
	for len(raw) > 0 {
		n, err := to.Write(raw[:min(step, len(raw))])
		if err != nil {
			return
		}
		raw = raw[n:]
	}
}

// newSmugglingBed starts an engine and a recorder for c alone.
func newSmugglingBed(t *testing.T, c *smugglingCase) (*bed, *recorder) {
	rec := newRecorder(t, c)
	return newBed(t, func(b *bed) {
		b.loops = 1 // so that the canaries meet the connections that the case has left behind
		b.opts.BodyTimeout, b.opts.ResponseTimeout, b.opts.ResponseBodyTimeout = 3*time.Second, 3*time.Second, 3*time.Second
	}, rec.l.Addr().String()), rec
}

// play runs c, then canaries, then waits until the engine has let go of everything.
func (c *smugglingCase) play(t *testing.T, step int) played {
	b, rec := newSmugglingBed(t, c)
	p := c.talk(t, b.addr(), step, rec.answered)
	for range 3 {
		p.canaries = append(p.canaries, b.exchange("GET /canary HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"))
	}
	require.Eventually(t, func() bool { return b.connections.Load() == 0 }, eventually, tick)
	b.Retire(b.registry.All())
	for _, at := range b.registry.All() {
		require.Zero(t, at.InFlight())
	}
	require.Zero(t, b.panics.total)
	p.requests = rec.finish(t)
	return p
}

func TestSmuggling_CasesOfTheCorpus(t *testing.T) {
	for _, c := range smugglingCases(t, "smuggling_cases.json") {
		c.run(t, c.ID, 1<<20)
		// Behind an upgrade it matters whether bytes came with it or after its answer.
		if c.Direction == "request" && len(c.Raw) < 1000 && !strings.Contains(c.Raw, "{{") && c.Class != "upgrade" {
			c.run(t, c.ID+"/byte by byte", 1)
		}
	}
}

func TestSmuggling_Neighbours(t *testing.T) {
	for _, c := range smugglingCases(t, "smuggling_more.json") {
		c.run(t, c.ID, 1<<20)
	}
}

func (c *smugglingCase) run(t *testing.T, name string, step int) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		p := c.play(t, step)
		require.Empty(t, c.judge(&p), "%s (%s)\nanswer: %.300q", c.Why, c.RFC, p.out)
	})
}
