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
