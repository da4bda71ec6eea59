package proxy

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/chacha20poly1305"
)

// forger is a client of TLS 1.3 that writes records which crypto/tls would not.
type forger struct {
	net.Conn
	t      *testing.T
	cipher uint16
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	number uint64 // of the next record
}

// forge opens a connection, shakes hands and takes over what is sent.
func (b *tlsBed) forge() *forger {
	b.t.Helper()
	var keys bytes.Buffer
	f := &forger{Conn: b.dial(), t: b.t}
	config := b.client.Clone()
	config.KeyLogWriter, config.MinVersion = &keys, tls.VersionTLS13
	c := tls.Client(f.Conn, config)
	require.NoError(b.t, c.Handshake())
	f.cipher = c.ConnectionState().CipherSuite
	for line := range bytes.Lines(keys.Bytes()) {
		if words := bytes.Fields(line); string(words[0]) == "CLIENT_TRAFFIC_SECRET_0" {
			secret, err := hex.DecodeString(string(words[2]))
			require.NoError(b.t, err)
			f.use(secret)
		}
	}
	require.NotNil(b.t, f.aead)
	return f
}

// use sets the traffic secret (RFC 8446 section 7.3).
func (f *forger) use(secret []byte) {
	f.secret, f.number = secret, 0
	f.iv = f.expand("iv", 12)
	var err error
	switch f.cipher {
	case tls.TLS_AES_128_GCM_SHA256:
		var block cipher.Block
		block, err = aes.NewCipher(f.expand("key", 16))
		require.NoError(f.t, err)
		f.aead, err = cipher.NewGCM(block)
	case tls.TLS_CHACHA20_POLY1305_SHA256:
		f.aead, err = chacha20poly1305.New(f.expand("key", 32))
	default:
		require.Fail(f.t, "unknown cipher suite", tls.CipherSuiteName(f.cipher))
	}
	require.NoError(f.t, err)
}

func (f *forger) expand(label string, n int) []byte {
	info := append(binary.BigEndian.AppendUint16(nil, uint16(n)), byte(len("tls13 "+label)))
	info = append(append(info, "tls13 "+label...), 0)
	out, err := hkdf.Expand(sha256.New, f.secret, string(info), n)
	require.NoError(f.t, err)
	return out
}

// record appends one record of a content type.
func (f *forger) record(b []byte, kind byte, content string) []byte {
	nonce := bytes.Clone(f.iv)
	for i := range 8 {
		nonce[4+i] ^= byte(f.number >> (56 - 8*i))
	}
	f.number++
	inner := append([]byte(content), kind)
	at := len(b)
	b = append(b, 23, 3, 3)
	b = binary.BigEndian.AppendUint16(b, uint16(len(inner)+f.aead.Overhead()))
	return f.aead.Seal(b, nonce, inner, b[at:])
}

// updateKeys appends a KeyUpdate that asks for one in return.
func (f *forger) updateKeys(b []byte) []byte {
	b = f.record(b, 22, "\x18\x00\x00\x01\x01")
	f.use(f.expand("traffic upd", sha256.Size))
	return b
}

// eater is a server that reads and says nothing.
func eater(t *testing.T) string {
	return server(t, func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })
}

func TestTLS_AnswersThatNobodyTakesDoNotPileUp(t *testing.T) {
	b := newTLSStreamBed(t, func(b *tlsBed) { b.loops = 1 }, eater(t))
	c := b.forge()
	k, small := b.cores[0], make(chan error)
	k.loop.Post(func() { small <- syscall.SetsockoptInt(k.clients[0].FD(), syscall.SOL_SOCKET, syscall.SO_SNDBUF, 4096) })
	require.NoError(t, <-small)
	for {
		var out []byte
		for range 100 {
			for range 15 {
				out = c.updateKeys(out)
			}
			out = c.record(out, 23, "x")
		}
		if _, err := c.Write(out); err != nil {
			require.ErrorIs(t, err, syscall.ECONNRESET)
			return
		}
		kept := make(chan int)
		k.loop.Post(func() {
			sum := 0
			for _, c := range k.clients {
				sum += c.out.size()
			}
			kept <- sum
		})
		require.Less(t, <-kept, 2*maxUntaken)
	}
}

func TestTLS_TinyRecordsLeaveOthersTheirTurn(t *testing.T) {
	b := newTLSStreamBed(t, func(b *tlsBed) { b.loops = 1 }, eater(t))
	c := b.forge()
	const n = 50_000
	var out []byte
	for range n {
		out = c.record(out, 23, "x")
	}
	k, most, counting, all := b.cores[0], 0, make(chan struct{}), make(chan struct{})
	k.loop.Post(func() {
		begun := int(k.stats.bytesIn)
		before := begun
		var count func()
		count = func() { // once in a round
			now := int(k.stats.bytesIn)
			most, before = max(most, now-before), now
			if now == begun+n {
				close(all)
				return
			}
			k.loop.Post(count)
		}
		count()
		close(counting)
	})
	<-counting
	_, err := c.Write(out)
	require.NoError(t, err)
	select {
	case <-all:
	case <-time.After(eventually):
		require.Fail(t, "not all came through")
	}
	require.LessOrEqual(t, most, 2*readsPerEvent*64, "records in one round") // an event and a second turn
}
