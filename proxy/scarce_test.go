package proxy

import (
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/proxy/loop"
	"arzur.net/lb/rules"
)

// Servers are not at fault when this machine has no descriptors, or no local port
// towards them.
func TestScarce_IsNotHeldAgainstServers(t *testing.T) {
	f := func(protocol string, change func(*simBed), word string) {
		t.Helper()
		b := newSimBed(t, 1, 1)
		b.rule.Protocol = protocol
		b.serve(1)
		b.use(1)
		b.step(func() bool { return b.Open() == 1 })
		change(b)
		for range 5 {
			c := b.client(simGet)
			b.run(func() bool { return c.Ended() || c.Broken() != nil || strings.HasPrefix(c.got, "HTTP/1.1 50") })
			c.Close()
			b.step(func() bool { return len(b.cores[0].clients) == 0 })
		}
		require.Equal(t, []wordCount{{word, 5}}, b.cores[0].stats.failed)
		require.Zero(t, b.Table().Backends()[0].Backend.Ejected(b.Now()))
		require.Empty(t, b.settle())
	}
	few := func(b *simBed) { b.MaxFiles = b.Open() + 1 } // the client takes it
	ports := func(b *simBed) { b.Refuse(simBack(1), syscall.EADDRNOTAVAIL) }
	f(rules.TCP, few, "exhausted")
	f(rules.HTTP, few, "exhausted")
	f(rules.TCP, ports, "connect_failed")
	f(rules.HTTP, ports, "connect_failed")
}

func TestScarce_IdleConnectionsMakeRoom(t *testing.T) {
	b := newSimBed(t, 1, 1)
	conns := []func() []*simScript{b.serve(1), b.serve(2)}
	b.use(1, 2)
	b.step(func() bool { return b.Open() == 1 })
	ask := func(server int) {
		t.Helper()
		c := b.client(simGet)
		b.run(func() bool { return len(conns[server]()) == 1 })
		conns[server]()[0].Write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		b.run(func() bool { return c.got != "" })
		require.True(t, strings.HasPrefix(c.got, "HTTP/1.1 200 "), c.got)
		c.Close()
		b.step(func() bool { return len(b.cores[0].clients) == 0 })
	}
	ask(0)
	require.Equal(t, 2, b.Open(), "the listener, and a connection that is kept")
	b.MaxFiles = 3
	ask(1)
	require.True(t, conns[0]()[0].Ended())
	require.Empty(t, b.settle())
}

func TestScarce_SpliceComesBackWithTheDescriptors(t *testing.T) {
	b := newSimBed(t, 1, 1)
	b.rule.Protocol = rules.TCP
	heard := 0
	b.Sim.Serve(simBack(1), func(p *loop.SimPeer) {
		p.Handle = func(p *loop.SimPeer) {
			heard += len(p.Read())
			if p.Ended() {
				p.Close()
			}
		}
	})
	b.use(1)
	b.step(func() bool { return b.Open() == 1 })
	const size = 1 << 20
	pour := func() {
		t.Helper()
		heard = 0
		c := b.Dial(simFront)
		c.Handle = func(p *loop.SimPeer) { p.Read() }
		c.Write(strings.Repeat("x", size))
		c.CloseWrite()
		b.run(func() bool { return c.Ended() })
		require.Equal(t, size, heard)
		c.Close()
		b.step(func() bool { return len(b.cores[0].clients) == 0 })
	}
	b.MaxFiles = b.Open() + 2 // the two ends of the tunnel
	pour()
	require.Empty(t, b.cores[0].pipes)
	b.MaxFiles = 0
	pour()
	require.Len(t, b.cores[0].pipes, 1)

	b.cores[0].pipes, b.cores[0].piped = nil, maxPipes
	pour()
	require.Empty(t, b.cores[0].pipes, "pipes beyond those that a Loop may have")
}
