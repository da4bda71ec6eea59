package loop

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLoop_BuffersComeBackByClass(t *testing.T) {
	l := New(NewSim(1))
	f := func(n, capacity int) {
		t.Helper()
		b := l.Get(n)
		require.Empty(t, b)
		require.Equal(t, cap(b), capacity)
		l.Put(b[:1])
		again := l.Get(n)
		require.Empty(t, again)
		require.Equal(t, &again[:1][0] == &b[:1][0], capacity <= 128<<10)
	}
	f(0, 1<<10)
	f(1<<10, 1<<10)
	f(1<<10+1, 4<<10)
	f(4<<10, 4<<10)
	f(10_000, 16<<10)
	f(64<<10, 64<<10)
	f(64<<10+1, 128<<10)
	f(128<<10+1, 128<<10+1)
}

func TestLoop_CountsTheBuffersItLent(t *testing.T) {
	l := New(NewSim(1))
	a, b := l.Get(10), l.Get(1<<20)
	require.Equal(t, l.Lent(), 2)
	l.Put(a)
	l.Put(b)
	require.Zero(t, l.Lent())
}

func TestLoop_KeepsABoundedNumberOfBuffers(t *testing.T) {
	l := New(NewSim(1))
	for i := range classes {
		for range classes[i].keep + 5 {
			l.Put(make([]byte, 0, classes[i].size))
		}
		require.Len(t, l.free[i], classes[i].keep)
	}
	l.Put(make([]byte, 0, 5000))
	l.Put(nil)
	require.Len(t, l.In(), ScratchSize)
	require.Empty(t, l.Out())
	require.GreaterOrEqual(t, cap(l.Out()), 96<<10)
}
