//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// asServer, in the environment, makes this program a server: at that address it
// answers HTTP, HTTPS and datagrams. manner, next to it, is how.
const asServer, manner = "LB_FAULTS_SERVER", "LB_FAULTS_MANNER"

// serve is the life of a server. On SIGTERM it finishes what is under way.
func serve(address string) error {
	s := &http.Server{Handler: handler(os.Getenv(manner))}
	plain, err := listen(address, plainPort)
	if err != nil {
		return err
	}
	under, err := listen(address, securePort)
	if err != nil {
		return err
	}
	datagrams, err := net.ListenPacket("udp", fmt.Sprintf("%s:%d", address, plainPort))
	if err != nil {
		return err
	}
	go echo(datagrams) // as long as the process
	go func() { _ = s.Serve(plain) }()
	go func() { _ = s.ServeTLS(under, os.Getenv("LB_FAULTS_CERT"), os.Getenv("LB_FAULTS_KEY")) }()
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	<-end
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return s.Shutdown(ctx)
}

// listen is at once possible again after the end of a server before.
func listen(address string, port int) (net.Listener, error) {
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		return raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
	}}
	return c.Listen(context.Background(), "tcp", fmt.Sprintf("%s:%d", address, port))
}

// handler answers /?say=TEXT with TEXT and a POST with its body.
func handler(manner string) http.Handler {
	var count, sick atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		if manner == "unwell" || sick.Load() > 0 {
			http.Error(w, "unwell", http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("/sick", func(http.ResponseWriter, *http.Request) { sick.Store(1) })
	mux.HandleFunc("/count", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, count.Load()) })
	mux.HandleFunc("/echo", websocket)
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(100<<20))
		for p := make([]byte, 64<<10); ; {
			if _, err := w.Write(p); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		count.Add(1)
		switch manner {
		case "503":
			http.Error(w, "no", http.StatusServiceUnavailable)
			return
		case "hang up":
			panic(http.ErrAbortHandler)
		case "half":
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, strings.Repeat("x", 500))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "slow":
			time.Sleep(200 * time.Millisecond)
		}
		if r.Method == http.MethodPost {
			text, _ := io.ReadAll(r.Body)
			_, _ = w.Write(text)
			return
		}
		_, _ = io.WriteString(w, r.URL.Query().Get("say"))
	})
	return mux
}

// websocket agrees to an upgrade and returns what comes, which no proxy looks at.
func websocket(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
	_, _ = io.Copy(conn, conn)
}

func echo(c net.PacketConn) {
	p := make([]byte, 64<<10)
	for {
		n, from, err := c.ReadFrom(p)
		if err != nil {
			continue // of a client that has gone
		}
		_, _ = c.WriteTo(p[:n], from)
	}
}
