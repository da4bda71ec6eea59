package health

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var addr1, addr2 = netip.MustParseAddrPort("10.0.0.1:80"), netip.MustParseAddrPort("10.0.0.2:80")

func TestRegistry_OneBackendPerAddressAndCheck(t *testing.T) {
	r := NewRegistry()
	b := r.Backend(addr1, nil, "")
	require.Same(t, b, r.Backend(addr1, nil, ""))
	require.NotSame(t, b, r.Backend(addr2, nil, ""))
	checked := r.Backend(addr1, &Check{}, "")
	require.NotSame(t, b, checked)
	require.Same(t, checked, r.Backend(addr1, &Check{ExpectStatus: "200"}, ""), "equal in effect: TCP has no status")
	require.Equal(t, []*Backend{b, checked, r.Backend(addr2, nil, "")}, r.All())
	require.Nil(t, b.Status())
	require.Equal(t, Initializing, checked.Status().Phase)
}

func TestRegistry_InitialDown(t *testing.T) {
	r := NewRegistry()
	b := r.Backend(addr1, &Check{InitialDown: true}, "")
	require.False(t, b.Usable(Now()))
	require.Equal(t, "down", b.State(Now()))
	require.Equal(t, "no check has passed yet", b.Verdict().Reason)
	require.True(t, b.Status().Down)
	require.True(t, r.Backend(addr1, &Check{}, "").Usable(Now()))
}

func TestRegistry_Sweep(t *testing.T) {
	r := NewRegistry()
	kept, left := r.Backend(addr1, nil, ""), r.Backend(addr2, nil, "")
	keep := func(b *Backend) bool { return b == kept }
	f := func(now int64, want ...*Backend) {
		t.Helper()
		require.Equal(t, append([]*Backend(nil), want...), r.Sweep(now, keep))
	}
	now := left.seen.Load()
	long := int64(RetireAfter)
	f(now)
	f(now + long - 1)

	require.True(t, left.TryBegin(0, now))
	f(now + long)
	left.Done(Served, now+long)
	left.Wait(1)
	f(now + long)
	left.Wait(-1)
	f(now+long, left)
	f(now + 2*long)
	require.Equal(t, []*Backend{kept}, r.All())
	again := r.Backend(addr2, nil, "")
	require.NotSame(t, left, again)

	keep = func(*Backend) bool { return false }
	f(now+2*long+1, again) // kept was in a Table until just now
	f(now+3*long, kept)
}

func TestRegistry_Concurrent(t *testing.T) {
	r := NewRegistry()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				b := r.Backend(addr1, &Check{}, "")
				require.Equal(t, addr1, b.Addr)
				r.Sweep(Now()+int64(time.Hour), func(b *Backend) bool { return false })
				r.All()
			}
		})
	}
	wg.Wait()
}
