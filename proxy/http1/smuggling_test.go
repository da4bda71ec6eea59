package http1

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// smugglingCase is one of testdata/smuggling.json: strings hold one byte for
// each code point, {{X*N}} stands for N times X.
type smugglingCase struct {
	ID        string
	Direction string
	Request   string
	Raw       string
	Why       string
	Expect    struct {
		Action              string
		Status              []int
		UpstreamRequests    *int           `json:"upstream_requests"`
		UpstreamRequestsMax *int           `json:"upstream_requests_max"`
		StatusCount         map[string]int `json:"status_count"`
		Upstream            struct {
			Body         *string
			BodyLen      *int `json:"body_len"`
			Host         string
			HeaderAbsent []string `json:"header_absent"`
			RequestLine  string   `json:"request_line"`
		}
		Client struct {
			Body *string
		}
	}
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

func smugglingCases(t testing.TB) []smugglingCase {
	raw, err := os.ReadFile("testdata/smuggling.json")
	require.NoError(t, err)
	var cases []smugglingCase
	require.NoError(t, json.Unmarshal(raw, &cases))
	require.Greater(t, len(cases), 200)
	return cases
}

func TestSmuggling_Requests(t *testing.T) {
	for _, c := range smugglingCases(t) {
		if c.Direction != "request" {
			continue
		}
		t.Run(c.ID, func(t *testing.T) {
			raw := expand(c.Raw)
			judgeRequest(t, c, readRequests(raw, len(raw)))
			if len(raw) < 4<<10 {
				judgeRequest(t, c, readRequests(raw, 1))
			}
		})
	}
}

func judgeRequest(t *testing.T, c smugglingCase, o outcome) {
	e := c.Expect
	switch {
	case e.Action == "timeout" || c.ID == "chunk-missing-final":
		require.Nil(t, o.rej, c.Why)
		require.Empty(t, o.messages, "a body that is not complete")
		return
	case e.Action == "reject":
		require.NotNil(t, o.rej, "accepted: %s", c.Why)
		require.Empty(t, o.messages, c.Why)
	case e.Action == "forward_normalised":
		require.Nil(t, o.rej, c.Why)
	}
	if o.rej != nil {
		require.Contains(t, e.Status, o.rej.Status, o.rej.Reason)
		return
	}
	require.NotEmpty(t, o.messages, c.Why)
	if want := e.UpstreamRequestsMax; want != nil {
		require.LessOrEqual(t, len(o.messages), *want)
	}
	// hbh-close-pipelined: ending the connection is the caller's part.
	if want := e.UpstreamRequests; want != nil && o.messages[0].keepAlive {
		require.Len(t, o.messages, *want)
	}
	for status, n := range e.StatusCount {
		require.Len(t, o.messages, n, "answers with status %s", status)
	}
	m := o.messages[0]
	if want := e.Upstream.Body; want != nil {
		require.Equal(t, string(expand(*want)), m.body)
	}
	if want := e.Upstream.BodyLen; want != nil {
		require.Len(t, m.body, *want)
	}
	if want := e.Upstream.Host; want != "" {
		require.Equal(t, want, m.host)
	}
	if want := e.Upstream.RequestLine; want != "" {
		require.Equal(t, want, m.start)
	}
	require.Empty(t, m.trailers, c.Why)
	for _, name := range e.Upstream.HeaderAbsent {
		for _, f := range m.fields {
			mark, line, _ := strings.Cut(f, " ")
			plainOther := mark == "0/false"
			require.False(t, plainOther && strings.HasPrefix(strings.ToLower(line), name+":"), "field %s", f)
		}
	}
	require.False(t, e.Action == "no_tunnel" && strings.Contains(m.flags, "true"), "taken for a websocket")
}

func TestSmuggling_Responses(t *testing.T) {
	// The codec leaves these to the exchange, which knows what was asked for.
	callers := []string{"r-101-unsolicited", "r-101-mismatch"}
	// The head never ends, or the connection does.
	incomplete := []string{"r-empty", "r-rst", "r-slow-header", "r-cl-truncated"}
	for _, c := range smugglingCases(t) {
		if c.Direction != "response" {
			continue
		}
		t.Run(c.ID, func(t *testing.T) {
			var req Request
			ok, rej := req.Parse(expand(c.Request), nil)
			require.True(t, ok, rej)
			body, complete, rej := readResponse(expand(c.Raw), req.Method)
			require.Equal(t, slices.Contains(incomplete, c.ID), !complete && rej == nil, c.Why)
			if rej != nil {
				require.Equal(t, rej.Status == 502 || c.Expect.Action == "abort_client", true)
				require.Contains(t, c.Expect.Status, 502, c.Why)
				return
			}
			require.False(t, c.Expect.Action == "bad_gateway" && !slices.Contains(callers, c.ID), "accepted: %s", c.Why)
			if want := c.Expect.Client.Body; want != nil {
				require.Equal(t, string(expand(*want)), body)
			}
		})
	}
}

// readResponse reads the final response, as much of it as there is.
func readResponse(raw, method []byte) (body string, complete bool, rej *Reject) {
	var r Response
	for {
		ok, rej := r.Parse(raw, method, nil)
		if !ok {
			return "", false, rej
		}
		raw = raw[r.Head:]
		if r.Status >= 200 || r.Status == 101 {
			break
		}
	}
	switch {
	case r.NoBody:
		return "", true, nil
	case r.UntilClose:
		return string(raw), true, nil
	}
	s := stream{buf: raw}
	body, _, complete, rej = s.body(&r.Message)
	return body, complete, rej
}
