package loop

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// echoUDP is a Loop with an echo for datagrams on one address.
func echoUDP(t *testing.T, addr netip.Addr) (*Loop, uint16) {
	l := newReal(t)
	fds, err := ListenUDP(addr, 0, 1)
	require.NoError(t, err)
	at, err := ListenAddr(fds[0])
	require.NoError(t, err)
	s := &script{}
	s.ready = func(Ready) {
		for {
			n, from, to, err := l.Sys().ReceiveFrom(fds[0], l.In())
			if err == ErrAgain {
				return
			}
			require.NoError(t, err)
			require.NoError(t, l.Sys().SendTo(fds[0], l.In()[:n], from, to))
		}
	}
	require.NoError(t, l.AttachListener(&s.conn, fds[0], s))
	t.Cleanup(func() { l.Close(&s.conn) })
	return l, at.Port()
}

func TestListenUDP_AnswersFromTheAddressItWasAsked(t *testing.T) {
	f := func(addr netip.Addr, network, ask string) {
		t.Helper()
		l, port := echoUDP(t, addr)
		// A connected socket hears only those whom it asked.
		c, err := net.Dial(network, netip.AddrPortFrom(netip.MustParseAddr(ask), port).String())
		require.NoError(t, err)
		defer c.Close()
		for _, text := range []string{"one", "", string(make([]byte, MaxDatagram))} {
			_, _, err = c.(*net.UDPConn).WriteMsgUDP([]byte(text), nil, nil) // write(2) sends no empty one
			require.NoError(t, err)
			got := make(chan string, 1)
			go func() { // ends with the answer, or the deadline
				defer l.Sys().Wake()
				b := make([]byte, MaxDatagram+1)
				_ = c.SetReadDeadline(time.Now().Add(time.Minute))
				n, err := c.Read(b)
				if err != nil {
					got <- err.Error()
					return
				}
				got <- string(b[:n])
			}()
			stepUntil(t, l, func() bool { return len(got) > 0 })
			require.Equal(t, text, <-got)
		}
	}
	f(localhost, "udp4", "127.0.0.1")
	f(netip.Addr{}, "udp4", "127.0.0.1")
	f(netip.Addr{}, "udp4", "127.0.0.77") // the route to the client would suggest 127.0.0.1
	f(netip.Addr{}, "udp6", "::1")
	f(netip.IPv4Unspecified(), "udp4", "127.0.0.77")
	f(netip.IPv6Loopback(), "udp6", "::1")
}

func TestListenUDP_OneClientHasOneSocket(t *testing.T) {
	sys := newReal(t).Sys()
	fds, err := ListenUDP(localhost, 0, 4)
	require.NoError(t, err)
	defer closeAll(fds)
	at, err := ListenAddr(fds[0])
	require.NoError(t, err)
	for _, fd := range fds {
		require.True(t, IsUDP(fd))
	}
	const clients, each = 64, 3
	for range clients {
		c, err := net.Dial("udp", at.String())
		require.NoError(t, err)
		defer c.Close()
		for range each {
			_, err = c.Write([]byte("x"))
			require.NoError(t, err)
		}
	}
	used, byClient := map[int]bool{}, map[netip.AddrPort]map[int]int{} // by socket
	for got, begun := 0, time.Now(); got < clients*each; {             // a busy kernel delivers late
		for _, fd := range fds {
			_, from, to, err := sys.ReceiveFrom(fd, make([]byte, 1))
			if err != nil {
				require.Equal(t, ErrAgain, err)
				continue
			}
			require.False(t, to.IsValid(), "it has but one")
			if byClient[from] == nil {
				byClient[from] = map[int]int{}
			}
			byClient[from][fd]++
			used[fd] = true
			got++
		}
		require.Less(t, time.Since(begun), time.Minute, "%d came", got)
	}
	for from, sockets := range byClient {
		require.Len(t, sockets, 1, "%s", from)
	}
	require.Greater(t, len(used), 1)
}

// takenUDP takes a port that is free for TCP, and stays so: the system gives no
// connection one as low.
func takenUDP(t *testing.T) (port uint16, fds []int) {
	t.Helper()
	for range 100 {
		port = uint16(9000 + rand.IntN(1000))
		tcp, err := Listen(localhost, port, 1)
		if err != nil {
			continue
		}
		closeAll(tcp)
		if fds, err = ListenUDP(localhost, port, 2); err == nil {
			return port, fds
		}
	}
	require.FailNow(t, "no port is free")
	return 0, nil
}

func TestListenUDP_AddressInUse(t *testing.T) {
	port, taken := takenUDP(t)
	defer closeAll(taken)
	for _, addr := range []netip.Addr{localhost, {}} {
		fds, err := ListenUDP(addr, port, 2)
		require.Nil(t, fds)
		require.ErrorIs(t, err, syscall.EADDRINUSE)
		require.ErrorContains(t, err, "is in use by another program; stop it or choose another source_port")
	}
	tcp, err := Listen(localhost, port, 1) // another port, though of the same number
	require.NoError(t, err)
	require.False(t, IsUDP(tcp[0]))
	closeAll(tcp)
}

func TestConnectUDP_LearnsThatNobodyIsThere(t *testing.T) {
	l := newReal(t)
	gone, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	to := gone.LocalAddr().(*net.UDPAddr).AddrPort()
	gone.Close()
	fd, err := l.Sys().ConnectUDP(to)
	require.NoError(t, err)
	require.Equal(t, localhost, l.Sys().Local(fd).Addr())
	s, ready := &script{}, Ready(0)
	s.ready = func(r Ready) { ready |= r }
	require.NoError(t, l.Attach(&s.conn, fd, s))
	defer l.Close(&s.conn)
	n, err := l.Sys().Write(fd, []byte("x"))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	stepUntil(t, l, func() bool { return ready&Failed != 0 })
	_, err = l.Sys().Read(fd, l.In())
	require.Equal(t, syscall.ECONNREFUSED, err)
	_, err = l.Sys().Read(fd, l.In())
	require.Equal(t, ErrAgain, err)
}

func TestUDP_DoesNotAllocate(t *testing.T) {
	sys := newReal(t).Sys()
	fds, err := ListenUDP(netip.Addr{}, 0, 1)
	require.NoError(t, err)
	defer closeAll(fds)
	at, err := ListenAddr(fds[0])
	require.NoError(t, err)
	peer, err := sys.ConnectUDP(netip.AddrPortFrom(localhost, at.Port()))
	require.NoError(t, err)
	defer sys.Close(peer)
	p := make([]byte, 100)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, err := sys.Write(peer, p[:10]); err != nil {
			panic(err)
		}
		n, from, to, err := sys.ReceiveFrom(fds[0], p)
		for err == ErrAgain { // a busy kernel delivers late
			n, from, to, err = sys.ReceiveFrom(fds[0], p)
		}
		if err != nil || n != 10 || !to.IsValid() {
			panic("not received")
		}
		if err := sys.SendTo(fds[0], p[:n], from, to); err != nil {
			panic(err)
		}
		n, err = sys.Read(peer, p)
		for err == ErrAgain {
			n, err = sys.Read(peer, p)
		}
		if err != nil || n != 10 {
			panic("not answered")
		}
	}))
}
