package proxy

import (
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

func now() int64 { return health.Now() }

// fill takes up every place in a listener's queue, so that further SYNs go unanswered.
func fill(t *testing.T, l net.Listener) string {
	t.Helper()
	raw, err := l.(*net.TCPListener).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 0) }))
	require.NoError(t, err)
	at := l.Addr().String()
	for range 3 {
		c, err := net.DialTimeout("tcp", at, 200*time.Millisecond)
		if err == nil { // else there is no place, or no time to ask for one on a busy machine
			t.Cleanup(func() { _ = c.Close() })
		}
	}
	return at
}

// How long and how often to look for what another goroutine brings about.
const (
	eventually = 30 * time.Second
	tick       = time.Millisecond
)

func newBedService(backends ...string) rules.Service {
	s := rules.Service{Name: "web", Origin: "test"}
	for _, at := range backends {
		ap := netip.MustParseAddrPort(at)
		s.Instances = append(s.Instances, rules.Instance{Host: ap.Addr().String(), Addr: ap.Addr(), Port: ap.Port()})
	}
	return s
}

// testOptions are like the program's defaults.
var testOptions = Options{
	HeaderTimeout:       10 * time.Second,
	HandshakeTimeout:    10 * time.Second,
	BodyTimeout:         30 * time.Second,
	ConnectTimeout:      2 * time.Second,
	ResponseTimeout:     60 * time.Second,
	ResponseBodyTimeout: 60 * time.Second,
	WriteTimeout:        30 * time.Second,
	KeepAliveTimeout:    75 * time.Second,
	UpstreamKeepAlive:   50 * time.Second,
	TunnelTimeout:       time.Hour,
	UDPTimeout:          30 * time.Second,
	QueueTimeout:        5 * time.Second,
	DrainTimeout:        30 * time.Second,
	MaxIdle:             256,
	QueueLength:         1024,
	Retries:             2,
	RetryBudget:         20,
}
