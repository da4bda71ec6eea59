//go:build linux

package loop

import (
	"io"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
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

// failEnter has io_uring_enter(2) fail with no in the calling thread, for good.
func failEnter(t *testing.T, no syscall.Errno) {
	const number = 0 // offset in struct seccomp_data
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_IO_URING_ENTER, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(no)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	assert.NoError(t, unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&filter)))
	assert.Zero(t, errno)
}

func TestSendAll_WhatPassesDoesNotCostTheRing(t *testing.T) {
	f := func(no syscall.Errno, keeps bool) {
		t.Helper()
		l := newReal(t)
		s := l.Sys().(*epoll)
		had := s.ring != nil
		one, onePeer := pair(t, l)
		two, twoPeer := pair(t, l)
		var why []error
		l.OnApart = func(err error) { why = append(why, err) }
		l.Step(0)
		send := func() {
			s.SendAll([]Send{{FD: one.conn.FD(), Data: []byte("1")}, {FD: two.conn.FD(), Data: []byte("2")}})
			l.Step(0)
		}
		done := make(chan struct{})
		go func() { // ends at once, and its thread with it
			defer close(done)
			runtime.LockOSThread()
			failEnter(t, no)
			send()
			send()
		}()
		<-done
		require.Equal(t, had && keeps, s.ring != nil, no)
		if had && !keeps {
			require.Len(t, why, 1)
			require.ErrorIs(t, why[0], no)
		} else {
			require.Empty(t, why)
		}
		send()
		for _, p := range []*net.TCPConn{onePeer, twoPeer} {
			got := make([]byte, 3)
			_, err := io.ReadFull(p, got)
			require.NoError(t, err)
			require.Contains(t, []string{"111", "222"}, string(got))
		}
	}
	f(unix.EAGAIN, true)
	f(unix.EBUSY, true)
	f(unix.EINTR, true)
	f(unix.ENOMEM, true)
	f(unix.EPERM, false)
}
