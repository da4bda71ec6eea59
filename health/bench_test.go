package health

import (
	"net/netip"
	"testing"

	"go.uber.org/zap"
)

// BenchmarkRegistry_Backend is what Compile pays for each server.
func BenchmarkRegistry_Backend(b *testing.B) {
	f := func(name string, c *Check) {
		b.Run(name, func(b *testing.B) {
			r := NewRegistry()
			b.ReportAllocs()
			for i := range b.N {
				r.Backend(addressNo(i%100_000), c, "")
			}
		})
	}
	f("unchecked", nil)
	f("tcp", &Check{})
	f("http", &Check{RequestLine: "GET / HTTP/1.0"})
}

// BenchmarkChecker_Set is a reload that changes nothing about 10,000 servers.
func BenchmarkChecker_Set(b *testing.B) {
	r, c, check := NewRegistry(), NewChecker(zap.NewNop()), &Check{}
	var uses []Use
	for i := range 10_000 {
		uses = append(uses, Use{Backend: r.Backend(addressNo(i), check, ""), Check: check, Service: "blog"})
	}
	for b.Loop() {
		c.Set(uses)
	}
}

func addressNo(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, byte(i >> 16), byte(i >> 8), byte(i)}), 80)
}
