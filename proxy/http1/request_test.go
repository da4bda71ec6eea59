package http1

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRequest_Line(t *testing.T) {
	f := func(line, method, path, query, pathQuery string) {
		t.Helper()
		var r Request
		ok, rej := r.Parse([]byte(line+"\r\nHost: a.test\r\n\r\n"), nil)
		require.Nil(t, rej)
		require.True(t, ok)
		require.Equal(t, method, string(r.Method))
		require.Equal(t, path, string(r.Path))
		require.Equal(t, query, string(r.Query))
		require.Equal(t, pathQuery, string(r.PathQuery))
		require.Equal(t, r.HasQuery, strings.Contains(line, "?"))
		require.Equal(t, "a.test", strings.ToLower(string(r.Host)))
	}
	f("GET / HTTP/1.1", "GET", "/", "", "/")
	f("\r\n\r\nGET / HTTP/1.1", "GET", "/", "", "/")
	f("get /a%2Fb/../c HTTP/1.1", "get", "/a%2Fb/../c", "", "/a%2Fb/../c")
	f("GET /?a=b?c HTTP/1.1", "GET", "/", "a=b?c", "/?a=b?c")
	f("GET /x? HTTP/1.1", "GET", "/x", "", "/x?")
	f("GET //b.test/x HTTP/1.1", "GET", "//b.test/x", "", "//b.test/x")
	f("GET /\\\"<>^`{|} HTTP/1.1", "GET", "/\\\"<>^`{|}", "", "/\\\"<>^`{|}")
	f("GET http://a.test/x?y HTTP/1.1", "GET", "/x", "y", "/x?y")
	f("GET HTTPS://A.test HTTP/1.1", "GET", "/", "", "/")
	f("GET http://a.test?y HTTP/1.1", "GET", "/", "y", "/?y")
	f("OPTIONS * HTTP/1.1", "OPTIONS", "*", "", "*")
	f("OPTIONS http://a.test HTTP/1.1", "OPTIONS", "*", "", "*")
	f("OPTIONS http://a.test/ HTTP/1.1", "OPTIONS", "/", "", "/")
	f("OPTIONS http://a.test?y HTTP/1.1", "OPTIONS", "/", "y", "/?y")
	f(strings.Repeat("M", maxMethod)+" / HTTP/1.1", strings.Repeat("M", maxMethod), "/", "", "/")
}

// Each of these is refused although more bytes could follow.
func TestRequest_RefusesPrefix(t *testing.T) {
	f := func(raw string, want *Reject) {
		t.Helper()
		var r Request
		ok, rej := r.Parse([]byte(raw), nil)
		require.False(t, ok)
		require.Equal(t, want, rej)
	}
	const line = "GET / HTTP/1.1\r\n"
	const hosted = line + "Host: a.test\r\n"

	f("\x16\x03\x01", rejectMethod)
	f(" ", rejectMethod)
	f("\n", rejectBareLF)
	f("\rG", rejectBareCR)
	f("\r\n\r\n\r", rejectBlank)
	f("GET\r", rejectMethod)
	f("GET\t", rejectMethod)
	f(strings.Repeat("M", maxMethod+1), rejectLong)
	f("CONNECT ", rejectConnect)
	f("GET  ", rejectTarget)
	f("GET /\r", rejectTarget)
	f("GET /\t", rejectTarget)
	f("GET /\x00", rejectTarget)
	f("GET /\x7f", rejectTarget)
	f("GET /\x80", rejectTarget)
	f("GET /#", rejectTarget)
	f("GET /"+strings.Repeat("a", DefaultTarget), rejectTargetSize)
	f("GET / X", rejectVersion)
	f("GET / h", rejectVersion)
	f("GET / HTTP/x", rejectVersion)
	f("GET / HTTP/0", rejectMajor)
	f("GET / HTTP/2", rejectMajor)
	f("PRI * HTTP/2.0\r\n", rejectMajor)
	f("GET / HTTP/1,", rejectVersion)
	f("GET / HTTP/1.x", rejectVersion)
	f("GET / HTTP/1.1 ", rejectVersion)
	f("GET / HTTP/1.11", rejectVersion)
	f("GET / HTTP/1.1\n", rejectBareLF)
	f("GET / HTTP/1.1\r\r", rejectBareCR)
	f("GET * HTTP/1.1\r\n", rejectScheme)
	f("OPTIONS *x HTTP/1.1\r\n", rejectScheme)
	f("GET x HTTP/1.1\r\n", rejectScheme)
	f("GET ftp://a.test/ HTTP/1.1\r\n", rejectScheme)
	f("GET http:/a.test/ HTTP/1.1\r\n", rejectScheme)
	f("GET http:// HTTP/1.1\r\n", rejectScheme)
	f("GET http:///x HTTP/1.1\r\n", rejectAuthority)
	f("GET http://?x HTTP/1.1\r\n", rejectAuthority)
	f("GET http://u@a.test/ HTTP/1.1\r\n", rejectAuthority)
	f("GET http://a.test\\b.test/ HTTP/1.1\r\n", rejectAuthority)

	f(line+" ", rejectFold)
	f(line+"\t", rejectFold)
	f(line+":", rejectNoName)
	f(line+"\n", rejectBareLF)
	f(line+"\rX", rejectBareCR)
	f(hosted+"\n", rejectBareLF)
	f(hosted+" ", rejectFold)
	f(hosted+"A ", rejectSpace)
	f(hosted+"A\t", rejectSpace)
	f(hosted+"A\r", rejectNoColon)
	f(hosted+"A\n", rejectNoColon)
	f(hosted+"A\x80", rejectName)
	f(hosted+"A(", rejectName)
	f(hosted+"A: \x00", rejectValue)
	f(hosted+"A: 0123456789abcdef\x7f", rejectValue)
	f(hosted+"A: b\n", rejectBareLF)
	f(hosted+"A: b\rc", rejectBareCR)
	f(hosted+"Host: a.test\r\n", rejectTwoHosts)
	f(line+"Host:\r\n", rejectHost)
	f("GET / HTTP/1.0\r\nHost:\r\n", rejectHost)
	f("GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\n", rejectMismatch)
	f("GET http://a.test:80/ HTTP/1.1\r\nHost: a.test\r\n", rejectMismatch)
	f(line+"\r\n", rejectNoHost)
	f("GET http://a.test/ HTTP/1.1\r\n\r\n", rejectNoHost)
	f(hosted+"Expect: 200-ok\r\n", rejectExpect)
	f(hosted+"Expect: 100-continue\r\nExpect: 100-continue\r\n", rejectExpect)

	f(hosted+"Content-Length:\r\n", rejectLength)
	f(hosted+"Content-Length: -1\r\n", rejectLength)
	f(hosted+"Content-Length: 9223372036854775808\r\n", rejectLength)
	f(hosted+"Content-Length: 1,1\r\n", rejectLengths)
	f(hosted+"Content-Length: 1\r\nContent-Length: 1\r\n", rejectLengths)
	f(hosted+"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", rejectBoth)
	f(hosted+"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", rejectBoth)
	f(hosted+"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", rejectCodings)
	f(hosted+"Transfer-Encoding: gzip, chunked\r\n", rejectCoding)
	f(hosted+"Transfer-Encoding: chun\u212Aed\r\n", rejectCoding)
	f("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", rejectCoding10)
	f(hosted+"Connection: "+strings.Repeat("a,", maxOptions+1)+"\r\n\r\n", rejectOptionCount)

	f(hosted+strings.Repeat("A:b\r\n", DefaultFields), rejectFieldCount)
	f(hosted+"A: "+strings.Repeat("b", DefaultHead), rejectHeadSize)
	f(hosted+strings.Repeat("A", DefaultHead), rejectHeadSize)
}

func TestRequest_Framing(t *testing.T) {
	f := func(raw string, want Request) {
		t.Helper()
		var r Request
		ok, rej := r.Parse([]byte(raw), nil)
		require.Nil(t, rej)
		require.True(t, ok)
		require.Equal(t, len(raw), r.Head)
		require.Equal(t, want.ContentLength, r.ContentLength)
		require.Equal(t, want.Chunked, r.Chunked)
		require.Equal(t, want.Chunked || want.ContentLength > 0, r.HasBody())
		require.Equal(t, want.KeepAlive, r.KeepAlive, "keep-alive")
		require.Equal(t, want.Minor, r.Minor)
		require.Equal(t, want.Expect100, r.Expect100, "100-continue")
		require.Equal(t, want.Websocket, r.Websocket, "websocket")
		require.Equal(t, want.TrailersOK, r.TrailersOK, "trailers")
	}
	const h11 = "GET / HTTP/1.1\r\nHost: a.test\r\n"
	const h10 = "GET / HTTP/1.0\r\n"
	body := func(n int64) Message { return Message{Minor: 1, KeepAlive: true, ContentLength: n} }
	chunked := Message{Minor: 1, KeepAlive: true, Chunked: true, ContentLength: -1}

	f(h11+"\r\n", Request{Message: body(-1)})
	f("GET / HTTP/1.9\r\nHost: a.test\r\n\r\n", Request{Message: body(-1)})
	f(h11+"Content-Length: 0\r\n\r\n", Request{Message: body(0)})
	f(h11+"content-length:\t007 \t\r\n\r\n", Request{Message: body(7)})
	f(h11+"Content-Length: 999999999999999999\r\n\r\n", Request{Message: body(maxLength)})
	f(h11+"TRANSFER-ENCODING: Chunked\r\n\r\n", Request{Message: chunked})
	f(h11+"Connection: foo, ,CLOSE\r\n\r\n", Request{Message: Message{Minor: 1, ContentLength: -1}})
	f(h11+"Connection: keep-alive\r\nConnection: close\r\n\r\n", Request{Message: Message{Minor: 1, ContentLength: -1}})
	f(h10+"\r\n", Request{Message: Message{ContentLength: -1}})
	f(h10+"Connection: Keep-Alive\r\n\r\n", Request{Message: Message{ContentLength: -1, KeepAlive: true}})
	f(h10+"Connection: keep-alive, close\r\n\r\n", Request{Message: Message{ContentLength: -1}})

	f(h11+"Expect: 100-Continue\r\nContent-Length: 5\r\n\r\n", Request{Message: body(5), Expect100: true})
	f(h11+"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n", Request{Message: chunked, Expect100: true})
	f(h11+"Expect: 100-continue\r\n\r\n", Request{Message: body(-1)})
	f(h10+"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n", Request{Message: Message{ContentLength: 5}})

	f(h11+"TE: trailers\r\n\r\n", Request{Message: body(-1), TrailersOK: true})
	f(h11+"TE: gzip;q=0.5, Trailers\r\n\r\n", Request{Message: body(-1), TrailersOK: true})
	f(h11+"TE: gzip\r\n\r\n", Request{Message: body(-1)})

	f(h11+"Connection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n", Request{Message: body(-1), Websocket: true})
	f(h11+"Connection: keep-alive, upgrade\r\nUpgrade: h2c, websocket\r\n\r\n", Request{Message: body(-1), Websocket: true})
	f(h11+"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", Request{Message: body(-1)})
	f(h11+"Upgrade: websocket\r\n\r\n", Request{Message: body(-1)})
	f(h11+"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\n", Request{Message: body(1)})
	f("HEAD / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", Request{Message: body(-1)})
	f(h10+"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", Request{Message: Message{ContentLength: -1}})
}

func TestRequest_HostSyntax(t *testing.T) {
	f := func(host string, want bool) {
		t.Helper()
		var r Request
		ok, rej := r.Parse([]byte("GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n"), nil)
		require.Equal(t, want, ok, host)
		if !want {
			require.Equal(t, 400, rej.Status)
			return
		}
		require.Equal(t, host, string(r.Host))
	}
	f("a", true)
	f("A-b_c.test.", true)
	f("a.test:80", true)
	f("a.test:", true)
	f("a.test:65535", true)
	f("a.test:65536", false)
	f("a.test:8o", false)
	f("a.test:-1", false)
	f("a.test:80:80", false)
	f(":80", false)
	f("127.0.0.1:80", true)
	f("::1", false)
	f("[::1]", true)
	f("[::1]:80", true)
	f("[::1]80", false)
	f("[::1", false)
	f("[::1%25eth0]", false)
	f("[127.0.0.1]", false)
	f("[]", false)
	f("a,b", false)
	f("a b", false)
	f("a/b", false)
	f("u@a", false)
	f("a?b", false)
	f("a#b", false)
	f("a\\b", false)
	f("a%2eb", false)
	f("a*b", false)
	f("\xffa", false)
}

func TestValidIPv6_AgreesWithNetip(t *testing.T) {
	f := func(s string) {
		t.Helper()
		a, err := netip.ParseAddr(s)
		require.Equal(t, err == nil && a.Is6() && a.Zone() == "", validIPv6([]byte(s)), s)
	}
	for _, s := range []string{
		"", ":", "::", ":::", "::1", "1::", "1", "1:", ":1", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9",
		"1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1:2:3:4::5:6:7:8", "1::2::3", "1:::2", "12345::", "fFfF::", "g::",
		"::ffff:1.2.3.4", "::1.2.3.4", "1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4",
		"1:2:3:4:5::1.2.3.4", "1:2:3:4:5:6::1.2.3.4", "::1.2.3", "::1.2.3.4.5", "::1.2.3.256", "::01.2.3.4", "::1.2.3.4:5",
		"::1.2..4", "::0.0.0.0", "::1.2.3.", "fe80::1%eth0", "::12345.1.1.1",
	} {
		f(s)
	}
}

func TestRequest_Nominated(t *testing.T) {
	var r Request
	ok, rej := r.Parse([]byte("GET / HTTP/1.1\r\nX-Hop: 1\r\nx-hop: 2\r\nX-Stay: 3\r\n"+
		"Connection: X-HOP, Host, content-length, X-Forwarded-For, X-Forwarded-Foo, X-Real-IP, Forwarded, Cookie\r\n"+
		"Host: a.test\r\nContent-Length: 0\r\nX-Forwarded-For: x\r\nX-Forwarded-Foo: x\r\nX-Real-IP: x\r\nForwarded: x\r\n"+
		"Cookie: x\r\nAccept: x\r\nConnection: accept\r\n\r\n"), nil)
	require.Nil(t, rej)
	require.True(t, ok)
	var got []string
	for i := range r.Fields {
		if r.Fields[i].Nominated {
			got = append(got, string(r.Name(&r.Fields[i])))
		}
	}
	require.Equal(t, []string{"X-Hop", "x-hop", "Accept"}, got)
}

func TestRequest_Value(t *testing.T) {
	var r Request
	ok, _ := r.Parse([]byte("GET / HTTP/1.1\r\nhost: a.test\r\nX-A: one\r\nX-B:\r\nx-a:  two\t\r\n\r\n"), nil)
	require.True(t, ok)
	f := func(name string, i int, want string, has bool) {
		t.Helper()
		v, ok := r.Value(name, i)
		require.Equal(t, has, ok)
		require.Equal(t, want, string(v))
	}
	f("HOST", 0, "a.test", true)
	f("X-A", 0, "one", true)
	f("x-A", 1, "two", true)
	f("X-A", 2, "", false)
	f("x-b", 0, "", true)
	f("X", 0, "", false)
	require.True(t, r.Has(IDHost))
	require.False(t, r.Has(IDConnection))
}

func TestRequest_ReuseForgets(t *testing.T) {
	var r Request
	_, _ = r.Parse([]byte("GET http://a.test/x?y HTTP/1.1\r\nHost: a.test\r\nConnection: close, upgrade\r\nUpgrade: websocket\r\nTE: trailers\r\n\r\n"), nil)
	require.True(t, r.Websocket)
	ok, _ := r.Parse([]byte("GET /z HTTP/1.0\r\n\r\n"), nil)
	require.True(t, ok)
	want := Request{Message: Message{Buf: r.Buf, Fields: r.Fields, ContentLength: -1, Head: len(r.Buf)},
		Method: []byte("GET"), Target: []byte("/z"), Path: []byte("/z"), PathQuery: []byte("/z")}
	require.Equal(t, want, r)
}

func TestRequest_Limits(t *testing.T) {
	const raw = "GET /12345 HTTP/1.1\r\nHost: a.test\r\nX-A: b\r\n\r\n"
	f := func(lim Limits, want *Reject) {
		t.Helper()
		var r Request
		ok, rej := r.Parse([]byte(raw+"tail"), &lim)
		require.Equal(t, want == nil, ok)
		require.Equal(t, want, rej)
	}
	f(Limits{}, nil)
	f(Limits{Head: len(raw), Target: 6, Fields: 2}, nil)
	f(Limits{Head: len(raw) - 1}, rejectHeadSize)
	f(Limits{Target: 5}, rejectTargetSize)
	f(Limits{Fields: 1}, rejectFieldCount)
}

func TestHeadEnd(t *testing.T) {
	f := func(s string, want int) {
		t.Helper()
		searched := len(s) // without success, so before the last byte of the end
		if want > 0 {
			searched = want - 1
		}
		for from := range searched + 1 {
			require.Equal(t, want, HeadEnd([]byte(s), from), "%q from %d", s, from)
		}
	}
	f("", -1)
	f("\r\n\r\n", -1)
	f("a\r\n\r", -1)
	f("a\r\n\r\n", 5)
	f("\r\na\r\n\r\nb", 7)
	f("a\n\n", 3)
	f("a\n\r\nb", 4)
	f("a\r\nb\r\n\r\nc\r\n\r\n", 8)
	f("a\r\n\r\r\n", 5)
	f("a\rb", 3)
	f("a\r\nb\r\r", 6)
}
