package http1

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestResponse_Framing(t *testing.T) {
	f := func(method, raw string, want Response) {
		t.Helper()
		var r Response
		ok, rej := r.Parse([]byte(raw), []byte(method), nil)
		require.Nil(t, rej)
		require.True(t, ok)
		require.Equal(t, len(raw), r.Head)
		require.Equal(t, want.Status, r.Status)
		require.Equal(t, string(want.Reason), string(r.Reason))
		require.Equal(t, want.Minor, r.Minor)
		require.Equal(t, want.ContentLength, r.ContentLength)
		require.Equal(t, want.Chunked, r.Chunked, "chunked")
		require.Equal(t, want.KeepAlive, r.KeepAlive, "keep-alive")
		require.Equal(t, want.NoBody, r.NoBody, "no body")
		require.Equal(t, want.BodyForbidden, r.BodyForbidden, "body forbidden")
		require.Equal(t, want.UntilClose, r.UntilClose, "until close")
		require.Equal(t, want.UpgradeWebsocket, r.UpgradeWebsocket, "websocket")
	}
	ok := []byte("OK")
	none := Message{Minor: 1, KeepAlive: true, ContentLength: -1}
	sized := func(n int64) Message { return Message{Minor: 1, KeepAlive: true, ContentLength: n} }
	chunked := Message{Minor: 1, KeepAlive: true, Chunked: true, ContentLength: -1}

	f("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", Response{Status: 200, Reason: ok, Message: sized(2)})
	f("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 02 ,\t2\r\n\r\n", Response{Status: 200, Reason: ok, Message: sized(2)})
	f("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Response{Status: 200, Reason: ok, Message: chunked})
	f("GET", "HTTP/1.1 200 OK\r\n\r\n", Response{Status: 200, Reason: ok, UntilClose: true, Message: Message{Minor: 1, ContentLength: -1}})
	f("GET", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n", Response{Status: 200, Message: sized(2)})
	f("GET", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n", Response{Status: 200, Message: sized(2)})
	f("GET", "HTTP/1.2 999 a\tb \xff\r\nContent-Length: 2\r\n\r\n", Response{Status: 999, Reason: []byte("a\tb \xff"), Message: sized(2)})
	f("GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", Response{Status: 200, Reason: ok, Message: Message{ContentLength: 2}})
	f("GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n", Response{Status: 200, Reason: ok, Message: Message{ContentLength: 2, KeepAlive: true}})
	f("GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", Response{Status: 200, Reason: ok, UntilClose: true, Message: Message{ContentLength: -1}})
	f("GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n", Response{Status: 200, Reason: ok, Message: Message{Minor: 1, ContentLength: 2}})

	f("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", Response{Status: 200, Reason: ok, NoBody: true, Message: sized(2)})
	f("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Response{Status: 200, Reason: ok, NoBody: true, Message: chunked})
	f("HEAD", "HTTP/1.1 200 OK\r\n\r\n", Response{Status: 200, Reason: ok, NoBody: true, Message: none})
	f("GET", "HTTP/1.1 304 \r\nContent-Length: 2\r\n\r\n", Response{Status: 304, NoBody: true, Message: sized(2)})
	f("GET", "HTTP/1.1 204 \r\n\r\n", Response{Status: 204, NoBody: true, Message: none})
	f("GET", "HTTP/1.1 204 \r\nContent-Length: 0\r\n\r\n", Response{Status: 204, NoBody: true, BodyForbidden: true, Message: sized(0)})
	f("GET", "HTTP/1.1 204 \r\nTransfer-Encoding: chunked\r\n\r\n", Response{Status: 204, NoBody: true, BodyForbidden: true, Message: chunked})
	f("GET", "HTTP/1.1 103 \r\nLink: x\r\n\r\n", Response{Status: 103, NoBody: true, Message: none})

	const switched = "HTTP/1.1 101 \r\nConnection: Upgrade\r\n"
	f("GET", switched+"Upgrade: WebSocket\r\n\r\n", Response{Status: 101, NoBody: true, UpgradeWebsocket: true, Message: none})
	f("GET", switched+"Upgrade: h2c\r\n\r\n", Response{Status: 101, NoBody: true, Message: none})
	f("GET", switched+"Upgrade: websocket\r\nUpgrade: h2c\r\n\r\n", Response{Status: 101, NoBody: true, Message: none})
	f("GET", switched+"\r\n", Response{Status: 101, NoBody: true, Message: none})
	f("GET", "HTTP/1.1 101 \r\nUpgrade: websocket\r\n\r\n", Response{Status: 101, NoBody: true, Message: none})
}

func TestResponse_RefusesPrefix(t *testing.T) {
	f := func(raw string, want *Reject) {
		t.Helper()
		var r Response
		ok, rej := r.Parse([]byte(raw), []byte("GET"), nil)
		require.False(t, ok)
		require.Equal(t, want.gateway, rej)
		require.Equal(t, 502, rej.Status)
		require.Equal(t, want.Reason, rej.Reason)
	}
	const line = "HTTP/1.1 200 OK\r\n"

	f("\x00\x00\x12", rejectStatusLine)
	f("\r\n", rejectStatusLine)
	f("ICY", rejectStatusLine)
	f("HTTP/2", rejectStatusLine)
	f("HTTP/1.m", rejectStatusLine)
	f("HTTP/1.1  ", rejectStatusLine)
	f("HTTP/1.1 s", rejectStatusLine)
	f("HTTP/1.1 2O", rejectStatusLine)
	f("HTTP/1.1 099", rejectStatusLine)
	f("HTTP/1.1 2000", rejectStatusLine)
	f("HTTP/1.1 200 O\x00", rejectStatusLine)
	f("HTTP/1.1 200 OK\n", rejectBareLF)
	f("HTTP/1.1 200 OK\rX", rejectBareCR)
	f(line+"HTTP/1.1 ", rejectName)
	f(line+" a", rejectFold)
	f(line+"garbage\r", rejectNoColon)
	f(line+"A: b\nc", rejectBareLF)
	f(line+"A: b\rc", rejectBareCR)
	f(line+"A: \x00", rejectValue)
	f(line+"\n", rejectBareLF)
	f(line+"Content-Length: 1\r\nContent-Length: 2\r\n", rejectLengths)
	f(line+"Content-Length: 1, 2\r\n", rejectLengths)
	f(line+"Content-Length: 1,\r\n", rejectLength)
	f(line+"Content-Length: x\r\n", rejectLength)
	f(line+"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", rejectBoth)
	f(line+"Transfer-Encoding: gzip\r\n", rejectCoding)
	f(line+"Transfer-Encoding: identity\r\n", rejectCoding)
	f("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n", rejectCoding10)
	f("HTTP/1.1 100 \r\nContent-Length: 0\r\n\r\n", rejectInterim)
	f("HTTP/1.1 101 \r\nTransfer-Encoding: chunked\r\n\r\n", rejectInterim)
	f(line+"Connection: "+strings.Repeat("a,", maxOptions+1)+"\r\n\r\n", rejectOptionCount)
	f(line+strings.Repeat("A:b\r\n", DefaultFields+1), rejectFieldCount)
	f(line+"A: "+strings.Repeat("b", DefaultHead), rejectHeadSize)
}

func TestReject_Error(t *testing.T) {
	var err error = rejectBareLF
	require.EqualError(t, err, "400: line ends in a bare LF")
	require.EqualError(t, rejectBareLF.gateway, "502: line ends in a bare LF")
}
