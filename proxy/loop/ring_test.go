//go:build linux

package loop

import (
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// sendAllWays runs f on a Loop that sends by a ring, if this system has one, and
// on one that does not.
func sendAllWays(t *testing.T, f func(t *testing.T, l *Loop, s *epoll)) {
	for name, ring := range map[string]bool{"ring": true, "calls": false} {
		t.Run(name, func(t *testing.T) {
			sys, err := Real(realNow, ring)
			require.NoError(t, err)
			t.Cleanup(sys.Shut)
			least, why := sys.Together()
			require.Equal(t, why == nil, least > 0, why)
			if !ring {
				require.ErrorContains(t, why, "switched off")
			}
			f(t, New(sys), sys.(*epoll))
		})
	}
}

func TestSendAll_IsAsManyWrites(t *testing.T) {
	sendAllWays(t, func(t *testing.T, l *Loop, s *epoll) {
		const n = 2*sendBatch + 3
		var batch []Send
		var peers []*net.TCPConn
		for i := range n {
			c, peer := pair(t, l)
			peers = append(peers, peer)
			batch = append(batch, Send{FD: c.conn.FD(), Data: []byte(strings.Repeat("x", i+1))})
		}
		for range 3 { // around the ring
			s.SendAll(batch)
			for i, p := range peers {
				require.NoError(t, batch[i].Err)
				require.Equal(t, len(batch[i].Data), batch[i].N)
				got := make([]byte, i+1)
				_, err := io.ReadFull(p, got)
				require.NoError(t, err)
				require.Equal(t, string(batch[i].Data), string(got))
			}
		}
		s.SendAll(nil)
	})
}

func TestSendAll_EachHasItsOwnResult(t *testing.T) {
	sendAllWays(t, func(t *testing.T, l *Loop, s *epoll) {
		good, goodPeer := pair(t, l)
		broken, brokenPeer := pair(t, l)
		failed := false
		broken.ready = func(r Ready) { failed = failed || r&Failed != 0 }
		require.NoError(t, brokenPeer.SetLinger(0))
		require.NoError(t, brokenPeer.Close())
		stepUntil(t, l, func() bool { return failed })
		ended, _ := pair(t, l)
		require.NoError(t, s.CloseWrite(ended.conn.FD()))
		short, _ := pair(t, l)
		much := make([]byte, 32<<20) // more than a socket takes

		x := []byte("x")
		batch := []Send{
			{FD: broken.conn.FD(), Data: x}, {FD: ended.conn.FD(), Data: x}, {FD: short.conn.FD(), Data: much},
			{FD: -1, Data: x}, {FD: good.conn.FD(), Data: x},
		}
		s.SendAll(batch)
		require.Equal(t, syscall.ECONNRESET, batch[0].Err)
		require.Equal(t, syscall.EPIPE, batch[1].Err)
		require.NoError(t, batch[2].Err)
		require.Greater(t, batch[2].N, 0)
		require.Less(t, batch[2].N, len(much))
		require.Equal(t, syscall.EBADF, batch[3].Err)
		require.NoError(t, batch[4].Err)
		_, err := io.ReadFull(goodPeer, make([]byte, 1))
		require.NoError(t, err)
	})
}

// What a full socket did not take is an event once there is room, as after a Write.
func TestSendAll_FullSocketBecomesWritable(t *testing.T) {
	sendAllWays(t, func(t *testing.T, l *Loop, s *epoll) {
		other, _ := pair(t, l)
		c, peer := pair(t, l)
		writable := false
		c.ready = func(r Ready) { writable = writable || r&Writable != 0 }
		sent := 0
		for {
			batch := []Send{{FD: c.conn.FD(), Data: l.In()}, {FD: other.conn.FD(), Data: []byte("x")}}
			s.SendAll(batch)
			if sent += batch[0].N; batch[0].Err != nil {
				require.Equal(t, ErrAgain, batch[0].Err)
				break
			}
		}
		l.Step(0)
		writable = false
		go io.CopyN(io.Discard, peer, int64(sent)) // ends when it has read all or the test closes peer
		stepUntil(t, l, func() bool { return writable })
	})
}

// A kernel, or a policy, that takes the ring away later on costs no connection.
func TestSendAll_GoesOnWithoutARing(t *testing.T) {
	l := newReal(t)
	s := l.Sys().(*epoll)
	one, onePeer := pair(t, l)
	two, twoPeer := pair(t, l)
	if s.ring != nil {
		null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		require.NoError(t, unix.Dup3(null, s.ring.fd, unix.O_CLOEXEC))
		require.NoError(t, unix.Close(null))
	}
	s.SendAll([]Send{{FD: one.conn.FD(), Data: []byte("1")}, {FD: two.conn.FD(), Data: []byte("2")}})
	for _, p := range []*net.TCPConn{onePeer, twoPeer} {
		_, err := io.ReadFull(p, make([]byte, 1))
		require.NoError(t, err)
	}
	least, why := s.Together()
	require.Zero(t, least)
	require.ErrorContains(t, why, "io_uring")
}
