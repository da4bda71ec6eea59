package loop

import (
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSim_Datagrams(t *testing.T) {
	sim := NewSim(1)
	sim.Latency = 1e6
	l := New(sim)
	fd, err := sim.ListenUDP(front)
	require.NoError(t, err)
	echo := &script{}
	echo.ready = func(Ready) {
		n, from, to, err := sim.ReceiveFrom(fd, l.In()) // one a round: the rest is announced again
		require.NoError(t, err)
		require.NoError(t, sim.SendTo(fd, l.In()[:n], from, to))
	}
	require.NoError(t, l.AttachListener(&echo.conn, fd, echo))
	var got []string
	client := sim.Datagrams(netip.AddrPort{})
	client.Handle = func(_ *SimUDP, from netip.AddrPort, data string) {
		require.Equal(t, front, from)
		got = append(got, data)
	}
	sent := []string{"one", "", "three"}
	for _, d := range sent {
		client.Send(front, d)
	}
	require.True(t, sim.Run(func() bool { return len(got) == 3 }, l))
	slices.Sort(got)
	slices.Sort(sent)
	require.Equal(t, sent, got)
	client.Close()
	l.Close(&echo.conn)
	require.Zero(t, sim.Open())
}

func TestSim_ConnectedUDP(t *testing.T) {
	sim := NewSim(1)
	l := New(sim)
	server := sim.Datagrams(back)
	server.Handle = func(u *SimUDP, from netip.AddrPort, data string) { u.Send(from, "re: "+data) }
	fd, err := sim.ConnectUDP(back)
	require.NoError(t, err)
	var got []string
	var refused error
	s := &script{}
	s.ready = func(Ready) {
		for {
			n, err := sim.Read(fd, l.In())
			if err != nil {
				if err != ErrAgain {
					refused = err
				}
				return
			}
			got = append(got, string(l.In()[:n]))
		}
	}
	require.NoError(t, l.Attach(&s.conn, fd, s))
	for _, d := range []string{"a", "b"} {
		_, err = sim.Write(fd, []byte(d))
		require.NoError(t, err)
	}
	stranger := sim.Datagrams(netip.AddrPort{})
	stranger.Send(sim.Local(fd), "not from the one that it is connected to")
	require.True(t, sim.Run(func() bool { return len(got) == 2 }, l))
	require.Equal(t, []string{"re: a", "re: b"}, got)
	server.Close()
	_, err = sim.Write(fd, []byte("c"))
	require.NoError(t, err)
	require.True(t, sim.Run(func() bool { return refused != nil }, l))
	require.Equal(t, syscall.ECONNREFUSED, refused)
	require.Len(t, got, 2)
	stranger.Close()
	l.Close(&s.conn)
	require.Zero(t, sim.Open())
}
