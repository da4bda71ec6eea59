package proxy

import (
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// vanish has the machine behind c be gone: packets for it get lost in silence.
func vanish(t *testing.T, c net.Conn) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	require.NoError(t, err)
	drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
	require.NoError(t, raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), syscall.SOL_SOCKET, syscall.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop[0]})
	}))
	require.NoError(t, err)
}

func TestExchange_ServerThatVanishedIsNotWaitedFor(t *testing.T) {
	var asked atomic.Int32
	both := make(chan struct{})
	at := script(t, func(c net.Conn, _ string) {
		n := asked.Add(1)
		if n == 2 {
			close(both)
		}
		<-both
		if n <= 2 {
			vanish(t, c) // once the answer is on its way
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	b := newBed(t, func(b *bed) {
		b.loops = 1
		b.opts.WriteTimeout = 300 * time.Millisecond
		b.opts.ResponseTimeout = time.Hour
	}, at)
	answers := make(chan string, 2)
	for range 2 { // at once, so that they leave two connections that are no good
		go func() { answers <- status(b.exchange(closing)) }()
	}
	require.Equal(t, "200 OK", <-answers)
	require.Equal(t, "200 OK", <-answers)
	require.Equal(t, "200 OK", status(b.exchange(closing)))
	require.EqualValues(t, 3, asked.Load())
	require.Equal(t, "up", b.registry.All()[0].State(now()))

	// This one would not be sent again.
	require.Equal(t, "200 OK", status(b.exchange("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")), "the other connection is not used either")
}
