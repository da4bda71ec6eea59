package proxy

import (
	"bufio"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"arzur.net/lb/proxy/loop"
	"arzur.net/lb/rules"
)

// An end without power says nothing, and the tunnel would stand for an hour.
func TestTunnel_AsksSilentEndsWhetherTheyLive(t *testing.T) {
	f := func(protocol, server, hello, word string) {
		t.Helper()
		b := newBed(t, func(b *bed) { b.rule.Protocol, b.loops = protocol, 1 }, server)
		c := b.dial()
		_, err := io.WriteString(c, hello)
		require.NoError(t, err)
		r := bufio.NewReader(c)
		for line := ""; line != word; { // until the tunnel stands
			line, err = r.ReadString('\n')
			require.NoError(t, err)
		}
		fds := make(chan int, 2)
		k := b.cores[0]
		k.loop.Post(func() {
			for _, conn := range []*loop.Conn{&k.clients[0].Conn, &k.clients[0].x.up.Conn} {
				fds <- conn.FD()
			}
		})
		for range 2 {
			fd := <-fds
			on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE)
			require.NoError(t, err)
			idle, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
			require.NoError(t, err)
			require.Equal(t, []int{1, 60}, []int{on, idle})
		}
	}
	f(rules.TCP, echoServer(t, "hello\n"), "", "hello\n")
	f(rules.HTTP, echoes(t), handshake, "\r\n")
}
