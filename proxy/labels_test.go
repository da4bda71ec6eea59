package proxy

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules"
)

// asked is a backend that answers with what it was asked for.
func asked(t *testing.T) string {
	return backend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Host+" "+r.RequestURI+" prefix="+r.Header.Get("X-Forwarded-Prefix")+" replaced="+r.Header.Get("X-Replaced-Path"))
	})
}

func TestRule_RewritesInOrder(t *testing.T) {
	f := func(edits []rules.Rewrite, target, want string) {
		t.Helper()
		b := newBed(t, func(b *bed) { b.rule.Rewrites = edits }, asked(t))
		got := b.exchange("GET " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		require.True(t, strings.HasSuffix(got, want), got)
	}
	cdn := []rules.Rewrite{{Kind: rules.StripPrefixes, Prefixes: []string{"/cdn/"}}}
	f(cdn, "/cdn/x?y=1", "\r\n\r\nx /x?y=1 prefix=/cdn/ replaced=")
	f(cdn, "/other?y=1", "\r\n\r\nx /other?y=1 prefix= replaced=")
	f([]rules.Rewrite{{Kind: rules.ReplacePath, Replacement: "/h"}, {Kind: rules.AddPrefix, Replacement: "/v1"}}, "/a", "\r\n\r\nx /v1/h prefix= replaced=/a")
	b := newBed(t, func(b *bed) {
		b.rule.Rewrites = []rules.Rewrite{{Kind: rules.StripPrefixes, Prefixes: []string{"/api"}}}
	}, asked(t))
	require.Equal(t, "400 Bad Request", status(b.exchange("GET /api../x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")))
}

func TestRule_ServerHostFollowsTheAttempt(t *testing.T) {
	at := asked(t)
	b := newBed(t, func(b *bed) { b.rule.ServerHost = true }, refusing(t), at)
	for range 3 { // the first server refuses, so the name has to change between Attempts
		got := b.exchange(closing)
		require.Contains(t, got, "\r\n\r\n"+at+" /p?q=1 ")
	}
}

func TestRule_RefusesWhatItCannotProtect(t *testing.T) {
	b := newBed(t, func(b *bed) { b.rule.Service, b.rule.Refuse = "", "basic auth is not supported yet" }, asked(t))
	got := b.exchange(closing)
	require.Equal(t, "503 Service Unavailable", status(got))
	require.Contains(t, got, "basic auth is not supported yet")
}

func TestRule_RedirectsByPatternAndMethod(t *testing.T) {
	f := func(to rules.Redirect, service, request, want string) {
		t.Helper()
		b := newBed(t, func(b *bed) { b.rule.Service, b.rule.Redirect = service, &to }, asked(t))
		got := b.exchange(request + " HTTP/1.1\r\nHost: foo.com\r\nConnection: close\r\n\r\n")
		_, location, _ := strings.Cut(got, "Location: ")
		location, _, _ = strings.Cut(location, "\r\n")
		require.Equal(t, want, strings.TrimSpace(status(got)[:3]+" "+location))
	}
	secure := rules.Redirect{Pattern: "^http://([^/]+)/old(.*)", Replacement: "https://$1/new$2", ByMethod: true}
	f(secure, "web", "GET /old?x", "302 https://foo.com/new?x")
	f(secure, "web", "POST /old?x", "307 https://foo.com/new?x")
	f(secure, "web", "GET /fine", "200")
	f(secure, "web", "GET /old HTTP/1.1\r\nX-Forwarded-Proto: https\r\nX-Ignored:", "302 https://foo.com/new") // not a trusted peer's word
	f(secure, "", "GET /fine", "404")
	f(rules.Redirect{Scheme: "https", ByMethod: true, Permanent: true}, "", "GET /x", "301 https://foo.com/x")
	f(rules.Redirect{Scheme: "https", ByMethod: true, Permanent: true}, "", "POST /x", "308 https://foo.com/x")
}

func TestRule_RedirectsByTheSchemeThatTheClientUsed(t *testing.T) {
	b := newBed(t, func(b *bed) {
		b.opts.Trusted = loopback
		b.rule.Redirect = &rules.Redirect{Pattern: "^http://(.*)", Replacement: "https://$1", ByMethod: true}
	}, asked(t))
	f := func(proto, want string) {
		t.Helper()
		got := b.exchange("GET /x HTTP/1.1\r\nHost: foo.com\r\nX-Forwarded-Proto: " + proto + "\r\nConnection: close\r\n\r\n")
		require.Equal(t, want, status(got)[:3])
	}
	f("http", "302")
	f("https", "200") // no loop behind a proxy that takes TLS off
}
