package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGCPercent_OnlySmallHeapsWait(t *testing.T) {
	f := func(live uint64, want int) {
		t.Helper()
		require.Equal(t, want, gcPercent(live))
	}
	f(0, 400)
	f(gcFrom/5, 400)
	f(gcFrom/5+1, 200)
	f(gcFrom/3, 200)
	f(gcFrom/3+1, 100)
	f(1<<40, 100)
}
