package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// echo answers with what it was asked.
func echo(t *testing.T) string {
	return backend(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Proto", r.Header.Get("X-Forwarded-Proto")+" "+r.Header.Get("X-Forwarded-Port"))
		_, _ = fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Path, body)
	})
}

func TestTLS_Versions(t *testing.T) {
	b := newTLSBed(t, nil, echo(t))
	f := func(version uint16) {
		t.Helper()
		c := b.dialTLS(func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version })
		require.Equal(t, version, c.ConnectionState().Version)
		require.Equal(t, "http/1.1", c.ConnectionState().NegotiatedProtocol)
		for range 3 {
			res, body := ask(t, c, getA)
			require.Equal(t, "GET /p ", body)
			require.Equal(t, fmt.Sprint("https ", b.port), res.Header.Get("X-Proto"))
		}
	}
	f(tls.VersionTLS12)
	f(tls.VersionTLS13)
	b.untilShakes(shakeOK, 2)
}

func TestTLS_CipherSuitesOfTLS12(t *testing.T) {
	b := newTLSBed(t, func(b *tlsBed) {
		for _, s := range tls.CipherSuites() {
			b.server.CipherSuites = append(b.server.CipherSuites, s.ID)
		}
	}, echo(t))
	for _, id := range []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA} {
		c := b.dialTLS(func(c *tls.Config) { c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{id} })
		_, body := ask(t, c, getA)
		require.Equal(t, "GET /p ", body, tls.CipherSuiteName(id))
	}
}

func TestTLS_SessionsResume(t *testing.T) {
	b := newTLSBed(t, nil, echo(t))
	f := func(version uint16) {
		t.Helper()
		cache := tls.NewLRUClientSessionCache(8)
		resuming := func(c *tls.Config) { c.MaxVersion, c.ClientSessionCache = version, cache }
		for n := range 3 {
			c := b.dialTLS(resuming)
			_, body := ask(t, c, getA)
			require.Equal(t, "GET /p ", body)
			require.Equal(t, n > 0, c.ConnectionState().DidResume)
			_ = c.Close()
			b.apply() // tickets outlive a reload
		}
	}
	f(tls.VersionTLS12)
	f(tls.VersionTLS13)
	b.untilShakes(shakeResumed, 4)
}

func TestTLS_LongBodiesBothWays(t *testing.T) {
	b := newTLSBed(t, nil, echo(t))
	for _, size := range []int{1, 16<<10 - 1, 16 << 10, 16<<10 + 1, 100_000, 5 << 20} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c := b.dialTLS(func(c *tls.Config) { c.MaxVersion = version })
			body := strings.Repeat("0123456789abcde\n", size/16+1)[:size]
			sent := make(chan error, 1)
			go func() { // ends with the connection
				_, err := fmt.Fprintf(c, "POST /up HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n%s", size, body)
				sent <- err
			}()
			_, got := answer(t, bufio.NewReader(c), "POST")
			require.Equal(t, "POST /up "+body, got)
			require.NoError(t, <-sent)
		}
	}
}

func TestTLS_ChunkedUploadInSmallRecords(t *testing.T) {
	b := newTLSBed(t, nil, echo(t))
	c := b.dialTLS()
	for _, r := range "POST /up HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" {
		_, err := io.WriteString(c, string(r)) // a record each
		require.NoError(t, err)
	}
	_, got := answer(t, bufio.NewReader(c), "POST")
	require.Equal(t, "POST /up hello", got)
}

func TestTLS_Pipelining(t *testing.T) {
	b := newTLSBed(t, nil, echo(t))
	c := b.dialTLS()
	const n = 300
	_, err := io.WriteString(c, strings.Repeat(getA, n))
	require.NoError(t, err)
	r := bufio.NewReader(c)
	for range n {
		_, body := answer(t, r, "GET")
		require.Equal(t, "GET /p ", body)
	}
}

// slow writes one byte at a time.
type slowWriter struct{ net.Conn }

func (s slowWriter) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := s.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func TestTLS_ByteByByte(t *testing.T) {
	b := newTLSBed(t, nil, echo(t))
	c := tls.Client(slowWriter{b.dial()}, b.client)
	for range 2 {
		_, body := ask(t, c, getA)
		require.Equal(t, "GET /p ", body)
	}
}

// fragments splits the first record it is asked to write into records of size bytes.
type fragments struct {
	net.Conn
	size int
	done bool
}

func (f *fragments) Write(p []byte) (int, error) {
	if f.done {
		return f.Conn.Write(p)
	}
	f.done = true
	var out []byte
	for body := p[5:]; len(body) > 0; {
		n := min(f.size, len(body))
		out = append(out, p[0], p[1], p[2], byte(n>>8), byte(n))
		out = append(out, body[:n]...)
		body = body[n:]
	}
	_, err := f.Conn.Write(out)
	return len(p), err
}

func TestTLS_FragmentedClientHello(t *testing.T) {
	b := newTLSBed(t, nil, echo(t))
	for _, size := range []int{1, 3, 4, 100, 1000} {
		c := tls.Client(&fragments{Conn: b.dial(), size: size}, b.client)
		_, body := ask(t, c, getA)
		require.Equal(t, "GET /p ", body, "%d", size)
	}
}

func TestTLS_RequestWithTheLastFlight(t *testing.T) {
	b := newTLSBed(t, nil, echo(t))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		gathered := &gather{Conn: b.dial()}
		config := b.client.Clone()
		config.MaxVersion = version
		c := tls.Client(gathered, config)
		require.NoError(t, c.Handshake())
		_, err := io.WriteString(c, getA)
		require.NoError(t, err)
		gathered.let()
		_, body := answer(t, bufio.NewReader(c), "GET")
		require.Equal(t, "GET /p ", body)
	}
}

// gather holds back what is written in a TLS 1.3 handshake after the ClientHello
// until let is called.
type gather struct {
	net.Conn
	writes int
	open   bool
	held   bytes.Buffer
}

func (g *gather) Write(p []byte) (int, error) {
	g.writes++
	if g.writes == 1 || g.open || p[0] == 22 {
		return g.Conn.Write(p)
	}
	return g.held.Write(p)
}

func (g *gather) let() {
	g.open = true
	_, _ = g.Conn.Write(g.held.Bytes())
}

func TestTLS_UnknownNameIsRefused(t *testing.T) {
	b := newTLSBed(t, nil, echo(t))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := b.client.Clone()
		config.ServerName, config.MaxVersion = "nobody.test", version
		err := tls.Client(b.dial(), config).Handshake()
		require.ErrorContains(t, err, "unrecognized name")
	}
	b.untilShakes(shakeRefused, 2)
}

func TestTLS_PortWithoutConfiguration(t *testing.T) {
	b := newTLSBed(t, nil, echo(t))
	b.opts.TLS = nil
	b.apply()
	require.Error(t, tls.Client(b.dial(), b.client).Handshake())
	b.untilShakes(shakeRefused, 1)
}

func TestTLS_PlainHTTPIsRefused(t *testing.T) {
	b := newTLSBed(t, nil, echo(t))
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		c := b.dial()
		_, err := io.WriteString(c, method+" / HTTP/1.1\r\nHost: a.test\r\n\r\n")
		require.NoError(t, err)
		r := bufio.NewReader(c)
		res, body := answer(t, r, "GET")
		require.Equal(t, 400, res.StatusCode)
		require.True(t, res.Close)
		require.Contains(t, body, "this port speaks TLS")
		_, err = r.ReadByte()
		require.Equal(t, io.EOF, err)
	}
	b.untilShakes(shakeNotTLS, 7)
	require.Empty(t, b.exchange("SSH-2.0-OpenSSH_9.2\r\n"))
	b.untilShakes(shakeNotTLS, 8)
}

func TestTLS_ChallengeEndsWithTheHandshake(t *testing.T) {
	b := newTLSBed(t, func(b *tlsBed) { b.server.NextProtos = []string{"http/1.1", "acme-tls/1"} }, echo(t))
	c := b.dialTLS(func(c *tls.Config) { c.NextProtos = []string{"acme-tls/1"} })
	require.Equal(t, "acme-tls/1", c.ConnectionState().NegotiatedProtocol)
	_, err := c.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	b.untilShakes(shakeChallenge, 1)
}

func TestTLS_HandshakeHasADeadline(t *testing.T) {
	b := newTLSBed(t, func(b *tlsBed) { b.opts.HandshakeTimeout = 300 * time.Millisecond }, echo(t))
	began := time.Now()
	f := func(name string, act func(c net.Conn)) {
		t.Run(name, func(t *testing.T) {
			c := b.dial()
			act(c)
			_, _ = io.Copy(io.Discard, c)
			require.GreaterOrEqual(t, time.Since(began), b.opts.HandshakeTimeout)
		})
	}
	f("nothing", func(net.Conn) {})
	f("half a hello", func(c net.Conn) { _, _ = c.Write([]byte{22, 3, 1, 2, 0, 1, 0}) })
	f("no second flight", func(c net.Conn) {
		_ = tls.Client(&muteAfter{Conn: c, writes: 1}, b.client).Handshake()
	})
	b.untilShakes(shakeTimeout, 3)
	require.Zero(t, b.shaking.Load())
}

// muteAfter drops all writes but the first few.
type muteAfter struct {
	net.Conn
	writes int
}

func (m *muteAfter) Write(p []byte) (int, error) {
	if m.writes--; m.writes < 0 {
		return len(p), nil
	}
	return m.Conn.Write(p)
}

func TestTLS_ProgressDoesNotMoveTheDeadline(t *testing.T) {
	b := newTLSBed(t, func(b *tlsBed) { b.opts.HandshakeTimeout = 300 * time.Millisecond }, echo(t))
	c := b.dial()
	gone := make(chan struct{})
	go func() { // ends with the connection
		_, _ = io.Copy(io.Discard, c)
		close(gone)
	}()
	began := time.Now()
	hello := append([]byte{22, 3, 1, 16, 0, 1, 0, 15, 252}, make([]byte, 4096)...)
	for i := 0; ; i++ {
		select {
		case <-gone:
			require.Less(t, time.Since(began), eventually, "the hello takes longer")
			return
		case <-time.After(20 * time.Millisecond):
			_, _ = c.Write(hello[i : i+1])
		}
	}
}

func TestTLS_ClientLeavesInsideTheHandshake(t *testing.T) {
	b := newTLSBed(t, nil, echo(t))
	const n = 20
	for range n {
		c := b.dial()
		m := &muteAfter{Conn: c, writes: 1}
		hello := make(chan struct{})
		go func() { // ends with the connection
			_ = tls.Client(m, b.client).Handshake()
			close(hello)
		}()
		require.Eventually(t, func() bool { return b.shaking.Load() > 0 }, eventually, tick)
		_ = c.Close()
		<-hello
		require.Eventually(t, func() bool { return b.shaking.Load() == 0 }, eventually, tick)
	}
	b.untilShakes(shakeClosed, n)
	_, body := ask(t, b.dialTLS(), getA)
	require.Equal(t, "GET /p ", body)
}

func TestTLS_PanicCostsItsHandshakeAlone(t *testing.T) {
	b := newTLSBed(t, func(b *tlsBed) {
		inner := b.server.GetCertificate
		b.server.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if h.ServerName == "c.test" {
				panic("no")
			}
			return inner(h)
		}
	}, echo(t))
	config := b.client.Clone()
	config.ServerName = "c.test"
	require.Error(t, tls.Client(b.dial(), config).Handshake())
	b.untilShakes(shakePanic, 1)
	total, _ := b.Panics()
	require.EqualValues(t, 1, total)
	_, body := ask(t, b.dialTLS(), getA)
	require.Equal(t, "GET /p ", body)
}
