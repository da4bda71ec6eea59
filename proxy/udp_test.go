package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// udpServer answers each datagram with its name and the datagram.
func udpServer(t *testing.T, name string) string {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	go func() { // ends with the socket
		b := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			_, _ = c.WriteToUDPAddrPort(append([]byte(name), b[:n]...), from)
		}
	}()
	return c.LocalAddr().String()
}

// udpRefusing is an address where nobody receives: that of a socket which is
// connected elsewhere, so that nobody else gets it either.
func udpRefusing(t *testing.T) string {
	t.Helper()
	here := net.IPv4(127, 0, 0, 1)
	c, err := net.DialUDP("udp4", &net.UDPAddr{IP: here}, &net.UDPAddr{IP: here, Port: 9})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c.LocalAddr().String()
}

// udpClient is a new client of a bed, its session included.
type udpClient struct {
	net.Conn
	t *testing.T
}

func (b *bed) udp() udpClient {
	b.t.Helper()
	c, err := net.Dial("udp", b.addr())
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = c.Close() })
	return udpClient{c, b.t}
}

// ask sends a datagram and waits for the answer.
func (c udpClient) ask(text string) string {
	c.t.Helper()
	_, _, err := c.Conn.(*net.UDPConn).WriteMsgUDP([]byte(text), nil, nil)
	require.NoError(c.t, err)
	return c.hear()
}

func (c udpClient) hear() string {
	c.t.Helper()
	require.NoError(c.t, c.SetReadDeadline(time.Now().Add(eventually)))
	b := make([]byte, 1<<16)
	n, err := c.Read(b)
	require.NoError(c.t, err)
	return string(b[:n])
}

func TestUDP_SessionsInStrictTurn(t *testing.T) {
	b := newBed(t, streams(rules.UDP), udpServer(t, "a"), udpServer(t, "b"), udpServer(t, "c"))
	var clients []udpClient
	turn := ""
	for range 6 {
		c := b.udp()
		clients = append(clients, c)
		turn += c.ask("")
	}
	require.Equal(t, "abcabc", turn)
	for i, c := range clients { // each keeps the server that it has
		require.Equal(t, turn[i:i+1]+"again", c.ask("again"))
	}
	long := string(make([]byte, 65000))
	require.Equal(t, "a"+long, clients[0].ask(long))
	require.EqualValues(t, 6, b.scrape()["lb_udp_sessions"])
	require.EqualValues(t, 6, b.scrape()["lb_client_connections"])
}

func TestUDP_AnswersComeFromTheAddressThatWasAsked(t *testing.T) {
	b := newBed(t, func(b *bed) {
		b.rule.Protocol, b.rule.Address = rules.UDP, netip.Addr{}
	}, udpServer(t, "a"))
	for _, at := range []string{"127.0.0.1", "127.0.0.77", "::1"} {
		c, err := net.Dial("udp", net.JoinHostPort(at, fmt.Sprint(b.port)))
		require.NoError(t, err)
		require.Equal(t, "a!", udpClient{c, t}.ask("!"), at)
		_ = c.Close()
	}
}

func TestUDP_RefusedGoesToTheNext(t *testing.T) {
	b := newBed(t, streams(rules.UDP), udpRefusing(t), udpServer(t, "b"), udpRefusing(t))
	dead := b.Table().Backends()[0].Backend
	for n := 0; n < 12 || dead.Ejected(now()) == 0; n++ { // which ends now and then, for one more try
		require.Less(t, n, 10_000)
		require.Equal(t, "bx", b.udp().ask("x"))
	}
	require.NotZero(t, b.scrape()["lb_retries_total"])
}

// IPv6 carries datagrams that IPv4 does not. That is not the servers' fault.
func TestUDP_DatagramTooLongForTheServersIsLost(t *testing.T) {
	b := newBed(t, func(b *bed) { b.rule.Protocol, b.rule.Address = rules.UDP, netip.Addr{} }, udpServer(t, "a"), udpServer(t, "b"))
	for range 4 {
		c, err := net.Dial("udp", net.JoinHostPort("::1", fmt.Sprint(b.port)))
		require.NoError(t, err)
		defer func() { _ = c.Close() }()
		_, err = c.Write(make([]byte, 65520))
		require.NoError(t, err)
		udpClient{c, t}.ask("x")
	}
	require.EqualValues(t, 4, b.scrape()["lb_udp_dropped_datagrams_total"])
	for _, s := range b.Table().Backends() {
		require.Zero(t, s.Backend.Ejected(now()))
	}
}

func TestUDP_KeepsShortFirstDatagramsAlone(t *testing.T) {
	mute, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer func() { _ = mute.Close() }()
	b := newBed(t, func(b *bed) { b.rule.Protocol, b.loops = rules.UDP, 1 }, mute.LocalAddr().String())
	f := func(size, kept int) {
		t.Helper()
		_, err := b.udp().Write(make([]byte, size))
		require.NoError(t, err)
		_, _, err = mute.ReadFromUDPAddrPort(make([]byte, 1<<16))
		require.NoError(t, err)
		got := make(chan int)
		b.cores[0].loop.Post(func() { got <- b.cores[0].loop.Lent() })
		require.Equal(t, kept, <-got)
	}
	f(maxFirst+1, 0)
	f(60000, 0)
	f(maxFirst, 1)
}

func TestUDP_ServerThatLeavesEndsItsSessions(t *testing.T) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	l := newLogged(t, "json", streams(rules.UDP), c.LocalAddr().String())
	client := l.udp()
	_, err = client.Write([]byte("hello"))
	require.NoError(t, err)
	buf := make([]byte, 10)
	n, from, err := c.ReadFromUDPAddrPort(buf)
	require.NoError(t, err)
	_, err = c.WriteToUDPAddrPort(buf[:n], from)
	require.NoError(t, err)
	require.Equal(t, "hello", client.hear())
	require.NoError(t, c.Close())
	_, err = client.Write([]byte("anybody there?"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return l.scrape()["lb_udp_sessions"] == 0 }, eventually, tick)
	lines := l.end()
	require.Len(t, lines, 1)
	for _, want := range []string{`"proto":"udp"`, `"reason":"connect_failed"`, `"detail":"`, `connection refused`, `"bytes_in":19,"bytes_out":5`} {
		require.Contains(t, lines[0], want)
	}
}

func TestUDP_SilenceEndsASession(t *testing.T) {
	l := newLogged(t, "json", func(b *bed) {
		b.rule.Protocol = rules.UDP
		b.opts.UDPTimeout = time.Second // long enough for an answer
	}, udpServer(t, "a"))
	require.Equal(t, "a1", l.udp().ask("1"))
	require.Eventually(t, func() bool { return l.scrape()["lb_client_connections"] == 0 }, eventually, tick)
	require.Zero(t, l.Table().Backends()[0].Backend.InFlight())
	lines := l.end()
	require.Len(t, lines, 1)
	require.Contains(t, lines[0], `"status":200`)
	require.NotContains(t, lines[0], `"reason"`)
}

func TestUDP_NobodyToAskIsCountedAndNotLogged(t *testing.T) {
	l := newLogged(t, "json", func(b *bed) {
		b.rule.Protocol = rules.UDP
		b.service.MaxConnections = 1
	}, udpServer(t, "a"))
	require.Equal(t, "a1", l.udp().ask("1"))
	for range 3 {
		_, err := l.udp().Write([]byte("2"))
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return l.scrape()["lb_udp_dropped_datagrams_total"] == 3 }, eventually, tick)
	require.EqualValues(t, 3, l.scrape()[sample("lb_failures_total", "reason", "queue_full")])
	require.Empty(t, l.end())
}

func TestUDP_ReloadsMoveOnlyWhoHasLostTheirServer(t *testing.T) {
	one, two := udpServer(t, "a"), udpServer(t, "b")
	b := newBed(t, streams(rules.UDP), one, two)
	first, second := b.udp(), b.udp()
	require.Equal(t, "a", first.ask(""))
	require.Equal(t, "b", second.ask(""))
	b.service = newBedService(two, udpServer(t, "c"))
	b.apply()
	require.Equal(t, "b", second.ask(""))
	require.NotEqual(t, "a", first.ask(""))
}

func TestUDP_ServerThatIsDownLosesItsSessions(t *testing.T) {
	b := newBed(t, streams(rules.UDP), udpServer(t, "a"), udpServer(t, "b"))
	c := b.udp()
	require.Equal(t, "a", c.ask(""))
	b.Table().Backends()[0].Backend.SetDown(true, &health.Verdict{})
	require.Equal(t, "b", c.ask(""))
}

func TestUDP_PortComesAndGoes(t *testing.T) {
	b := newBed(t, streams(rules.UDP), udpServer(t, "a"))
	c := b.udp()
	require.Equal(t, "a", c.ask(""))
	table, problems := rules.Compile(rules.Input{}, b.registry)
	require.Empty(t, problems)
	require.NoError(t, b.Apply(table, &b.opts))
	b.apply()
	require.Equal(t, "a2", b.udp().ask("2"))
}

func TestUDP_DrainWithoutSessions(t *testing.T) {
	b := newBed(t, streams(rules.UDP), udpServer(t, "a"))
	ctx, cancel := context.WithTimeout(context.Background(), eventually)
	defer cancel()
	require.NoError(t, b.Drain(ctx))
}

// TestUDP_HandOver has a second engine take the sockets over while a client is in
// the middle of a conversation.
func TestUDP_HandOver(t *testing.T) {
	old := newBed(t, streams(rules.UDP), udpServer(t, "a"))
	c := old.udp()
	require.Equal(t, "a1", c.ask("1"))
	p, err := New(Config{Loops: 2, Seed: 1, Log: zap.NewNop()})
	require.NoError(t, err)
	var fds []int
	for _, fd := range old.Sockets() {
		fds = append(fds, dup(t, fd))
	}
	require.NoError(t, p.Inherit(fds))
	next := &bed{t: t, registry: health.NewRegistry(), opts: old.opts, service: old.service, rule: old.rule, Proxy: p}
	next.apply()
	p.CloseUnused()
	p.Start()
	t.Cleanup(p.Stop)
	old.Shared()
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), eventually)
	defer cancel()
	go func() { done <- old.Drain(ctx) }()
	require.Eventually(t, old.leavingAll.Load, eventually, tick)
	for range 100 {
		require.Equal(t, "a2", c.ask("2"))
		require.Equal(t, "a3", old.udp().ask("3"))
	}
	cancel()
	<-done
}

func dup(t *testing.T, fd int) int {
	t.Helper()
	copied, err := syscall.Dup(fd)
	require.NoError(t, err)
	return copied
}
