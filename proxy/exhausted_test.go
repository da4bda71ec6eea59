package proxy

import (
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"arzur.net/lb/health"
	"arzur.net/lb/proxy/loop"
)

// poor is a System that lacks something for some of its connections.
type poor struct {
	loop.System
	lacks *atomic.Int32 // for so many
	what  error
}

func (s poor) Connect(to netip.AddrPort) (int, error) {
	if s.lacks.Add(-1) >= 0 {
		return -1, s.what
	}
	return s.System.Connect(to)
}

// newPoorBed is newBed with one Loop, that lacks what for as many connections as
// lacks says at the time.
func newPoorBed(t *testing.T, lacks *atomic.Int32, what error, backends ...string) *bed {
	return newBed(t, func(b *bed) {
		b.loops = 1
		b.system = func() (loop.System, error) {
			s, err := loop.Real(health.Now, true)
			return poor{s, lacks, what}, err
		}
	}, backends...)
}

func (b *bed) requireAllUp() {
	b.t.Helper()
	for _, backend := range b.registry.All() {
		require.Equal(b.t, "up", backend.State(now()), backend.Addr)
	}
}

func TestExhausted_RequestsWaitAndNobodyIsBlamed(t *testing.T) {
	var lacks atomic.Int32
	b := newPoorBed(t, &lacks, syscall.EMFILE, named(t, "one"), named(t, "two"))
	lacks.Store(2 * 3)
	require.Equal(t, "200 OK", status(b.exchange(closing)))
	b.requireAllUp()
}

func TestExhausted_EndsAfterTheQueueTimeout(t *testing.T) {
	var lacks atomic.Int32
	b := newPoorBed(t, &lacks, syscall.EMFILE, named(t, "one"))
	b.opts.QueueTimeout = time.Millisecond
	b.apply()
	lacks.Store(1 << 30)
	answer := b.exchange("GET / HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\nConnection: close\r\n\r\n")
	require.Equal(t, "503 Service Unavailable", status(answer))
	require.Contains(t, answer, `"error":"exhausted"`)
	b.requireAllUp()
}

func TestExhausted_IdleConnectionsMakeRoom(t *testing.T) {
	var lacks atomic.Int32
	b := newPoorBed(t, &lacks, syscall.EMFILE, named(t, "one"), named(t, "two"))
	b.opts.QueueTimeout = 1 // not a moment to wait
	b.apply()
	require.Equal(t, "200 OK", status(b.exchange(closing)))
	lacks.Store(1)
	require.Equal(t, "200 OK", status(b.exchange(closing)))
}

func TestExhausted_WithoutPortsTheNextServerIsAsked(t *testing.T) {
	var lacks atomic.Int32
	b := newPoorBed(t, &lacks, syscall.EADDRNOTAVAIL, named(t, "one"), named(t, "two"))
	lacks.Store(1)
	answer := b.exchange("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	require.Equal(t, "200 OK", status(answer))
	require.Contains(t, answer, "two")
	b.requireAllUp()
}

// Apply may hold the lock while it waits for the very Loop that lacks something.
func TestExhausted_IsSaidOnceASecondAndWithoutTheLock(t *testing.T) {
	core, seen := observer.New(zapcore.ErrorLevel)
	p := &Proxy{log: zap.New(core)}
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 3 {
		p.logScarce("accept", &listener{}, syscall.EMFILE)
	}
	require.Equal(t, 1, seen.Len())
	p.scarceAt.Add(-int64(time.Second))
	p.logScarce("accept", &listener{}, syscall.EMFILE)
	require.Equal(t, 2, seen.Len())
}
