package proxy

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"iter"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/health"
	"arzur.net/lb/proxy/loop"
	"arzur.net/lb/rules"
)

// simIdentity is a certificate for x.test that signs itself. Its signatures have
// the same length every time, so that a seed gives the same run.
var simIdentity = sync.OnceValue(func() tls.Certificate {
	seed := sha256.Sum256([]byte("simulated"))
	key := ed25519.NewKeyFromSeed(seed[:])
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x.test"}, DNSNames: []string{"x.test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), IsCA: true, BasicConstraintsValid: true,
	}
	raw, err := x509.CreateCertificate(nil, c, c, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key, Leaf: leaf}
})

// simServerSide and simClientSide are the ends of TLS on a simulated network.
func simServerSide() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{simIdentity()}, DynamicRecordSizingDisabled: true}
}

func simClientSide() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(simIdentity().Leaf)
	return &tls.Config{
		RootCAs: pool, ServerName: "x.test", CurvePreferences: []tls.CurveID{tls.X25519},
		ClientSessionCache: tls.NewLRUClientSessionCache(4), DynamicRecordSizingDisabled: true,
	}
}

// secureFront and secureBack have clients and backends speak TLS.
func (b *simBed) secureFront() {
	b.front = simClientSide()
	b.rule.Protocol = rules.HTTPS
	b.opts.TLS = map[string]*tls.Config{rules.HTTPS: simServerSide()}
}

func (b *simBed) secureBack() {
	b.back = simServerSide()
	b.service.TLS = &health.TLS{ServerName: "x.test", CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: simIdentity().Certificate[0]})}
}

// simPeer is a test's end of a connection, in the clear or under TLS.
type simPeer struct {
	*loop.SimPeer
	handle func() // as SimPeer.Handle; under TLS once the handshake is over

	conn   *tls.Conn // nil: in the clear
	in     []byte    // ciphertext not yet used
	queue  string    // written during the handshake
	closes bool      // CloseWrite was called during the handshake
	over   bool      // the handshake is, well or not
	ended  bool
	cut    bool // ended without a close_notify
	err    error

	resume func() (struct{}, bool)
	stop   func()
	yield  func(struct{}) bool
}

// dial connects a client to the engine.
func (b *simBed) dial(handle func(p *simPeer)) *simPeer {
	p := &simPeer{SimPeer: b.Dial(simFront)}
	p.handle = func() { handle(p) }
	if b.front != nil {
		p.conn = tls.Client(simConn{SimPeer: p.SimPeer, p: p}, b.front)
	}
	b.begin(p)
	return p
}

// accept takes a connection to a backend.
func (b *simBed) accept(sp *loop.SimPeer, handle func(p *simPeer)) *simPeer {
	p := &simPeer{SimPeer: sp}
	p.handle = func() { handle(p) }
	if b.back != nil {
		p.conn = tls.Server(simConn{SimPeer: sp, p: p}, b.back)
	}
	b.begin(p)
	return p
}

func (b *simBed) begin(p *simPeer) {
	p.Handle = func(*loop.SimPeer) {
		if p.conn != nil && !p.over {
			p.shake()
		}
		if p.conn == nil || p.over {
			p.handle()
		}
	}
	if p.conn != nil {
		p.resume, p.stop = iter.Pull(func(yield func(struct{}) bool) {
			p.yield = yield
			p.err = p.conn.Handshake()
		})
		b.shakes = append(b.shakes, p.stop)
		p.shake()
	}
}

// shake goes on with the handshake.
func (p *simPeer) shake() {
	p.in = append(p.in, p.SimPeer.Read()...)
	if _, waits := p.resume(); waits {
		return
	}
	if p.over = true; p.err != nil {
		p.ended = true
		return
	}
	p.Write(p.queue)
	if p.closes {
		p.CloseWrite()
	}
}

// Read takes what has arrived.
func (p *simPeer) Read() string {
	if p.conn == nil {
		return p.SimPeer.Read()
	}
	p.in = append(p.in, p.SimPeer.Read()...)
	var text []byte
	for buf := make([]byte, 4096); p.over && p.err == nil && !p.ended; {
		n, err := p.conn.Read(buf)
		text = append(text, buf[:n]...)
		switch {
		case err == errSimDry:
			return string(text)
		case err == io.EOF:
			p.ended = true
		case err != nil:
			p.ended, p.err = true, err
		}
	}
	return string(text)
}

// Write sends s.
func (p *simPeer) Write(s string) {
	switch {
	case p.conn == nil:
		p.SimPeer.Write(s)
	case !p.over:
		p.queue += s
	case p.err == nil && s != "":
		_, _ = p.conn.Write([]byte(s))
	}
}

// Ended reports whether the other end sent all that it will send and it was read.
func (p *simPeer) Ended() bool { return p.conn == nil && p.SimPeer.Ended() || p.ended }

// Broken is how the connection failed, nil if it did not.
func (p *simPeer) Broken() error {
	if err := p.SimPeer.Broken(); err != nil {
		return err
	}
	return p.err
}

// CloseWrite sends the end of the stream.
func (p *simPeer) CloseWrite() {
	if p.conn != nil && !p.over {
		p.closes = true
		return
	}
	p.sayEnd()
	p.SimPeer.CloseWrite()
}

// Close closes this end.
func (p *simPeer) Close() {
	p.sayEnd()
	p.SimPeer.Close()
}

func (p *simPeer) sayEnd() {
	if p.conn != nil && p.over && p.err == nil {
		_ = p.conn.CloseWrite()
	}
}

// simConn is the net.Conn of a simPeer.
type simConn struct {
	net.Conn // nil: nobody asks for what is not below
	*loop.SimPeer
	p *simPeer
}

func (c simConn) Read(b []byte) (int, error) {
	p := c.p
	for len(p.in) == 0 {
		switch {
		case c.SimPeer.Broken() != nil, c.SimPeer.Ended():
			p.cut = true
			return 0, io.EOF
		case p.over:
			return 0, errSimDry
		case !p.yield(struct{}{}):
			return 0, io.ErrClosedPipe
		}
	}
	n := copy(b, p.in)
	p.in = p.in[n:]
	return n, nil
}

func (c simConn) Write(b []byte) (int, error) {
	c.SimPeer.Write(string(b))
	return len(b), nil
}

func (c simConn) Close() error                     { return nil }
func (c simConn) SetDeadline(time.Time) error      { return nil }
func (c simConn) SetReadDeadline(time.Time) error  { return nil }
func (c simConn) SetWriteDeadline(time.Time) error { return nil }

// errSimDry is the temporary error after which crypto/tls can be called again.
var errSimDry net.Error = simDry{}

type simDry struct{}

func (simDry) Error() string   { return "dry" }
func (simDry) Timeout() bool   { return false }
func (simDry) Temporary() bool { return true }

func TestSim_TLSByteByByte(t *testing.T) {
	f := func(name string, loops int, change func(*simBed)) {
		t.Run(name, func(t *testing.T) {
			b := newSimBed(t, 7, loops)
			b.secureFront()
			b.secureBack()
			b.opts.ConnectTimeout = 10 * time.Second
			change(b)
			exchangeThree(b)
		})
	}
	f("at once", 1, func(*simBed) {})
	f("reads of one byte", 1, func(b *simBed) { b.MaxRead = 1 })
	f("writes of one byte", 1, func(b *simBed) { b.MaxWrite = 1 })
	f("both", 1, func(b *simBed) { b.MaxRead, b.MaxWrite = 1, 1 })
	f("both with latency", 1, func(b *simBed) { b.MaxRead, b.MaxWrite, b.Latency, b.ConnectDelay = 1, 1, 1e6, 3e6 })
	f("window of one byte", 1, func(b *simBed) { b.Window = 1 })
	f("two loops", 2, func(b *simBed) { b.MaxRead, b.MaxWrite = 1, 1 })
	f("ragged", 1, func(b *simBed) { b.MaxRead, b.MaxWrite, b.Ragged, b.Shuffle = 50, 50, true, true })
	f("collected", 1, func(b *simBed) { b.Collect = true })
	f("collected, ragged", 1, func(b *simBed) { b.Collect, b.MaxWrite, b.Ragged, b.Shuffle = true, 50, true, true })
	f("TLS 1.2", 1, func(b *simBed) {
		b.front.MaxVersion, b.back.MaxVersion, b.MaxRead = tls.VersionTLS12, tls.VersionTLS12, 1
	})
}

func TestSim_SameSeedSameTLS(t *testing.T) {
	f := func() (events []int64) {
		b := newSimBed(t, 3, 2)
		b.secureFront()
		b.secureBack()
		b.MaxRead, b.MaxWrite, b.Ragged, b.Shuffle, b.Latency = 20, 20, true, true, 1e5
		backends := b.serve(1)
		b.use(1)
		c := b.client("GET / HTTP/1.1\r\nHost: x.test\r\n\r\n")
		b.run(func() bool {
			events = append(events, b.Now())
			return len(backends()) == 1 && len(backends()[0].got) > 0
		})
		backends()[0].Write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		b.run(func() bool {
			events = append(events, b.Now())
			return len(c.got) > 0
		})
		return events
	}
	require.Equal(t, f(), f())
}

// However late the first byte comes, the handshake is over when its time is.
func TestSim_HandshakeHasOneDeadline(t *testing.T) {
	f := func(protocol string, limit time.Duration, first int64) {
		t.Helper()
		b := newSimBed(t, 1, 1)
		b.secureFront()
		b.rule.Protocol = protocol
		b.opts.TLS = map[string]*tls.Config{protocol: simServerSide()}
		b.opts.HandshakeTimeout = limit
		b.use()
		start, ended := b.Now(), int64(0)
		p := b.Dial(simFront)
		p.Handle = func(p *loop.SimPeer) {
			p.Read() // and never an answer
			if ended == 0 && (p.Ended() || p.Broken() != nil) {
				ended = b.Now() - start
				p.Close()
			}
		}
		b.After(first, func() { p.Write(aClientHello(t, simClientSide())) })
		b.run(func() bool { return ended != 0 })
		require.InDelta(t, int64(limit), ended, 100e6)
		require.Empty(t, b.settle())
	}
	for _, protocol := range []string{rules.HTTPS, rules.TLS} {
		f(protocol, 10*time.Second, 0)
		f(protocol, 10*time.Second, 4.9e9)
		f(protocol, time.Second, 0.9e9)
	}
}

// aClientHello is what a client begins with.
func aClientHello(t *testing.T, config *tls.Config) string {
	t.Helper()
	ours, its := net.Pipe()
	gone := make(chan struct{})
	go func() { // ends with the pipe
		_ = tls.Client(its, config).Handshake()
		close(gone)
	}()
	hello := make([]byte, 16<<10)
	n, err := ours.Read(hello)
	require.NoError(t, err)
	_ = ours.Close()
	<-gone
	return string(hello[:n])
}
