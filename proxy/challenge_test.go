package proxy

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules"
)

// challenged answers for the token "ours" of the host a.test.
func challenged(asked chan<- string) func(*bed) {
	return func(b *bed) {
		b.rule.Hostname = "a.test"
		b.opts.Challenge = func(host, path string) ([]byte, bool) {
			asked <- host + path
			return []byte("key.print"), host == "a.test:80" && strings.HasSuffix(path, "/ours")
		}
	}
}

func request(method, host, path, more string) string {
	return method + " " + path + " HTTP/1.1\r\nHost: " + host + "\r\n" + more + "\r\n"
}

func TestChallenge_IsAnsweredBeforeRouting(t *testing.T) {
	asked := make(chan string, 100)
	b := newBed(t, challenged(asked), backend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "server "+r.URL.Path) }))
	const closes = "Connection: close\r\n"
	f := func(method, host, path, more string, asks bool, want string) {
		t.Helper()
		got := b.exchange(request(method, host, path, closes+more))
		_, body, _ := strings.Cut(got, "\r\n\r\n")
		require.Equal(t, want, status(got)[:3]+" "+body)
		require.Equal(t, asks, len(asked) > 0)
		if asks {
			require.Equal(t, host+path, <-asked)
		}
	}
	f("GET", "a.test:80", challengePath+"ours", "", true, "200 key.print")
	f("HEAD", "a.test:80", challengePath+"ours", "", true, "200 ")
	f("GET", "a.test:80", challengePath+"theirs", "", true, "200 server "+challengePath+"theirs")
	f("GET", "a.test:80", challengePath, "", false, "200 server "+challengePath)
	f("GET", "a.test:80", "/.well-known/other/ours", "", false, "200 server /.well-known/other/ours")
	f("GET", "a.test:80", challengePath+"ours", "Content-Length: 1\r\n\r\nx", false, "200 server "+challengePath+"ours")
	f("POST", "a.test:80", challengePath+"ours", "Content-Length: 0\r\n", false, "200 server "+challengePath+"ours")
	got := b.exchange(request("GET", "b.test", challengePath+"ours", closes))
	require.Equal(t, "404", status(got)[:3], "nobody's rule")
	require.Equal(t, "b.test"+challengePath+"ours", <-asked)
}

func TestChallenge_OneOfManyOnAConnection(t *testing.T) {
	asked := make(chan string, 100)
	b := newBed(t, challenged(asked), named(t, "server"))
	got := b.exchange(request("GET", "a.test:80", challengePath+"ours", "") + request("GET", "a.test", "/", "") +
		request("GET", "a.test:80", challengePath+"theirs", "") + request("GET", "a.test:80", challengePath+"ours", "Connection: close\r\n"))
	var bodies []string
	for _, answer := range strings.Split(got, "HTTP/1.1 ")[1:] {
		_, body, _ := strings.Cut(answer, "\r\n\r\n")
		bodies = append(bodies, body)
	}
	require.Equal(t, []string{"key.print", "server", "server", "key.print"}, bodies)
}

func TestChallenge_IsNotRedirected(t *testing.T) {
	b := newBed(t, func(b *bed) {
		challenged(make(chan string, 100))(b)
		b.rule.Service, b.rule.Redirect = "", &rules.Redirect{Scheme: "https"}
	})
	require.Contains(t, b.exchange(request("GET", "a.test:80", challengePath+"ours", "Connection: close\r\n")), "key.print")
	got := b.exchange(request("GET", "a.test:80", challengePath+"theirs", "Connection: close\r\n"))
	require.Contains(t, got, "Location: https://a.test"+challengePath+"theirs\r\n")
}

func TestChallenge_WhoIsGoneHearsNothing(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	b := newBed(t, func(b *bed) {
		b.opts.Challenge = func(string, string) ([]byte, bool) {
			close(asked)
			<-answer
			return nil, true
		}
	}, named(t, "server"))
	c := b.dial()
	_, err := io.WriteString(c, request("GET", "a.test", challengePath+"ours", ""))
	require.NoError(t, err)
	<-asked
	require.NoError(t, c.(*net.TCPConn).SetLinger(0))
	require.NoError(t, c.Close())
	require.Eventually(t, func() bool { return b.scrape()["lb_client_connections"] == 0 }, eventually, tick)
	close(answer)
	require.Contains(t, b.exchange(request("GET", "a.test", "/", "Connection: close\r\n")), "server")
}

func TestChallenge_ThatIsNotAnsweredIsServed(t *testing.T) {
	t.Parallel()
	stuck := make(chan struct{})
	b := newBed(t, func(b *bed) {
		b.opts.Challenge = func(string, string) ([]byte, bool) { <-stuck; return []byte("late"), true }
	}, named(t, "server"))
	t.Cleanup(func() { close(stuck) })
	began := time.Now()
	got := b.exchange(request("GET", "a.test", challengePath+"ours", "Connection: close\r\n"))
	require.Contains(t, got, "server")
	require.GreaterOrEqual(t, time.Since(began), challengePatience)
}

func TestChallenge_PanicIsNoAnswer(t *testing.T) {
	b := newBed(t, func(b *bed) { b.opts.Challenge = func(string, string) ([]byte, bool) { panic("no") } }, named(t, "server"))
	got := b.exchange(request("GET", "a.test", challengePath+"ours", "Connection: close\r\n"))
	require.True(t, strings.HasSuffix(got, "server"), got)
	total, _ := b.Panics()
	require.EqualValues(t, 1, total)
}

func TestChallenge_ManyAtOnceAreRouted(t *testing.T) {
	let, asked := make(chan struct{}), make(chan struct{}, maxQuestions+1)
	b := newBed(t, func(b *bed) {
		b.opts.Challenge = func(string, string) ([]byte, bool) {
			asked <- struct{}{}
			<-let
			return nil, false
		}
	}, named(t, "server"))
	for range maxQuestions {
		_, err := io.WriteString(b.dial(), request("GET", "a.test", challengePath+"ours", ""))
		require.NoError(t, err)
		<-asked
	}
	got := b.exchange(request("GET", "a.test", challengePath+"ours", "Connection: close\r\n"))
	require.True(t, strings.HasSuffix(got, "server"), got)
	require.Empty(t, asked)
	close(let)
	require.Eventually(t, func() bool { return b.questions.Load() == 0 }, eventually, tick)
}
