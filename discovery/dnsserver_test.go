package discovery

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

// nameServer answers from the records it is given, as text of zone files.
type nameServer struct {
	addr string

	mu       sync.Mutex
	records  []dns.RR
	extra    []dns.RR
	rcode    int            // of every answer, unless it is 0
	silent   bool           // answers nothing
	noEDNS   bool           // is older than EDNS
	noFollow bool           // leaves aliases to who asks
	byTCP    bool           // truncates every answer over UDP
	quiet    bool           // leaves out what does not fit without saying so, as Consul does
	noTCP    bool           // answers nothing over TCP
	noKind   uint16         // fails on questions of that kind
	asked    map[string]int // by network and question, such as "udp A blog."
}

func (s *nameServer) set(change func(s *nameServer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// zone replaces the records.
func (s *nameServer) zone(t *testing.T, lines ...string) {
	t.Helper()
	records := parseRecords(t, lines)
	s.set(func(s *nameServer) { s.records, s.rcode, s.silent = records, 0, false })
}

func parseRecords(t *testing.T, lines []string) (records []dns.RR) {
	t.Helper()
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		require.NoError(t, err)
		records = append(records, rr)
	}
	return records
}

func (s *nameServer) count(question string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[question]
}

// respond is the answer, nil for none.
func (s *nameServer) respond(network string, q *dns.Msg) *dns.Msg {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked == nil {
		s.asked = make(map[string]int)
	}
	question := q.Question[0]
	s.asked[network+" "+dns.TypeToString[question.Qtype]+" "+question.Name]++
	r := new(dns.Msg).SetReply(q)
	switch {
	case s.silent, s.noTCP && network == "tcp":
		return nil
	case s.rcode != 0:
		return new(dns.Msg).SetRcode(q, s.rcode)
	case s.noEDNS && q.IsEdns0() != nil:
		return new(dns.Msg).SetRcode(q, dns.RcodeFormatError)
	case s.noKind == question.Qtype:
		return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
	}
	s.fill(r, question)
	size := dns.MinMsgSize
	if opt := q.IsEdns0(); opt != nil {
		size = int(opt.UDPSize())
	}
	if network == "udp" {
		r.Truncate(size)
		if s.quiet {
			r.Truncated = false
		}
		if s.byTCP {
			r.Answer, r.Truncated = nil, true
		}
	}
	return r
}

// fill puts the records into r that the question is about.
func (s *nameServer) fill(r *dns.Msg, question dns.Question) {
	name, exists := question.Name, false
	for again := true; again; {
		again = false
		for _, rr := range s.records {
			if !strings.EqualFold(rr.Header().Name, name) {
				continue
			}
			exists = true
			if rr.Header().Rrtype == question.Qtype {
				r.Answer = append(r.Answer, rr)
			}
			if alias, ok := rr.(*dns.CNAME); ok {
				r.Answer = append(r.Answer, rr)
				name, again = alias.Target, !s.noFollow && len(r.Answer) < 5
				break
			}
		}
	}
	if !exists {
		r.Rcode = dns.RcodeNameError
	}
	r.Extra = append(r.Extra, s.extra...)
}

// startNameServer serves over UDP and TCP, on one port of 127.0.0.1.
func startNameServer(t *testing.T, lines ...string) *nameServer {
	t.Helper()
	s := &nameServer{}
	s.zone(t, lines...)
	packets, streams := listenBoth(t)
	s.addr = packets.LocalAddr().String()
	for network, server := range map[string]*dns.Server{"udp": {PacketConn: packets}, "tcp": {Listener: streams}} {
		server.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			if r := s.respond(network, q); r != nil {
				_ = w.WriteMsg(r) // who asks sees it
			}
		})
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		ended := make(chan error, 1)
		go func() { ended <- server.ActivateAndServe() }() // ends with Shutdown
		<-started
		t.Cleanup(func() {
			require.NoError(t, server.Shutdown())
			require.NoError(t, <-ended)
		})
	}
	return s
}

// listenBoth finds a port that is free for UDP and for TCP.
func listenBoth(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		require.NoError(t, err)
		streams, err := net.Listen("tcp", packets.LocalAddr().String())
		if err == nil {
			return packets, streams
		}
		require.NoError(t, packets.Close()) // somebody else has it
	}
	require.Fail(t, "no port is free for both")
	return nil, nil
}

// inMemory is an exchangeFunc without sockets, for tests inside a bubble.
func (s *nameServer) inMemory(ctx context.Context, network, _ string, q *dns.Msg) (*dns.Msg, error) {
	if r := s.respond(network, q); r != nil {
		return r, nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}
