package loop

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestQuiesce_LetsInWhoHasConnectedAndNobodyElse(t *testing.T) {
	clock := int64(1)
	s, err := Real(func() int64 { return clock }, true)
	require.NoError(t, err)
	defer s.Shut()
	fds, err := Listen(netip.MustParseAddr("127.0.0.1"), 0, 1)
	require.NoError(t, err)
	defer s.Close(fds[0])
	at, err := ListenAddr(fds[0])
	require.NoError(t, err)

	early, err := net.Dial("tcp", at.String())
	require.NoError(t, err)
	defer early.Close()
	s.Quiesce(fds[0])
	_, err = net.DialTimeout("tcp", at.String(), 50*time.Millisecond)
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	require.True(t, timeout.Timeout(), "%v", err)

	fd := acceptSoon(t, s, fds[0])
	defer s.Close(fd)
	_, _, err = s.Accept(fds[0])
	require.ErrorIs(t, err, ErrAgain)
	// What stands is not filtered.
	_, err = early.Write([]byte("hello"))
	require.NoError(t, err)
	buf := make([]byte, 8)
	require.Eventually(t, func() bool {
		n, err := s.Read(fd, buf)
		return err == nil && string(buf[:n]) == "hello"
	}, time.Minute, time.Millisecond)
}
