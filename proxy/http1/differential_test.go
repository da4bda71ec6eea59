package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
)

// Parsers that disagree on a message are a smuggling hole. What this package
// accepts, net/http and fasthttp read in the same way, if they accept it.

func TestDifferential(t *testing.T) {
	for _, raw := range []string{wrkRequest, browserRequest, rareRequest} {
		againstNetHTTP(t, []byte(raw))
		againstFastHTTP(t, []byte(raw))
	}
	for _, c := range smugglingCases(t) {
		if c.Direction == "request" {
			againstNetHTTP(t, expand(c.Raw))
			againstFastHTTP(t, expand(c.Raw))
		} else {
			responseAgainstOthers(t, expand(c.Raw), "GET")
			responseAgainstOthers(t, expand(c.Raw), "HEAD")
		}
	}
}

func FuzzAgainstOthers(f *testing.F) {
	addCases(f, "request")
	f.Fuzz(func(t *testing.T, raw []byte) {
		againstNetHTTP(t, raw)
		againstFastHTTP(t, raw)
	})
}

func FuzzResponseAgainstOthers(f *testing.F) {
	addCases(f, "response")
	f.Fuzz(func(t *testing.T, raw []byte) {
		responseAgainstOthers(t, raw, "GET")
		responseAgainstOthers(t, raw, "HEAD")
	})
}

// firstRequest reads one request with its body; rest is what belongs to the next.
func firstRequest(raw []byte) (r Request, body, rest string, ok bool) {
	done, _ := r.Parse(raw, nil)
	if !done {
		return r, "", "", false
	}
	s := stream{buf: raw[r.Head:]}
	body, _, ok, _ = s.body(&r.Message)
	return r, body, string(s.buf), ok
}

func againstNetHTTP(t *testing.T, raw []byte) {
	r, body, rest, ok := firstRequest(bytes.Clone(raw))
	if !ok {
		return
	}
	br := bufio.NewReader(bytes.NewReader(bytes.TrimLeft(raw, "\r\n"))) // its server skips them elsewhere
	other, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	otherBody, err := io.ReadAll(other.Body)
	if err != nil {
		return
	}
	otherRest, _ := io.ReadAll(br)

	require.Equal(t, other.Method, string(r.Method), "%q", raw)
	require.Equal(t, other.RequestURI, string(r.Target), "%q", raw)
	require.Equal(t, other.URL.RawQuery, string(r.Query), "%q", raw)
	require.True(t, strings.EqualFold(other.Host, string(r.Host)), "%q", raw)
	require.Equal(t, min(other.ProtoMinor, 1), r.Minor, "%q", raw)
	require.Equal(t, len(other.TransferEncoding) > 0, r.Chunked, "%q", raw)
	require.Equal(t, other.Close, !r.KeepAlive, "%q", raw)
	require.Equal(t, string(otherBody), body, "%q", raw)
	require.Equal(t, string(otherRest), rest, "%q", raw)
	for i := range r.Fields {
		f := &r.Fields[i]
		if f.ID == IDOther {
			require.Contains(t, other.Header.Values(string(r.Name(f))), string(r.FieldValue(f)), "%q", raw)
		}
	}
}

func againstFastHTTP(t *testing.T, raw []byte) {
	r, body, rest, ok := firstRequest(bytes.Clone(raw))
	if !ok {
		return
	}
	var other fasthttp.Request
	br := bufio.NewReader(bytes.NewReader(raw))
	if other.Read(br) != nil {
		return
	}
	if other.MayContinue() && other.ContinueReadBody(br, 0) != nil {
		return
	}
	otherRest, _ := io.ReadAll(br)

	require.Equal(t, string(other.Header.Method()), string(r.Method), "%q", raw)
	require.Equal(t, string(other.Header.RequestURI()), string(r.Target), "%q", raw)
	require.True(t, r.authority != nil || strings.EqualFold(string(other.Header.Host()), string(r.Host)), "%q", raw)
	// It takes HTTP/1.2 for HTTP/1.0, which ends the connection.
	require.False(t, r.KeepAlive != !other.Header.ConnectionClose() && bytes.Contains(raw, []byte(" HTTP/1.1\r\n")), "%q", raw)
	require.Equal(t, string(other.Body()), body, "%q", raw)
	require.Equal(t, string(otherRest), rest, "%q", raw)
}

func responseAgainstOthers(t *testing.T, raw []byte, method string) {
	var r Response
	done, _ := r.Parse(bytes.Clone(raw), []byte(method), nil)
	if !done {
		return
	}
	var body string
	s := stream{buf: bytes.Clone(raw[r.Head:])}
	switch {
	case r.NoBody:
	case r.UntilClose:
		body, s.buf = string(s.buf), nil
	default:
		ok := false
		if body, _, ok, _ = s.body(&r.Message); !ok {
			return
		}
	}

	br := bufio.NewReader(bytes.NewReader(raw))
	if other, err := http.ReadResponse(br, &http.Request{Method: method}); err == nil {
		if otherBody, err := io.ReadAll(other.Body); err == nil {
			otherRest, _ := io.ReadAll(br)
			require.Equal(t, other.StatusCode, r.Status, "%q", raw)
			require.Equal(t, string(otherBody), body, "%q", raw)
			require.Equal(t, string(otherRest), string(s.buf), "%q", raw)
		}
	}

	// fasthttp skips interim responses and takes HTTP/1.2 for HTTP/1.0.
	if r.Status < 200 || raw[len("HTTP/1.")] > '1' {
		return
	}
	var other fasthttp.Response
	other.SkipBody = method == "HEAD"
	br.Reset(bytes.NewReader(raw))
	if other.Read(br) == nil {
		otherRest, _ := io.ReadAll(br)
		require.Equal(t, other.StatusCode(), r.Status, "%q", raw)
		require.Equal(t, string(other.Body()), body, "%q", raw)
		require.Equal(t, string(otherRest), string(s.buf), "%q", raw)
	}
}
