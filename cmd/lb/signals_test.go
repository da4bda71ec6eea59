package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const millisecond = time.Millisecond

func readAll(t *testing.T, r *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.NoError(t, r.Body.Close())
	return string(body)
}

func countDials(t *http.Transport) *atomic.Int32 {
	var n atomic.Int32
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		n.Add(1)
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	return &n
}

// slow is a server whose answers wait for the test.
type slow struct {
	address string
	asked   chan struct{}
	answer  chan struct{}
}

func slowServer(t *testing.T) *slow {
	s := &slow{asked: make(chan struct{}, 16), answer: make(chan struct{})}
	s.address = testServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked <- struct{}{}
		select {
		case <-s.answer:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, "at last")
	}))
	return s
}

func TestSIGTERM_AnswersWhatIsUnderWay(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		port, server := freePort(t), slowServer(t)
		p := start(t, "-config", write(t, "rules.yml", rulesFor(port, server.address)))
		answers := make(chan *http.Response, 1)
		go func() { // ends with the answer
			r, err := http.Get("http://" + local(port))
			if err == nil {
				answers <- r
			}
			close(answers)
		}()
		<-server.asked
		p.signal(sig)
		p.await("draining")
		require.Eventually(t, func() bool {
			c, err := net.Dial("tcp", local(port))
			if err == nil {
				c.Close()
			}
			return errors.Is(err, syscall.ECONNREFUSED)
		}, patience, millisecond, "no new connection")
		close(server.answer)
		r := <-answers
		require.NotNil(t, r, "the answer was cut")
		require.True(t, r.Close, "the connection is to be closed")
		require.Equal(t, "at last", readAll(t, r))
		require.Zero(t, p.exit())
	}
}

func TestSIGTERM_AnswersAnIdleConnectionOnceMore(t *testing.T) {
	port := freePort(t)
	p := start(t, "-config", write(t, "rules.yml", rulesFor(port, namedServer(t, "one"))))
	c, err := net.Dial("tcp", local(port))
	require.NoError(t, err)
	defer c.Close()
	in := bufio.NewReader(c)
	ask := func() *http.Response {
		t.Helper()
		_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		require.NoError(t, err)
		r, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		require.Equal(t, "one\n", readAll(t, r))
		return r
	}
	require.False(t, ask().Close)
	p.signal(syscall.SIGTERM)
	for !ask().Close { // each is answered, and one of them is the last
	}
	_, err = in.ReadByte()
	require.ErrorIs(t, err, io.EOF)
	require.Zero(t, p.exit())
}

func TestSecondSignal_EndsAtOnce(t *testing.T) {
	f := func(first, second syscall.Signal, want int) {
		t.Helper()
		port, server := freePort(t), slowServer(t)
		p := start(t, "-config", write(t, "rules.yml", rulesFor(port, server.address)))
		gone := make(chan struct{})
		go func() { // ends with the program
			defer close(gone)
			if r, err := http.Get("http://" + local(port)); err == nil {
				r.Body.Close()
			}
		}()
		<-server.asked
		p.signal(first)
		p.await("draining")
		p.signal(second)
		require.Equal(t, want, p.exit())
		<-gone
	}
	f(syscall.SIGTERM, syscall.SIGTERM, 143)
	f(syscall.SIGINT, syscall.SIGINT, 130)
	f(syscall.SIGTERM, syscall.SIGINT, 130)
}

func TestSIGTERM_TunnelsAndSlowAnswersGetTheDrainTimeout(t *testing.T) {
	port, server := freePort(t), slowServer(t)
	p := start(t, "-config", write(t, "rules.yml", rulesFor(port, server.address)+"defaults: {drain_timeout: 100ms}\n"))
	gone := make(chan struct{})
	go func() { // ends with the program
		defer close(gone)
		if r, err := http.Get("http://" + local(port)); err == nil {
			r.Body.Close()
		}
	}()
	<-server.asked
	p.signal(syscall.SIGTERM)
	p.await("not all could be answered in time", "1 connections cut")
	require.Zero(t, p.exit())
	<-gone
}

func TestSIGUSR1_ReopensTheAccessLog(t *testing.T) {
	port, path := freePort(t), filepath.Join(t.TempDir(), "access.log")
	p := start(t, "-config", write(t, "rules.yml",
		rulesFor(port, namedServer(t, "one"))+"access_log: {path: "+path+", format: combined}\n"))
	visit(t, port)
	require.Eventually(t, func() bool {
		info, err := os.Stat(path)
		return err == nil && info.Size() > 0
	}, patience, millisecond)
	require.NoError(t, os.Rename(path, path+".1"))
	p.signal(syscall.SIGUSR1)
	p.await("access log reopened")
	visit(t, port)
	p.signal(syscall.SIGTERM)
	require.Zero(t, p.exit())
	for _, name := range []string{path, path + ".1"} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Contains(t, string(text), `"GET / HTTP/1.1" 200 4`)
	}
}

func TestAccessLog_ToStdoutAndSwitchedAtReload(t *testing.T) {
	port := freePort(t)
	text := rulesFor(port, namedServer(t, "one"))
	file := write(t, "rules.yml", text+"access_log: {path: stdout}\n")
	p := start(t, "-config", file)
	visit(t, port)
	path := filepath.Join(t.TempDir(), "access.log")
	write(t, file, text+"access_log: {path: "+path+"}\n")
	p.await("reloaded")
	visit(t, port)
	p.signal(syscall.SIGTERM)
	require.Zero(t, p.exit())
	<-p.stdout.complete
	require.Equal(t, 1, strings.Count(p.stdout.String(), "\n"))
	require.Contains(t, p.stdout.String(), `"status":200`)
	logged, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(logged), "\n"))
}
