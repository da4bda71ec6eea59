package hello

import (
	"bytes"
	"crypto/tls"
	"embed"
	"encoding/binary"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

//go:embed testdata/*.bin
var captured embed.FS // what OpenSSL 3.0's s_client sent

func capture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := captured.ReadFile("testdata/" + name)
	require.NoError(t, err)
	return b
}

// goHello is the first flight of crypto/tls.
func goHello(t testing.TB, c *tls.Config) []byte {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() { // ends with the pipe
		defer close(done)
		_ = tls.Client(theirs, c).Handshake()
	}()
	b := make([]byte, MaxSize)
	require.NoError(t, ours.SetReadDeadline(time.Now().Add(10*time.Second)))
	n, err := ours.Read(b)
	require.NoError(t, err)
	ours.Close()
	<-done
	return b[:n]
}

// parse gives data to a Reader in pieces of step bytes.
func parse(data []byte, step int) (Hello, Reader, Result, *Reject) {
	var h Hello
	var r Reader
	for n := min(step, len(data)); ; n = min(n+step, len(data)) {
		res, rej := r.Parse(data[:n], &h)
		if res != More || n == len(data) {
			return h, r, res, rej
		}
	}
}

// fragment puts the handshake bytes of data into records of n bytes.
func fragment(data []byte, n int) (out []byte) {
	var body []byte
	for at := 0; at < len(data); {
		size := int(binary.BigEndian.Uint16(data[at+3:]))
		body = append(body, data[at+5:at+5+size]...)
		at += 5 + size
	}
	for piece := range slices.Chunk(body, n) {
		out = append(out, 22, 3, 1, byte(len(piece)>>8), byte(len(piece)))
		out = append(out, piece...)
	}
	return out
}

func TestReader_RealHellos(t *testing.T) {
	f := func(data []byte, name, protocols string, versions ...uint16) {
		t.Helper()
		for _, whole := range [][]byte{data, fragment(data, 100), fragment(data, 3), fragment(data, 1)} {
			for _, step := range []int{len(whole), 7, 1} {
				h, r, res, rej := parse(whole, step)
				require.Nil(t, rej)
				require.Equal(t, Whole, res)
				require.Equal(t, name, string(h.ServerName))
				require.Equal(t, protocols, string(bytes.Join(h.Protocols, []byte(","))))
				require.Equal(t, versions, h.Versions)
				require.Equal(t, len(whole), r.Size())
			}
		}
	}
	const v10, v11, v12, v13 = tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13
	f(capture(t, "openssl-tls13.bin"), "blog.arzur.net", "postgresql,h2", v13, v12, v11, v10)
	f(capture(t, "openssl-tls12.bin"), "blog.arzur.net", "", v12)
	f(capture(t, "openssl-noname.bin"), "", "", v13, v12, v11, v10)
	var many []string
	for i := range 30 {
		many = append(many, "proto0"+string(rune('0'+i/10))+string(rune('0'+i%10))+"-"+strings.Repeat("x", 20))
	}
	f(capture(t, "openssl-fragments.bin"), "blog.arzur.net", strings.Join(many, ","), v13, v12, v11, v10)

	postQuantum := goHello(t, &tls.Config{ServerName: "arzur.net", NextProtos: []string{"h2", "http/1.1"}})
	require.Greater(t, len(postQuantum), 1400, "it has an X25519MLKEM768 key share")
	f(postQuantum, "arzur.net", "h2,http/1.1", v13, v12)
	f(goHello(t, &tls.Config{ServerName: "a.b.c", MaxVersion: v12}), "a.b.c", "", v12)
	f(goHello(t, &tls.Config{InsecureSkipVerify: true}), "", "", v13, v12)
	f(goHello(t, &tls.Config{ServerName: "127.0.0.1"}), "", "", v13, v12)
}

func TestReader_GreaseAndPadding(t *testing.T) {
	data := record(message(
		extension(0x1a1a, nil),
		serverName("xn--bcher-kva.example"),
		extension(extProtocols, vector(2, append(vector(1, []byte{0x0a, 0x0a}), vector(1, []byte("h2"))...))),
		extension(extSupportedVersions, vector(1, []byte{0xda, 0xda, 3, 4, 3, 3})),
		extension(51, vector(2, append([]byte{0x2a, 0x2a, 0, 1, 0}, bytes.Repeat([]byte{7}, 1220)...))),
		extension(21, make([]byte, 40<<10)),
	))
	h, r, res, rej := parse(data, 100)
	require.Nil(t, rej)
	require.Equal(t, Whole, res)
	require.Equal(t, "xn--bcher-kva.example", string(h.ServerName))
	require.Equal(t, [][]byte{[]byte("h2")}, h.Protocols)
	require.Equal(t, []uint16{0x304, 0x303}, h.Versions)
	require.Equal(t, len(data), r.Size())
}

func TestReader_WhatFollowsIsNotItsOwn(t *testing.T) {
	data := capture(t, "openssl-tls13.bin")
	early := append(slices.Clone(data), 23, 3, 3, 0, 1, 9) // 0-RTT data
	_, r, res, _ := parse(early, len(early))
	require.Equal(t, Whole, res)
	require.Equal(t, len(data), r.Size())
}

func TestReader_Postgres(t *testing.T) {
	f := func(want Result, data ...byte) {
		t.Helper()
		_, _, res, _ := parse(data, 1)
		require.Equal(t, want, res)
		_, _, res, _ = parse(data, len(data))
		require.Equal(t, want, res)
	}
	f(More, 0, 0, 0, 8, 4, 210, 22)
	f(Postgres, 0, 0, 0, 8, 4, 210, 22, 47)
	f(PostgresGSS, 0, 0, 0, 8, 4, 210, 22, 48)
	require.Equal(t, []byte{0, 0, 0, 8, 4, 210, 22, 47}, AppendSSLRequest(nil))
	for _, code := range []byte{47, 48} {
		_, _, res, rej := parse([]byte{0, 0, 0, 8, 4, 210, 22, code, 22}, 9)
		require.Equal(t, Refused, res)
		require.Equal(t, rejectEager, rej)
	}
}

func TestReader_Refuses(t *testing.T) {
	f := func(want *Reject, data []byte) {
		t.Helper()
		for _, step := range []int{len(data), 1} {
			_, _, res, rej := parse(data, step)
			require.Equal(t, Refused, res)
			require.Equal(t, want, rej)
		}
	}
	f(rejectText, []byte("GET / HTTP/1.1\r\n\r\n"))
	f(rejectText, []byte("G"))
	f(rejectForeign, []byte("\x16\x01"))
	f(rejectForeign, []byte{5, 1, 0})
	f(rejectForeign, []byte{0, 1})
	f(rejectForeign, []byte{0, 0, 0, 9, 4, 210, 22, 47, 0})
	f(rejectForeign, []byte{0, 0, 0, 0, 0, 2, 0, 0})
	f(rejectCancel, []byte{0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 2})
	f(rejectStartup, []byte{0, 0, 0, 40, 0, 3, 0, 0})
	f(rejectSSL2, []byte{0x80, 46, 1, 3, 1, 0, 45, 0, 0, 0, 16})
	f(rejectType, []byte{23, 3, 3, 0, 1, 0})
	f(rejectType, []byte{21, 3, 3, 0, 2, 2, 40})
	f(rejectEmpty, []byte{22, 3, 1, 0, 0})
	f(rejectRecord, []byte{22, 3, 1, 0x40, 1})
	f(rejectMessage, []byte{22, 3, 1, 0, 5, 2})
	f(rejectSize, []byte{22, 3, 1, 0, 5, 1, 1, 0, 0})
	whole := record(message(serverName("a")))
	f(rejectType, append(fragment(whole, 8)[:13], 20, 3, 3, 0, 1, 1)) // another record inside the message
	f(rejectEmpty, append(fragment(whole, 8)[:13], 22, 3, 3, 0, 0))
	f(rejectBehind, record(append(message(), 1, 0, 0, 0)))

	f(rejectShort, record([]byte{1, 0, 0, 0}))
	f(rejectVersion, record(edited(message(), 4, 2)))
	f(rejectVersion, record(edited(message(), 4, 4)))
	f(rejectShape, record(handshake(prefix(33, 2, 1))))
	f(rejectShape, record(handshake(prefix(0, 0, 1))))
	f(rejectShape, record(handshake(prefix(0, 3, 1))))
	f(rejectShape, record(handshake(prefix(0, 2, 0))))
	f(rejectExtensions, record(handshake(append(prefix(0, 2, 1), 0))))
	f(rejectExtensions, record(handshake(append(prefix(0, 2, 1), 0, 0, 9))))
	f(rejectExtensions, record(handshake(append(prefix(0, 2, 1), 0, 3, 0, 0, 0))))
	f(rejectRepeated, record(message(serverName("a"), serverName("b"))))
	f(rejectRepeated, record(message(serverName("a"), serverName("a"))))
}

func TestReader_RefusesExtensions(t *testing.T) {
	f := func(want *Reject, kind int, body ...byte) {
		t.Helper()
		_, _, res, rej := parse(record(message(extension(kind, body))), 1000)
		require.Equal(t, Refused, res)
		require.Equal(t, want, rej)
	}
	name := func(s string) []byte { return serverName(s)[4:] }
	f(rejectName, extServerName)
	f(rejectName, extServerName, 0, 0)
	f(rejectName, extServerName, 0, 4, 0, 0, 1, 'a', 'b')
	f(rejectName, extServerName, 0, 3, 0, 0, 0)
	f(rejectName, extServerName, 0, 4, 0, 0, 2, 'a')
	f(rejectNames, extServerName, 0, 8, 0, 0, 1, 'a', 0, 0, 1, 'b')
	f(rejectName, extServerName, name("arzur.net.")...)
	f(rejectName, extServerName, name("arzur net")...)
	f(rejectName, extServerName, name("arzur.net\x00.evil")...)
	f(rejectName, extServerName, name("*.arzur.net")...)
	f(rejectName, extServerName, name(strings.Repeat("a", 256))...)
	f(rejectProtocols, extProtocols)
	f(rejectProtocols, extProtocols, 0, 0)
	f(rejectProtocols, extProtocols, 0, 1, 0)
	f(rejectProtocols, extProtocols, 0, 3, 3, 'h', '2')
	f(rejectVersions, extSupportedVersions)
	f(rejectVersions, extSupportedVersions, 0)
	f(rejectVersions, extSupportedVersions, 3, 3, 4, 3)
	f(rejectVersions, extSupportedVersions, 2, 3, 4, 3)

	// A name of a type that nobody has is passed over.
	h, _, res, _ := parse(record(message(extension(extServerName, []byte{0, 8, 9, 0, 1, 'x', 0, 0, 1, 'a'}))), 1000)
	require.Equal(t, Whole, res)
	require.Equal(t, "a", string(h.ServerName))
}

func TestReader_BoundsWhatItReads(t *testing.T) {
	big := record(message(extension(21, make([]byte, 65000))))
	_, _, res, _ := parse(big, 4096)
	require.Equal(t, Whole, res)
	for _, step := range []int{4096, 65537} {
		_, _, res, rej := parse(fragment(big, 100), step) // the headers take it over the limit
		require.Equal(t, Refused, res)
		require.Equal(t, rejectSize, rej)
	}
}

func TestReader_DoesNotAllocate(t *testing.T) {
	data := capture(t, "openssl-tls13.bin")
	pieces := fragment(data, 10)
	var h Hello
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for _, p := range [][]byte{data, pieces} {
			var r Reader
			if res, _ := r.Parse(p, &h); res != Whole {
				panic("not whole")
			}
		}
	}))
}

func TestAppendAlert_IsOneThatClientsRead(t *testing.T) {
	ours, theirs := net.Pipe()
	got := make(chan error, 1)
	go func() { got <- tls.Client(theirs, &tls.Config{ServerName: "a"}).Handshake() }() // ends with the alert
	_, err := ours.Read(make([]byte, MaxSize))
	require.NoError(t, err)
	_, err = ours.Write(AppendAlert(nil, UnrecognizedName))
	require.NoError(t, err)
	require.ErrorContains(t, <-got, "unrecognized name")
	ours.Close()
}
