package loop

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var localhost = netip.MustParseAddr("127.0.0.1")

// realNow is a clock for Real.
func realNow() int64 { return int64(time.Since(epoch)) + 1 }

var epoch = time.Now()

// newReal returns a Loop on the operating system, that the test steps itself.
func newReal(t testing.TB) *Loop {
	sys, err := Real(realNow, true)
	require.NoError(t, err)
	t.Cleanup(sys.Shut)
	return New(sys)
}

// listener accepts everything and gives each connection to serve.
type listener struct {
	conn  Conn
	fd    int
	port  uint16
	serve func(fd int, peer netip.AddrPort)
	err   error // what Accept said other than ErrAgain
}

func (s *listener) Ready(Ready) {
	l := s.conn.Loop()
	for {
		fd, peer, err := l.Sys().Accept(s.conn.FD())
		if err != nil {
			if err != ErrAgain {
				s.err = err
			}
			return
		}
		s.serve(fd, peer)
	}
}

func (s *listener) Expired() {}

func listenOn(t testing.TB, l *Loop, serve func(fd int, peer netip.AddrPort)) *listener {
	fds, err := Listen(localhost, 0, 1)
	require.NoError(t, err)
	at, err := ListenAddr(fds[0])
	require.NoError(t, err)
	s := &listener{fd: fds[0], port: at.Port(), serve: serve}
	require.NoError(t, l.AttachListener(&s.conn, s.fd, s))
	t.Cleanup(func() { l.Close(&s.conn) })
	return s
}

// echo writes back what it reads.
type echo struct {
	conn    Conn
	pending []byte // read but not yet written
	eof     bool
	expired int
}

func (e *echo) Ready(r Ready) {
	l := e.conn.Loop()
	sys := l.Sys()
	for {
		for len(e.pending) > 0 {
			n, err := sys.Write(e.conn.FD(), e.pending)
			if err == ErrAgain {
				return
			}
			if err != nil {
				l.Reset(&e.conn)
				return
			}
			e.pending = e.pending[n:]
		}
		if e.eof {
			l.Close(&e.conn)
			return
		}
		n, err := sys.Read(e.conn.FD(), l.In())
		switch {
		case err == ErrAgain:
			return
		case err != nil:
			l.Reset(&e.conn)
			return
		}
		e.eof = n == 0
		e.pending = append(e.pending[:0], l.In()[:n]...)
	}
}

func (e *echo) Expired() {
	e.expired++
	e.conn.Loop().Close(&e.conn)
}

func (s *listener) addr() string {
	return netip.AddrPortFrom(localhost, s.port).String()
}

func TestLoop_EchoesOverRealSockets(t *testing.T) {
	l := newReal(t)
	s := listenOn(t, l, func(fd int, peer netip.AddrPort) {
		e := &echo{}
		require.NoError(t, l.Attach(&e.conn, fd, e))
	})
	done := make(chan error, 1)
	go func() { // ends with the exchange; the loop below waits for it
		done <- func() error {
			c, err := net.Dial("tcp", s.addr())
			if err != nil {
				return err
			}
			defer c.Close()
			if _, err := c.Write([]byte("hello")); err != nil {
				return err
			}
			p := make([]byte, 5)
			_, err = c.Read(p)
			return err
		}()
		l.Stop()
	}()
	l.Run()
	require.NoError(t, <-done)
}

func TestLoop_ServesManyConnectionsAtOnce(t *testing.T) {
	const clients, size = 200, 100_000
	l := newReal(t)
	srv := listenOn(t, l, func(fd int, _ netip.AddrPort) {
		e := &echo{}
		if err := l.Attach(&e.conn, fd, e); err != nil {
			t.Error(err)
		}
	})
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			c, err := net.Dial("tcp", srv.addr())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			sent := bytes.Repeat([]byte{byte(i), byte(i >> 8), 'x'}, size/3)
			go func() { // ends when all is written or c is closed
				c.Write(sent)
				c.(*net.TCPConn).CloseWrite()
			}()
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("client %d: got %d bytes and %v, want the %d it sent", i, len(got), err, len(sent))
			}
		})
	}
	go func() { // ends with the clients
		wg.Wait()
		l.Stop()
	}()
	l.Run()
}
