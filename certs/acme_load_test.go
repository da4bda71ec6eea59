package certs

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestACME_ManyNamesAreThereAtOnce(t *testing.T) {
	t.Parallel()
	const many = 2000
	cache, ca, key := folder(t), newAuthority(t), newKey(t)
	var names []string
	for i := range many {
		n := fmt.Sprintf("%d.example.net", i)
		x := ca.issueFor(t, key, []string{n})
		require.NoError(t, cache.Put(context.Background(), n, x.both()))
		names = append(names, n)
	}
	a := NewACME(ACMEConfig{Cache: cache, Store: &Store{}})
	began := time.Now()
	a.SetHosts(names, nil)
	a.Load(context.Background())
	t.Logf("%d certificates loaded in %s", many, time.Since(began))
	for _, n := range names {
		require.True(t, a.config.Store.Covers(n), n)
	}
	require.Less(t, time.Since(began), 30*time.Second) // one on a machine with nothing else to do
}
