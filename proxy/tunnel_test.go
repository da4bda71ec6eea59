package proxy

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const handshake = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

const accepted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

// echoes answers the handshake and then says everything twice... once, as it came.
func echoes(t *testing.T) string {
	return script(t, func(c net.Conn, head string) {
		if !strings.Contains(head, "Upgrade: websocket\r\n") {
			_, _ = io.WriteString(c, "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n")
			return
		}
		_, _ = io.WriteString(c, accepted+"hello ")
		_, _ = io.Copy(c, c)
		_ = c.Close()
	})
}

func TestTunnel_CarriesBytesBothWays(t *testing.T) {
	b := newBed(t, nil, echoes(t))
	c := b.dial()
	_, _ = io.WriteString(c, handshake+"early ")
	r := bufio.NewReader(c)
	head := ""
	for !strings.HasSuffix(head, "\r\n\r\n") {
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		head += line
	}
	require.True(t, strings.HasPrefix(head, "HTTP/1.1 101 Switching Protocols\r\n"), head)
	long := strings.Repeat("0123456789abcdef", 1<<16) // more than both sockets hold, so both directions wait
	go func() {
		_, _ = io.WriteString(c, long)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, len("hello early ")+len(long), len(got))
	require.Equal(t, "hello early "+long, string(got))
}

func TestTunnel_OnlyAfterAMatching101(t *testing.T) {
	f := func(answer, request, want string) {
		t.Helper()
		b := newBed(t, nil, script(t, say(answer)))
		require.Equal(t, want, status(b.exchange(request)))
	}
	f(accepted, closing, "502 Bad Gateway")
	f("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", strings.Replace(handshake, "Connection: Upgrade", "Connection: Upgrade, close", 1), "502 Bad Gateway")
	f("HTTP/1.1 101 Switching Protocols\r\n\r\n", strings.Replace(handshake, "Connection: Upgrade", "Connection: Upgrade, close", 1), "502 Bad Gateway")
}

func TestTunnel_IdleOnesEnd(t *testing.T) {
	b := newBed(t, func(b *bed) { b.opts.TunnelTimeout = time.Second }, echoes(t))
	require.True(t, strings.HasSuffix(b.exchange(handshake), "\r\n\r\nhello "))
}

func TestTunnel_UnknownUpgradeIsNotPassedOn(t *testing.T) {
	b := newBed(t, nil, echoes(t))
	got := b.exchange("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n")
	require.Equal(t, "426 Upgrade Required", status(got))
}
