package proxy

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPanics_TooManyInAMinuteAreNotWell(t *testing.T) {
	var p Proxy
	for i := range panicsTolerated {
		total, tooMany := p.Panics()
		require.EqualValues(t, i, total)
		require.False(t, tooMany)
		p.panics.add()
	}
	_, tooMany := p.Panics()
	require.True(t, tooMany)
	for i := range p.panics.at { // a minute later
		p.panics.at[i] -= panicSpan
	}
	total, tooMany := p.Panics()
	require.EqualValues(t, panicsTolerated, total)
	require.False(t, tooMany)
}
