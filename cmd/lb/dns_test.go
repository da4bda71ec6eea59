package main

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

// srvZone is a name server over UDP that has at most one name: _blog._tcp.test
// is at the address that it holds, "" being nowhere.
type srvZone struct {
	address string
	server  atomic.Pointer[string]
}

func startZone(t *testing.T, server string) *srvZone {
	t.Helper()
	z := &srvZone{}
	z.server.Store(&server)
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	z.address = socket.LocalAddr().String()
	s := &dns.Server{PacketConn: socket, Handler: z}
	started := make(chan struct{})
	s.NotifyStartedFunc = func() { close(started) }
	ended := make(chan error, 1)
	go func() { ended <- s.ActivateAndServe() }() // ends with Shutdown
	<-started
	t.Cleanup(func() {
		require.NoError(t, s.Shutdown())
		require.NoError(t, <-ended)
	})
	return z
}

// ServeDNS implements dns.Handler.
func (z *srvZone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	r := new(dns.Msg).SetReply(q)
	host, port, found := strings.Cut(*z.server.Load(), ":")
	switch {
	case !found || q.Question[0].Name != "_blog._tcp.test.":
		r.Rcode = dns.RcodeNameError
	case q.Question[0].Qtype == dns.TypeSRV:
		srv, errSRV := dns.NewRR("_blog._tcp.test. 0 IN SRV 1 1 " + port + " node.test.")
		a, errA := dns.NewRR("node.test. 0 IN A " + host)
		if errSRV == nil && errA == nil {
			r.Answer, r.Extra = []dns.RR{srv}, []dns.RR{a}
		}
	}
	_ = w.WriteMsg(r) // lb asks again
}

func TestDNS_ServersFollowTheRecords(t *testing.T) {
	one, two := namedServer(t, "one"), namedServer(t, "two")
	z := startZone(t, one)
	port, admin := freePort(t), freePort(t)
	file := func(keep string) string {
		return fmt.Sprintf(`
port_rules: [{source_port: %d, address: 127.0.0.1, service: "dns+srv:_blog._tcp.test"}]
sources: {dns: {servers: [%q], min_ttl: 100ms, max_ttl: 200ms, keep: %s}}
admin: {address: %q}
`, port, z.address, keep, local(admin))
	}
	path := write(t, "rules.yml", file("1h"))
	p := start(t, "-config", path)
	require.Equal(t, "200 one", visit(t, port), "from the first request on")
	verbose := func() string { t.Helper(); return curl(t, "http://"+local(admin)+"/healthz?verbose") }
	require.Contains(t, verbose(), "[+] source dns\n")

	z.server.Store(&two)
	p.await("rule changed", two)
	require.Equal(t, "200 two", visit(t, port))

	nowhere := ""
	z.server.Store(&nowhere)
	p.await("_blog._tcp.test does not exist (NXDOMAIN)", "stays in use until")
	require.Equal(t, "200 two", visit(t, port))
	require.Contains(t, verbose(), "[!] source dns: 1 of 1 services: _blog._tcp.test does not exist (NXDOMAIN)")
	require.NotContains(t, curl(t, "http://"+local(admin)+"/metrics"), `lb_source_age_seconds{source="dns"} 0`+"\n")

	write(t, path, file("1ms"))
	p.await("now its rules answer 503")
	require.Contains(t, visit(t, port), "503")

	z.server.Store(&one)
	p.await("rule changed", one)
	require.Equal(t, "200 one", visit(t, port))
}
