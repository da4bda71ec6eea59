package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules"
)

// tlsServer says its name to whom it has shaken hands with.
func tlsServer(t *testing.T, name string) string {
	config := &tls.Config{Certificates: []tls.Certificate{newAuthority(t).issue(t, "*.arzur.net")}}
	return server(t, func(c *net.TCPConn) {
		s := tls.Server(c, config)
		_, _ = io.WriteString(s, name)
		_ = s.Close()
	})
}

// newSNIBed is a port of three services: for an exact name, a wildcard and,
// if there is one, all else.
func newSNIBed(t *testing.T, withDefault bool) *bed {
	exact, wild, rest := newBedService(tlsServer(t, "exact")), newBedService(tlsServer(t, "wild")), newBedService(tlsServer(t, "rest"))
	exact.Name, wild.Name, rest.Name = "exact", "wild", "rest"
	b := newBed(t, streams(rules.SNI))
	rule := func(host, service string) rules.Rule {
		r := b.rule
		r.Hostname, r.Service = host, service
		return r
	}
	in := rules.Input{
		Rules:    []rules.Rule{rule("blog.arzur.net", "exact"), rule("*.arzur.net", "wild")},
		Services: []rules.Service{exact, wild, rest},
	}
	if withDefault {
		in.Rules = append(in.Rules, rule("", "rest"))
	}
	table, problems := rules.Compile(in, b.registry)
	require.Empty(t, problems)
	require.NoError(t, b.Apply(table, &b.opts))
	return b
}

// hear shakes hands as a client that asks for name, and returns what it is told.
func hear(c net.Conn, name string) (string, error) {
	s := tls.Client(c, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	b, err := io.ReadAll(s)
	return string(b), err
}

func TestSNI_ChoosesTheService(t *testing.T) {
	f := func(b *bed, name, want string) {
		t.Helper()
		got, err := hear(b.dial(), name)
		if want == "" {
			require.ErrorContains(t, err, "remote error: tls: unrecognized name")
			return
		}
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	all, named := newSNIBed(t, true), newSNIBed(t, false)
	f(all, "blog.arzur.net", "exact")
	f(all, "BLOG.arzur.NET", "exact")
	f(all, "shop.arzur.net", "wild")
	f(all, "example.org", "rest")
	f(all, "", "rest")
	f(all, "127.0.0.1", "rest") // an address is no name, and not sent
	f(named, "blog.arzur.net", "exact")
	f(named, "shop.arzur.net", "wild")
	f(named, "example.org", "")
	f(named, "", "")
}

// slicer writes at most n bytes at a time.
type slicer struct {
	net.Conn
	n int
}

func (s slicer) Write(p []byte) (int, error) {
	for piece := range slices.Chunk(p, s.n) {
		if _, err := s.Conn.Write(piece); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// reframer writes the first message, the ClientHello, in records of n bytes.
type reframer struct {
	net.Conn
	n    int
	done bool
}

func (r *reframer) Write(p []byte) (int, error) {
	if r.done {
		return r.Conn.Write(p)
	}
	r.done = true
	var b []byte
	for piece := range slices.Chunk(p[5:], r.n) {
		b = append(append(b, 22, 3, 1, byte(len(piece)>>8), byte(len(piece))), piece...)
	}
	_, err := r.Conn.Write(b)
	return len(p), err
}

func TestSNI_FragmentedHello(t *testing.T) {
	b := newSNIBed(t, false)
	for _, n := range []int{1, 3, 100, 1000} {
		got, err := hear(slicer{b.dial(), n}, "blog.arzur.net")
		require.NoError(t, err, "%d bytes at a time", n)
		require.Equal(t, "exact", got)
		got, err = hear(&reframer{Conn: b.dial(), n: n}, "blog.arzur.net")
		require.NoError(t, err, "records of %d bytes", n)
		require.Equal(t, "exact", got)
	}
}

func TestSNI_WhatIsNoHello(t *testing.T) {
	f := func(sent, reason, detail string) {
		t.Helper()
		l := newLogged(t, "json", streams(rules.SNI), refusing(t))
		c := l.dial()
		_, err := io.WriteString(c, sent)
		require.NoError(t, err)
		got, err := io.ReadAll(c)
		require.Equal(t, strings.HasPrefix(sent, "GET"), strings.Contains(string(got), "this port speaks TLS"))
		require.True(t, err == nil || errors.Is(err, syscall.ECONNRESET), "%v", err)
		require.Eventually(t, func() bool { return l.connections.Load() == 0 }, eventually, tick)
		lines := l.end()
		require.Len(t, lines, 1)
		require.Contains(t, lines[0], `"reason":"`+reason+`"`)
		require.Contains(t, lines[0], detail)
		require.Contains(t, lines[0], `"proto":"sni"`)
	}
	f("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "bad_hello", "not TLS but text, such as HTTP in the clear")
	f("\x16\x03\x01\x00\x00", "bad_hello", "an empty handshake record")
	f("\x15\x03\x01\x00\x02\x02\x28", "bad_hello", "a TLS record that is no handshake")
	const request, gss = "\x00\x00\x00\x08\x04\xd2\x16\x2f", "\x00\x00\x00\x08\x04\xd2\x16\x30"
	f(request+"\x16", "bad_hello", "bytes behind PostgreSQL's request for TLS")
	f("\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x00\x01\x00\x00\x00\x02", "bad_hello", "PostgreSQL's request to cancel a query")
	for _, twice := range [][]string{{request, request}, {request, gss}, {gss, gss}} {
		l := newLogged(t, "json", streams(rules.SNI), refusing(t))
		c := l.dial()
		for _, message := range twice {
			_, err := io.WriteString(c, message)
			require.NoError(t, err)
			_, _ = c.Read(make([]byte, 1))
		}
		lines := l.end()
		require.Len(t, lines, 1)
		require.Contains(t, lines[0], "PostgreSQL's request for TLS or GSS a second time")
	}
}

// A client of PostgreSQL without TLS learns what it lacks.
func TestStream_PostgresInTheClearIsToldWhatToDo(t *testing.T) {
	f := func(protocol string) {
		t.Helper()
		b := newBed(t, streams(protocol), refusing(t))
		c := b.dial()
		_, err := io.WriteString(c, "\x00\x00\x00\x14\x00\x03\x00\x00user\x00lb\x00\x00\x00\x00\x00")
		require.NoError(t, err)
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Equal(t, "E\x00\x00\x00\x45SFATAL\x00VFATAL\x00C28000\x00Mthis port wants TLS; want sslmode=require\x00\x00", string(got))
	}
	f(rules.SNI)
	f(rules.TLS)
}

// TestSNI_Postgres has a client that asks for TLS as PostgreSQL's do, and a server that wants to be asked.
func TestSNI_Postgres(t *testing.T) {
	const request = "\x00\x00\x00\x08\x04\xd2\x16\x2f"
	f := func(gss bool, answer, want string) {
		t.Helper()
		config := &tls.Config{Certificates: []tls.Certificate{newAuthority(t).issue(t, "db.arzur.net")}}
		b := newBed(t, func(b *bed) {
			b.rule.Protocol, b.rule.Hostname = rules.SNI, "db.arzur.net"
		}, server(t, func(c *net.TCPConn) {
			asked := make([]byte, len(request))
			if _, err := io.ReadFull(c, asked); err != nil || string(asked) != request {
				_ = c.Close()
				return
			}
			_, _ = io.WriteString(c, answer)
			s := tls.Server(c, config)
			_, _ = io.WriteString(s, "ready for query")
			_ = s.Close()
		}))
		c := b.dial()
		ask := func(request string) string {
			t.Helper()
			_, err := io.WriteString(c, request)
			require.NoError(t, err)
			said := make([]byte, 1)
			_, err = io.ReadFull(c, said)
			require.NoError(t, err)
			return string(said)
		}
		if gss { // a client with a Kerberos ticket tries that first
			require.Equal(t, "N", ask("\x00\x00\x00\x08\x04\xd2\x16\x30"))
		}
		require.Equal(t, "S", ask(request))
		got, err := hear(c, "db.arzur.net")
		if want == "" {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	f(false, "S", "ready for query")
	f(true, "S", "ready for query")
	f(false, "N", "")
}
