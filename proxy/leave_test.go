package proxy

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules"
)

func TestApply_AListenerMayComeBackAtOnce(t *testing.T) {
	b := newBed(t, nil, named(t, "a"))
	other := b.rule
	other.Port = freePort(t)
	for range 50 {
		b.apply(other)
		b.apply()
		table, _ := rules.Compile(rules.Input{Rules: []rules.Rule{other}, Services: []rules.Service{b.service}}, b.registry)
		require.NoError(t, b.TryListen(table))
		b.apply(other)
		b.apply()
	}
}

func TestTryListen_SaysWhatIsInTheWay(t *testing.T) {
	b := newBed(t, nil, named(t, "a"))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	at := netip.MustParseAddrPort(taken.Addr().String())
	r := b.rule
	r.Port, r.Address = at.Port(), at.Addr()
	table, _ := rules.Compile(rules.Input{Rules: []rules.Rule{b.rule, r}, Services: []rules.Service{b.service}}, b.registry)
	require.ErrorContains(t, b.TryListen(table), "in use by another program")
	require.Contains(t, b.exchange("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), "200 OK")
}
