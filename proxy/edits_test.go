package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules"
)

func TestRule_RewritesThePath(t *testing.T) {
	f := func(rule rules.Rule, target, want string) {
		t.Helper()
		b := newBed(t, func(b *bed) {
			rule.Port, rule.Address, rule.Service, rule.Origin = b.port, b.rule.Address, "web", "test"
			b.rule = rule
		}, script(t, func(c net.Conn, head string) {
			line, _, _ := strings.Cut(head, "\r\n")
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(line), line)
		}))
		got := b.exchange("GET " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		_, line, _ := strings.Cut(got, "\r\n\r\n")
		require.Equal(t, "GET "+want+" HTTP/1.1", line)
	}
	f(rules.Rule{}, "/a%2fb//c?x=%20", "/a%2fb//c?x=%20")
	f(rules.Rule{}, "/pub/%2e%2e/admin?q", "/admin?q")
	f(rules.Rule{}, "http://x/abs?q=1", "/abs?q=1")
	f(rules.Rule{Path: "/cdn", StripPrefix: "/cdn"}, "/cdn/x?y", "/x?y")
	f(rules.Rule{Path: "/cdn", StripPrefix: "/cdn/"}, "/cdn", "/")
	f(rules.Rule{StripPrefix: "/cdn"}, "/cdnx/y", "/cdnx/y")
	f(rules.Rule{AddPrefix: "/v1"}, "/x?y", "/v1/x?y")
	f(rules.Rule{Path: "/old", StripPrefix: "/old", AddPrefix: "/new"}, "/old/x", "/new/x")
	f(rules.Rule{Path: "/old", StripPrefix: "/old", AddPrefix: "/new/"}, "/old", "/new/")
	f(rules.Rule{ReplacePath: "/only"}, "/x?y=1", "/only?y=1")
}

func TestRule_Redirects(t *testing.T) {
	f := func(to rules.Redirect, target, want string) {
		t.Helper()
		b := newBed(t, func(b *bed) {
			b.rule.Service, b.rule.Redirect = "", &to
		})
		got := b.exchange("GET " + target + " HTTP/1.1\r\nHost: a.test:81\r\nConnection: close\r\n\r\n")
		_, location, _ := strings.Cut(got, "Location: ")
		location, _, _ = strings.Cut(location, "\r\n")
		require.Equal(t, want, status(got)[:3]+" "+location)
	}
	f(rules.Redirect{Scheme: "https"}, "/x?y", "302 https://a.test/x?y")
	f(rules.Redirect{Scheme: "https", Port: 8443, Code: 301}, "/", "301 https://a.test:8443/")
	f(rules.Redirect{Scheme: "https", Port: 443, Code: 308}, "/", "308 https://a.test/")
	f(rules.Redirect{Host: "www.a.test"}, "/x", "302 http://www.a.test/x")
	f(rules.Redirect{Path: "/new"}, "/x?y", "302 http://a.test:81/new?y")
}

func TestRule_RedirectsWithoutTheBodyOfTheRequest(t *testing.T) {
	b := newBed(t, func(b *bed) {
		b.rule.Service, b.rule.Redirect = "", &rules.Redirect{Scheme: "https"}
	})
	f := func(framing, body string) {
		t.Helper()
		got := b.exchange("POST /x HTTP/1.1\r\nHost: a.test\r\n" + framing + "\r\nConnection: close\r\n\r\n" + body)
		require.Contains(t, got, "\r\nLocation: https://a.test/x\r\n")
	}
	f("Content-Length: 6", "secret")
	f("Content-Length: 7", "secret")
	f("Transfer-Encoding: chunked", "6\r\nsecret\r\n0\r\n\r\n")
}

func TestRule_EditsHeaders(t *testing.T) {
	var seen http.Header
	b := newBed(t, func(b *bed) {
		b.rule.RequestHeaders = rules.HeaderEdit{
			Remove: []string{"cookie"},
			Set:    []rules.HeaderField{{Name: "X-Env", Value: "prod"}, {Name: "Host", Value: "inner.test"}},
			Add:    []rules.HeaderField{{Name: "X-Many", Value: "2"}},
		}
		b.rule.ResponseHeaders = rules.HeaderEdit{Remove: []string{"Server"}, Set: []rules.HeaderField{{Name: "X-Frame-Options", Value: "DENY"}}}
	}, backend(t, func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Clone()
		seen.Set("Host", r.Host)
		w.Header().Set("Server", "secret")
		w.Header().Set("X-Frame-Options", "ALLOW")
	}))
	got := b.exchange("GET / HTTP/1.1\r\nHost: x\r\nCookie: a\r\nX-Env: dev\r\nX-Many: 1\r\nCOOKIE: b\r\nConnection: close\r\n\r\n")
	require.NotContains(t, got, "secret")
	require.Equal(t, 1, strings.Count(got, "X-Frame-Options: DENY\r\n"))
	require.NotContains(t, got, "ALLOW")
	require.Equal(t, []string{"prod"}, seen["X-Env"])
	require.Equal(t, []string{"1", "2"}, seen["X-Many"])
	require.Equal(t, "inner.test", seen.Get("Host"))
	require.Empty(t, seen["Cookie"])
}

func TestApply_ChangesNothingUnderARunningRequest(t *testing.T) {
	in, out := make(chan struct{}), make(chan struct{})
	b := newBed(t, nil, backend(t, func(w http.ResponseWriter, _ *http.Request) {
		close(in)
		<-out
		_, _ = io.WriteString(w, "old")
	}))
	answer := make(chan string)
	go func() { answer <- b.exchange(closing) }()
	<-in
	old := b.service
	b.service = newBedService(named(t, "new"))
	b.apply()
	_, body := get(t, b.url("/"))
	require.Equal(t, "new", body)
	close(out)
	require.Contains(t, <-answer, "old")
	b.service = old
}

func TestApply_ListenersComeAndGo(t *testing.T) {
	b := newBed(t, nil, named(t, "a"))
	second := b.rule
	second.Port = freePort(t)
	kept := b.dial()
	b.apply(second)
	_, body := get(t, fmt.Sprintf("http://127.0.0.1:%d/", second.Port))
	require.Equal(t, "a", body)
	b.rule = second
	b.apply()
	require.Contains(t, talk(kept, "/"), "Connection: close\r\n", "a connection of a removed listener is answered once more")
	require.Eventually(t, func() bool { return !b.accepting() }, eventually, tick)

	// A port that cannot be had changes nothing.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	third := second
	third.Port = taken.Addr().(*net.TCPAddr).AddrPort().Port()
	table, _ := rules.Compile(rules.Input{Rules: []rules.Rule{third}, Services: []rules.Service{b.service}}, b.registry)
	require.ErrorContains(t, b.Apply(table, &b.opts), "in use")
	_, body = get(t, fmt.Sprintf("http://127.0.0.1:%d/", second.Port))
	require.Equal(t, "a", body)
}

func TestApply_LetsGoOfEarlierTables(t *testing.T) {
	b := newBed(t, func(b *bed) { b.loops = 1 }, named(t, "a"))
	for range 20 {
		_, body := get(t, b.url("/"))
		require.Equal(t, "a", body)
		b.apply()
	}
	pools := make(chan int)
	b.cores[0].loop.Post(func() { pools <- len(b.cores[0].budgets) })
	require.LessOrEqual(t, <-pools, 1)
}
