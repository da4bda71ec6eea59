package hello

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// maxFuzz keeps the test that tries every prefix quick.
const maxFuzz = 4 << 10

func FuzzReader(f *testing.F) {
	for _, name := range []string{"openssl-tls13.bin", "openssl-tls12.bin", "openssl-noname.bin", "openssl-fragments.bin"} {
		data := capture(f, name)
		f.Add(data)
		f.Add(fragment(data, 50))
	}
	f.Add(goHello(f, &tls.Config{ServerName: "arzur.net", NextProtos: []string{"h2"}}))
	f.Add(record(message(extension(0x0a0a, nil), serverName("a"))))
	f.Add(AppendSSLRequest(nil))
	f.Add([]byte{0, 0, 0, 8, 4, 210, 22, 48})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte{0x80, 46, 1, 3, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		data = data[:min(len(data), maxFuzz)]
		var whole Hello
		var once Reader
		res, rej := once.Parse(data, &whole)
		require.Equal(t, res == Refused, rej != nil)

		// In pieces it comes to the same, and never before all of it is there.
		var h Hello
		var r Reader
		for n := range len(data) + 1 {
			part, partRej := r.Parse(data[:n], &h)
			if part == More {
				continue
			}
			if part == Postgres || part == PostgresGSS { // one that is followed by something is refused, if that is there
				require.Equal(t, PostgresSize, n)
				break
			}
			require.Equal(t, res, part, "the first %d bytes", n)
			require.Equal(t, rej, partRej, "the first %d bytes", n)
			if part == Whole {
				require.Equal(t, r.Size(), n)
			}
			break
		}
		if res != Whole {
			return
		}
		require.Equal(t, string(whole.ServerName), string(h.ServerName))
		require.Equal(t, whole.Versions, h.Versions)
		againstGo(t, data[:once.Size()], &whole)
	})
}

// againstGo holds what was read to what crypto/tls reads, if that accepts it.
func againstGo(t *testing.T, data []byte, h *Hello) {
	var seen *tls.ClientHelloInfo
	stop := errors.New("seen")
	server := tls.Server(&canned{r: bytes.NewReader(data)}, &tls.Config{
		MinVersion: tls.VersionTLS10,
		GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
			seen = i
			return nil, stop
		},
	})
	_ = server.HandshakeContext(context.Background())
	if seen == nil {
		return
	}
	require.Equal(t, seen.ServerName, string(h.ServerName))
	protocols := 0
	for _, p := range seen.SupportedProtos {
		if len(p) == 2 && grease(int(p[0])<<8|int(p[1])) {
			continue
		}
		require.Less(t, protocols, len(h.Protocols))
		require.Equal(t, p, string(h.Protocols[protocols]))
		protocols++
	}
	require.Len(t, h.Protocols, protocols)
}

// canned is a connection that has received all that it will.
type canned struct{ r *bytes.Reader }

func (c *canned) Read(p []byte) (int, error)       { return c.r.Read(p) }
func (c *canned) Write(p []byte) (int, error)      { return len(p), nil }
func (c *canned) Close() error                     { return nil }
func (c *canned) LocalAddr() net.Addr              { return nil }
func (c *canned) RemoteAddr() net.Addr             { return nil }
func (c *canned) SetDeadline(time.Time) error      { return nil }
func (c *canned) SetReadDeadline(time.Time) error  { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }
