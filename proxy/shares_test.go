package proxy

import (
	"crypto/tls"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestShares_OneAddressLeavesHalfToOthers(t *testing.T) {
	var s shares
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	enter := func(who netip.Addr, next func()) admission {
		a, _ := s.enter(who, next)
		return a
	}
	take := func(who netip.Addr, next func()) (n int) {
		for enter(who, next) == admitted {
			n++
		}
		return n
	}
	called := 0
	require.Equal(t, maxHandshakes/2, take(a, func() { called++ }))
	require.Equal(t, maxHandshakes/4, take(b, func() {}), "half of what is left")
	left, place := s.enter(a, func() { called += 100 })
	require.Equal(t, waits, left)
	require.Equal(t, waits, enter(a, func() { called += 10 }))
	s.forget(a, place)

	s.leave(a)
	require.Equal(t, 1, called, "who has waited longest")
	s.pass(a) // it has gone
	require.Equal(t, 11, called)
	s.forget(a, place) // again
	s.pass(a)
	require.Equal(t, 11, called)

	s.open.Store(maxHandshakes + 1)
	require.Equal(t, fewestHandshakes, take(netip.MustParseAddr("10.0.0.3"), func() {}), "everybody may have some")
	s.open.Store(2 * maxHandshakes)
	require.Equal(t, overload, enter(netip.MustParseAddr("10.0.0.4"), nil))
}

func TestShares_ForgetWhoHasNone(t *testing.T) {
	var s shares
	a := netip.MustParseAddr("10.0.0.1")
	got, _ := s.enter(a, nil)
	require.Equal(t, admitted, got)
	s.leave(a)
	require.Empty(t, s.by)
	require.Zero(t, s.open.Load())
}

func TestShares_Holder(t *testing.T) {
	f := func(address, want string) {
		t.Helper()
		require.Equal(t, want, holder(netip.MustParseAddr(address)).String())
	}
	f("10.0.0.1", "10.0.0.1")
	f("::ffff:10.0.0.1", "10.0.0.1")
	f("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::")
}

func TestWorkers_AddressesTakeTurns(t *testing.T) {
	w := newWorkers()
	var order []string
	add := func(who, text string) {
		w.do(netip.MustParseAddr(who), func() { order = append(order, text) })
	}
	add("10.0.0.1", "a1")
	add("10.0.0.1", "a2")
	add("10.0.0.1", "a3")
	add("10.0.0.2", "b1")
	add("10.0.0.2", "b2")
	add("10.0.0.3", "c1")
	w.start(1)
	w.rest()
	w.stop()
	require.Equal(t, []string{"a1", "b1", "c1", "a2", "b2", "a3"}, order)
	require.Empty(t, w.lanes)
}

// One address has as many handshakes under way as it may; others come in, and its
// own go on as these end.
func TestTLS_HandshakesOfOneAddressWaitForEachOther(t *testing.T) {
	b := newTLSBed(t, nil, echo(t))
	b.greeting.open.Add(maxHandshakes - 100)
	hello := []byte(aClientHello(t, b.client))
	stall := func() net.Conn {
		c := b.dial()
		_, err := c.Write(hello)
		require.NoError(t, err)
		return c
	}
	waiting := func(n int) func() bool {
		return func() bool {
			b.greeting.mu.Lock()
			defer b.greeting.mu.Unlock()
			h := b.greeting.by[netip.MustParseAddr("127.0.0.1")]
			return h != nil && h.open == 50 && h.waiting.Len() == n
		}
	}
	stalled := stall()
	for range 49 {
		stall()
	}
	require.Eventually(t, waiting(0), eventually, tick)
	gone := stall()
	require.Eventually(t, waiting(1), eventually, tick)
	c := tls.Client(b.dial(), b.client)
	done := make(chan error)
	go func() { done <- c.Handshake() }() // waited for below
	require.Eventually(t, waiting(2), eventually, tick)

	other, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).Dial("tcp", b.addr())
	require.NoError(t, err)
	defer other.Close()
	require.NoError(t, tls.Client(other, b.client).Handshake())

	_ = gone.Close()
	require.Eventually(t, waiting(1), eventually, tick)
	_ = stalled.Close()
	require.NoError(t, <-done)
	_, body := ask(t, c, getA)
	require.Equal(t, "GET /p ", body)
}
