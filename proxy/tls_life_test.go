package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules"
)

func TestTLS_EndsWithCloseNotify(t *testing.T) {
	b := newTLSBed(t, nil, echo(t))
	c := b.dialTLS()
	_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
	require.NoError(t, err)
	got, err := io.ReadAll(c) // which takes a bare EOF for an end, too
	require.NoError(t, err)
	require.Contains(t, string(got), "GET / ")
	require.Contains(t, string(b.lastRecord()), "\x15\x03\x03") // an alert
}

// lastRecord is the last record of an answer, as bytes.
func (b *tlsBed) lastRecord() []byte {
	config := b.client.Clone()
	config.MaxVersion = tls.VersionTLS12 // in 1.3 alerts look like data
	tap := &tapped{Conn: b.dial()}
	c := tls.Client(tap, config)
	_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
	require.NoError(b.t, err)
	_, err = io.ReadAll(c)
	require.NoError(b.t, err)
	rest := tap.got
	for len(rest) >= 5 {
		n := 5 + int(rest[3])<<8 + int(rest[4])
		if n >= len(rest) {
			break
		}
		rest = rest[n:]
	}
	return rest
}

// tapped keeps what was read.
type tapped struct {
	net.Conn
	got []byte
}

func (t *tapped) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.got = append(t.got, p[:n]...)
	return n, err
}

func TestTLS_DrainLetsHandshakesEnd(t *testing.T) {
	b := newTLSBed(t, nil, echo(t))
	idle := b.dialTLS()
	begun := b.dial()
	held := &gather{Conn: begun}
	c := tls.Client(held, b.client)
	require.NoError(t, c.Handshake()) // its own Finished is held back
	require.Eventually(t, func() bool { return b.shaking.Load() == 1 }, eventually, tick, "the idle one has ended on both sides")
	_, err := io.WriteString(c, getA)
	require.NoError(t, err)
	done := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), eventually)
		defer cancel()
		done <- b.Drain(ctx)
	}()
	for b.accepting() {
		runtime.Gosched()
	}
	held.let()
	res, body := answer(t, bufio.NewReader(c), "GET")
	require.Equal(t, "GET /p ", body)
	require.True(t, res.Close)
	_, err = idle.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	require.NoError(t, <-done)
}

func TestTLS_ReloadsCostNoHandshake(t *testing.T) {
	b := newTLSBed(t, nil, echo(t))
	stop := make(chan struct{})
	var clients sync.WaitGroup
	var failed, done atomic.Int64
	for range 4 {
		clients.Go(func() { // ends with stop
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := tls.Dial("tcp", b.addr(), b.client)
				if err != nil {
					failed.Add(1)
					continue
				}
				if _, err = io.WriteString(c, getA); err == nil {
					_, err = http.ReadResponse(bufio.NewReader(c), nil)
				}
				if err != nil {
					failed.Add(1)
				}
				_ = c.Close()
				done.Add(1)
			}
		})
	}
	other := serverConfig(b.ca.issue(t, "a.test"))
	for n := range 50 {
		b.opts.TLS = map[string]*tls.Config{rules.HTTPS: []*tls.Config{b.server, other}[n%2]}
		b.apply()
		enough := done.Load() + 10 // handshakes under each of them
		require.Eventually(t, func() bool { return done.Load() >= enough }, eventually, tick)
	}
	close(stop)
	clients.Wait()
	require.Zero(t, failed.Load())
}

func TestTLS_PortChangesItsProtocol(t *testing.T) {
	b := newTLSBed(t, nil, echo(t))
	secure := b.dialTLS()
	b.rule.Protocol = rules.HTTP
	b.apply()
	require.Contains(t, b.exchange("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), "200 OK")
	res, _ := ask(t, secure, getA)
	require.Equal(t, 200, res.StatusCode, "what stands stays")
}

func TestTLS_WebsocketTunnel(t *testing.T) {
	b := newTLSBed(t, nil, rawBackend(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, accepted)
		_, _ = io.Copy(c, r)
	}))
	c := b.dialTLS()
	res, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	require.NoError(t, err, res)
	r := bufio.NewReader(c)
	answer, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	require.Equal(t, 101, answer.StatusCode)
	text := strings.Repeat("ping pong ", 30_000)
	go func() { _, _ = io.WriteString(c, text) }() // ends with the connection
	got := make([]byte, len(text))
	_, err = io.ReadFull(r, got)
	require.NoError(t, err)
	require.True(t, text == string(got))
	require.NoError(t, c.CloseWrite())
	_, err = r.ReadByte()
	require.Equal(t, io.EOF, err, "the end goes through the tunnel, and back")
}

func TestTLS_AccessLogNamesVersionAndCipher(t *testing.T) {
	b := newTLSBed(t, nil, echo(t))
	l := &logged{bed: b.bed, path: t.TempDir() + "/access.log"}
	log, err := NewAccessLog(AccessLogConfig{Path: l.path, Format: "json"}, b.log)
	require.NoError(t, err)
	l.log = log
	l.SetAccessLog(log)
	_, _ = ask(t, b.dialTLS(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), getA)
	lines := l.end()
	require.Len(t, lines, 1)
	line := parse(t, lines[0])
	require.Equal(t, "TLS 1.2", line["tls"])
	require.Equal(t, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", line["cipher"])
}

func TestTLS_StopLetsGoOfHandshakes(t *testing.T) {
	b := newTLSBed(t, nil, echo(t))
	before := runtime.NumGoroutine()
	for range 10 {
		c := tls.Client(&gather{Conn: b.dial()}, b.client)
		require.NoError(t, c.Handshake())
	}
	require.EqualValues(t, 10, b.shaking.Load())
	b.Stop()
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before }, eventually, tick)
}

func TestTLS_PortThatNowWantsTLSServesNobodyInTheClear(t *testing.T) {
	b := newTLSBed(t, func(b *tlsBed) { b.rule.Protocol = rules.HTTP }, echo(t))
	c := b.dial()
	r := bufio.NewReader(c)
	_, err := io.WriteString(c, getA)
	require.NoError(t, err)
	answer(t, r, "GET")
	b.rule.Protocol = rules.HTTPS
	b.apply()
	_, err = io.WriteString(c, getA)
	require.NoError(t, err)
	got, _ := io.ReadAll(r)
	require.Empty(t, got)
}

// Servers that stall in handshakes must not use up those that clients may have.
func TestTLS_HandshakesWithServersKeepNoClientsOut(t *testing.T) {
	ca := newAuthority(t)
	b := newTLSBed(t, func(b *tlsBed) { securely(ca)(b.bed) }, eater(t))
	c := b.dialTLS()
	_, err := io.WriteString(c, getA)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return b.shaking.Load() == 1 && b.greeting.open.Load() == 0 }, eventually, tick)
}
