package health

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseRequestLine(t *testing.T) {
	f := func(line string, want Probe) {
		t.Helper()
		got, err := ParseRequestLine(line)
		require.NoError(t, err)
		require.Equal(t, want, *got)
	}
	f("/x", Probe{Method: "OPTIONS", Target: "/x", Version: "HTTP/1.0"})
	f("GET /x", Probe{Method: "GET", Target: "/x", Version: "HTTP/1.0"})
	f("GET / HTTP/1.0", Probe{Method: "GET", Target: "/", Version: "HTTP/1.0"})
	f("  HEAD\t/  HTTP/1.1 ", Probe{Method: "HEAD", Target: "/", Version: "HTTP/1.1"})
	f("OPTIONS *", Probe{Method: "OPTIONS", Target: "*", Version: "HTTP/1.0"})
	f(`GET "/path" "HTTP/1.0"`, Probe{Method: "GET", Target: "/path", Version: "HTTP/1.0"})
	f(`GET '/a"b' HTTP/1.0`, Probe{Method: "GET", Target: `/a"b`, Version: "HTTP/1.0"})
	f(`GET /a\"b"c" HTTP/1.0`, Probe{Method: "GET", Target: `/a"bc`, Version: "HTTP/1.0"})
	f(`GET '/\1' HTTP/1.0`, Probe{Method: "GET", Target: `/\1`, Version: "HTTP/1.0"})
	f(`GET /\1\`, Probe{Method: "GET", Target: `/\1\`, Version: "HTTP/1.0"})
	f(`GET /\x41\#`, Probe{Method: "GET", Target: "/A#", Version: "HTTP/1.0"})

	headers := Probe{Method: "GET", Target: "/", Version: "HTTP/1.1", Fields: []string{"Host: foo", "X-A: b c"}}
	f(`GET / HTTP/1.1\r\nHost:\ foo\r\nX-A:\ b\ c`, headers)
	f(`GET / "HTTP/1.1\r\nHost:\ foo\r\nX-A: b c"`, headers)
	f(`GET / HTTP/1.1\r\nHost: foo\r\nX-A: b c\r\n`, headers)
	f("GET / HTTP/1.1\r\nHost: foo\r\nX-A: b c", headers)
	f(`GET / HTTP/1.1\nHost:foo\nX-A: b c\n\n`, headers)

	f(`POST /x "HTTP/1.0\r\nContent-Length: 3\r\n\r\na b"`,
		Probe{Method: "POST", Target: "/x", Version: "HTTP/1.0", Fields: []string{"Content-Length: 3"}, Body: "a b"})
}

func TestParseRequestLine_Bad(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		_, err := ParseRequestLine(line)
		require.EqualError(t, err, want)
	}
	f("", "is empty; leave it out for a TCP connect")
	f("GET", `path "GET": want one that begins with "/"`)
	f("G(T /", `method "G(T": want one like GET, HEAD or OPTIONS`)
	f(`"" /`, `method "": want one like GET, HEAD or OPTIONS`)
	f(`GET "/a b"`, `path "/a b": write ' ' as %20`)
	f("GET / HTTP/2.0", `version "HTTP/2.0": want HTTP/1.0 or HTTP/1.1`)
	f(`GET / 'HTTP/1.0\r\n'`, `version "HTTP/1.0\\r\\n": want HTTP/1.0 or HTTP/1.1`)
	f("GET / HTTP/1.1 Host: foo", `has 5 words, want at most "method path version"; quote a word with spaces or write "\ "`)
	f(`GET "/`, `quote " is not closed`)
	f(`GET /\x4`, `escape "\\x4": want \x and two hexadecimal digits`)
	f(`GET /\x+4`, `escape "\\x+4": want \x and two hexadecimal digits`)
	f(`GET / HTTP/1.1\r\nHost`, `header line "Host": want "Name: value"`)
	f(`GET / HTTP/1.1\r\nHost : a`, `header line "Host : a": want "Name: value"`)
	f(`GET / HTTP/1.1\r\nHost: a\x00`, `header line "Host: a\x00": control character`)
	f(`GET / HTTP/1.1\r\nHost: a\rb`, `header line "Host: a\rb": control character`)
}

func TestProbe_Request(t *testing.T) {
	addr := netip.MustParseAddrPort("10.1.1.3:80")
	f := func(line, hostname, want string) {
		t.Helper()
		p, err := ParseRequestLine(line)
		require.NoError(t, err)
		require.Equal(t, want, string(p.request(hostname, addr)))
	}
	f("GET /", "", "GET / HTTP/1.0\r\n\r\n")
	f("GET /", "arzur.net", "GET / HTTP/1.0\r\nHost: arzur.net\r\n\r\n")
	f("GET / HTTP/1.1", "", "GET / HTTP/1.1\r\nHost: 10.1.1.3:80\r\nConnection: close\r\n\r\n")
	f(`GET / HTTP/1.1\r\nhost: a\r\nX: y`, "", "GET / HTTP/1.1\r\nhost: a\r\nX: y\r\nConnection: close\r\n\r\n")
	f(`GET / HTTP/1.1\r\nhost: a\r\nX: y`, "b", "GET / HTTP/1.1\r\nHost: b\r\nX: y\r\nConnection: close\r\n\r\n")
	f(`GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive`, "", "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
	f(`POST / HTTP/1.0\r\n\r\nabc`, "", "POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc")
	f(`POST / HTTP/1.0\r\ncontent-length: 3\r\n\r\nabc`, "", "POST / HTTP/1.0\r\ncontent-length: 3\r\n\r\nabc")
}

func FuzzParseRequestLine(f *testing.F) {
	for _, s := range []string{"/x", `GET "/path" "HTTP/1.0"`, `GET / HTTP/1.1\r\nHost:\ foo\r\nX-A: b`, `POST / "HTTP/1.0\r\n\r\nabc"`, `GET /\x41 'HTTP/1.0'`} {
		f.Add(s)
	}
	addr := netip.MustParseAddrPort("[::1]:80")
	f.Fuzz(func(t *testing.T, line string) {
		p, err := ParseRequestLine(line)
		if err != nil {
			return
		}
		// One request and nothing else: what we send must not be ended early.
		sent := string(p.request("", addr))
		head := sent[:len(sent)-len(p.Body)]
		require.Equal(t, 1+len(p.Fields)+countOwn(p, head)+1, lines(head))
		require.NotContains(t, head[:len(head)-4], "\r\n\r\n")
	})
}

// lines counts line ends of any kind.
func lines(s string) (n int) {
	for i := range len(s) {
		if s[i] == '\n' || s[i] == '\r' && (i+1 == len(s) || s[i+1] != '\n') {
			n++
		}
	}
	return n
}

// countOwn counts the fields that request added.
func countOwn(p *Probe, head string) (n int) {
	given := "\r\n"
	for _, f := range p.Fields {
		given += f + "\r\n"
	}
	for _, own := range []string{"Host: [::1]:80", "Connection: close", "Content-Length: " + strconv.Itoa(len(p.Body))} {
		if strings.Contains(head, "\r\n"+own+"\r\n") && !strings.Contains(given, "\r\n"+own+"\r\n") {
			n++
		}
	}
	return n
}
