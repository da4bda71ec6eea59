package main

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/websocket"
)

// TestTLSWebsocket_OutlivesReloadsAndRenewals speaks with a server that sends
// back what it gets, in the clear and over TLS.
func TestTLSWebsocket_OutlivesReloadsAndRenewals(t *testing.T) {
	a, servers := newAuthority(t), newAuthority(t)
	echo := websocket.Handler(func(c *websocket.Conn) { _, _ = io.Copy(c, c) })
	clear := testServer(t, echo)
	secure, _ := secureServer(t, servers, nil, echo)
	for _, service := range []string{
		`servers: ["` + clear + `"]`,
		`servers: ["` + secure + `"], tls: {server_name: blog.test, ca: "` + servers.file + `"}`,
	} {
		port, p := toServers(t, a, service)
		config, err := websocket.NewConfig("wss://arzur.net/", "https://arzur.net/")
		require.NoError(t, err)
		conn, err := tls.Dial("tcp", local(port), &tls.Config{ServerName: "arzur.net", RootCAs: a.pool})
		require.NoError(t, err)
		c, err := websocket.NewClient(config, conn)
		require.NoError(t, err)
		for _, size := range []int{1, 125, 126, 1 << 14, 1<<16 + 1, 5 << 20} {
			sent := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
			go func() { _, _ = c.Write(sent) }() // what fails is not echoed
			got := make([]byte, size)
			_, err := io.ReadFull(c, got)
			require.NoError(t, err)
			require.True(t, bytes.Equal(got, sent), "%d bytes", size)
			p.signal(syscall.SIGHUP)
			p.await(`"reloaded"`)
		}
		require.NoError(t, c.Close())
		p.signal(syscall.SIGTERM)
		require.Zero(t, p.exit())
		_, err = net.Dial("tcp", local(port))
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	}
}
