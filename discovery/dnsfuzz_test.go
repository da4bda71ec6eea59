package discovery

import (
	"context"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

// FuzzDNSAnswer has a name server that answers whatever it likes.
func FuzzDNSAnswer(f *testing.F) {
	for _, lines := range [][]string{
		{"a.test. 60 IN A 10.0.0.1", "a.test. 60 IN AAAA fd00::1"},
		{"a.test. 60 IN CNAME b.test.", "b.test. 60 IN CNAME a.test."},
		{"a.test. 60 IN SRV 1 0 80 b.test.", "a.test. 60 IN SRV 2 65535 80 c.test.", "b.test. 1 IN A 10.0.0.1", "c.test. 1 IN A 10.0.0.2"},
	} {
		m := new(dns.Msg)
		for _, line := range lines {
			rr, err := dns.NewRR(line)
			require.NoError(f, err)
			m.Answer, m.Extra = append(m.Answer, rr), append(m.Extra, rr)
		}
		wire, err := m.Pack()
		require.NoError(f, err)
		f.Add(wire, true)
		f.Add(wire, false)
	}
	f.Fuzz(func(t *testing.T, wire []byte, srv bool) {
		r := new(dns.Msg)
		if r.Unpack(wire) != nil {
			return
		}
		c, err := newDNSClient([]string{"ns:53"}, func(_ context.Context, _, _ string, q *dns.Msg) (*dns.Msg, error) {
			copied := r.Copy()
			copied.Question, copied.Response, copied.Opcode = q.Question, true, q.Opcode
			return copied, nil
		})
		require.NoError(t, err)
		a, err := c.lookup(t.Context(), &dnsService{host: "a.test", srv: srv})
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		require.NotEmpty(t, a.instances)
		require.GreaterOrEqual(t, a.ttl, time.Duration(0))
		require.False(t, a.instances[0].Backup, "there is always a primary")
		for _, i := range a.instances {
			require.True(t, i.Addr.IsValid())
			require.True(t, i.Weight == nil || *i.Weight >= 1 && *i.Weight <= mostWeight)
		}
	})
}
