package discovery

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

// lookUp asks the servers for a service.
func lookUp(t *testing.T, service string, servers ...string) (dnsAnswer, error) {
	t.Helper()
	c, err := newDNSClient(servers, exchangeBySocket)
	require.NoError(t, err)
	c.timeout = 200 * time.Millisecond
	s, err := parseDNSService(service)
	require.NoError(t, err)
	return c.lookup(t.Context(), &s)
}

// showAnswer writes an answer as "addr:port*weight(backup) ... ttl".
func showAnswer(a dnsAnswer) string {
	text := ""
	for _, i := range a.instances {
		text += fmt.Sprintf("%s=%s:%d", i.Host, i.Addr, i.Port)
		if i.Weight != nil {
			text += fmt.Sprintf("*%d", *i.Weight)
		}
		if i.Backup {
			text += " backup"
		}
		text += ", "
	}
	return text + a.ttl.String()
}

func TestDNSClient_Addresses(t *testing.T) {
	s := startNameServer(t,
		"blog.test. 60 IN A 10.0.0.2", "blog.test. 60 IN A 10.0.0.1", "blog.test. 30 IN AAAA fd00::1",
		"www.test. 20 IN CNAME blog.test.", "far.test. 10 IN CNAME www.test.",
		"six.test. 5 IN AAAA fd00::6", "text.test. 5 IN TXT x",
		"hole.test. 5 IN A 0.0.0.0", "half.test. 5 IN A 0.0.0.0", "half.test. 5 IN A 10.0.0.9",
		"loop.test. 5 IN CNAME loop2.test.", "loop2.test. 5 IN CNAME loop.test.",
	)
	f := func(service, want string) {
		t.Helper()
		a, err := lookUp(t, service, s.addr)
		require.NoError(t, err)
		require.Equal(t, want, showAnswer(a))
	}
	all := "NAME=10.0.0.1:PORT, NAME=10.0.0.2:PORT, NAME=fd00::1:PORT, "
	of := func(name, port, ttl string) string {
		return strings.NewReplacer("NAME", name, "PORT", port).Replace(all) + ttl
	}
	f("dns:blog.test", of("blog.test", "0", "30s"))
	f("dns:blog.test:8080", of("blog.test", "8080", "30s"))
	f("dns:BLOG.test.", of("BLOG.test.", "0", "30s"))
	f("dns:www.test", of("www.test", "0", "20s"))
	f("dns:far.test", of("far.test", "0", "10s"))
	f("dns:six.test", "six.test=fd00::6:0, 5s")
	f("dns:half.test", "half.test=10.0.0.9:0, 5s")
	s.set(func(s *nameServer) { s.noFollow = true })
	f("dns:far.test", of("far.test", "0", "10s"))
	s.set(func(s *nameServer) { s.noEDNS = true })
	f("dns:six.test", "six.test=fd00::6:0, 5s")
	s.set(func(s *nameServer) { s.noEDNS, s.noKind = false, dns.TypeA })
	f("dns:six.test", "six.test=fd00::6:0, 5s")

	g := func(service, want string) {
		t.Helper()
		_, err := lookUp(t, service, s.addr)
		require.EqualError(t, err, want)
	}
	g("dns:text.test", "ask "+s.addr+" for text.test A: SERVFAIL")
	s.set(func(s *nameServer) { s.noKind = 0 })
	g("dns:none.test", "none.test does not exist (NXDOMAIN)")
	g("dns:text.test", "text.test has no A record")
	g("dns:hole.test", "hole.test has no A record")
	g("dns+srv:text.test", "text.test has no SRV record")
	g("dns:loop.test", "loop.test is an alias of an alias, and so on without an end")
	s.set(func(s *nameServer) { s.noFollow = false })
	g("dns:loop.test", "loop.test has no A record")
	s.set(func(s *nameServer) { s.rcode = dns.RcodeRefused })
	g("dns:blog.test", "ask "+s.addr+" for blog.test A: REFUSED")
	s.set(func(s *nameServer) { s.silent = true })
	g("dns:blog.test", "ask "+s.addr+" for blog.test A: no answer by udp within 200ms")
}

func TestDNSClient_AsksTheNextServer(t *testing.T) {
	bad := startNameServer(t)
	good := startNameServer(t, "blog.test. 60 IN A 10.0.0.1")
	f := func(change func(s *nameServer)) {
		t.Helper()
		bad.set(change)
		a, err := lookUp(t, "dns:blog.test", bad.addr, good.addr)
		require.NoError(t, err)
		require.Equal(t, "blog.test=10.0.0.1:0, 1m0s", showAnswer(a))
	}
	f(func(s *nameServer) { s.rcode = dns.RcodeServerFailure })
	f(func(s *nameServer) { s.rcode = dns.RcodeRefused })
	f(func(s *nameServer) { s.silent = true })

	bad.zone(t)
	_, err := lookUp(t, "dns:blog.test", bad.addr, good.addr)
	require.EqualError(t, err, "blog.test does not exist (NXDOMAIN)", "that is an answer")
	require.Zero(t, good.count("udp SRV blog.test."))
}

func TestDNSClient_TruncatedAnswersComeByTCP(t *testing.T) {
	var lines []string
	for i := range 200 {
		lines = append(lines, fmt.Sprintf("blog.test. 60 IN A 10.0.%d.1", i))
	}
	s := startNameServer(t, lines...)
	a, err := lookUp(t, "dns:blog.test", s.addr)
	require.NoError(t, err)
	require.Len(t, a.instances, 200)
	require.Equal(t, 1, s.count("udp A blog.test."))
	require.Equal(t, 1, s.count("tcp A blog.test."))
	require.Zero(t, s.count("tcp AAAA blog.test."), "it was not cut short")
	s.set(func(s *nameServer) { s.byTCP = true })
	_, err = lookUp(t, "dns:blog.test", s.addr)
	require.NoError(t, err)
}

func TestDNSClient_AnswersThatAreCutShortInSilenceComeByTCP(t *testing.T) {
	var lines []string
	for i := range 200 {
		lines = append(lines, fmt.Sprintf("blog.test. 60 IN A 10.0.%d.1", i))
	}
	s := startNameServer(t, lines...)
	s.set(func(s *nameServer) { s.quiet = true })
	a, err := lookUp(t, "dns:blog.test", s.addr)
	require.NoError(t, err)
	require.Len(t, a.instances, 200)

	s.set(func(s *nameServer) { s.records, s.noTCP = s.records[:25], true })
	a, err = lookUp(t, "dns:blog.test", s.addr)
	require.NoError(t, err)
	require.Len(t, a.instances, 25, "without TCP it is what there is")
	s.set(func(s *nameServer) { s.records = s.records[:5] })
	_, err = lookUp(t, "dns:blog.test", s.addr)
	require.NoError(t, err)
	require.Equal(t, 2, s.count("tcp A blog.test."), "an answer with room left is all there is")
}

func TestDNSClient_SRV(t *testing.T) {
	s := startNameServer(t,
		"a.test. 40 IN A 10.0.0.1", "b.test. 50 IN A 10.0.0.2", "b.test. 50 IN A 10.0.0.3", "c.test. 60 IN AAAA fd00::1",
	)
	f := func(want string, srv ...string) {
		t.Helper()
		s.set(func(s *nameServer) { s.records = s.records[:4] })
		more := parseRecords(t, srv)
		s.set(func(s *nameServer) { s.records = append(s.records, more...) })
		a, err := lookUp(t, "dns+srv:_blog._tcp.test", s.addr)
		if err != nil {
			require.Equal(t, want, err.Error())
			return
		}
		require.Equal(t, want, showAnswer(a))
	}
	srv := func(priority, weight, port int, target string) string {
		return fmt.Sprintf("_blog._tcp.test. 60 IN SRV %d %d %d %s", priority, weight, port, target)
	}
	f("a.test=10.0.0.1:8080, 40s", srv(0, 0, 8080, "a.test."))
	f("a.test=10.0.0.1:1, a.test=10.0.0.1:2, 40s", srv(1, 5, 1, "a.test."), srv(1, 5, 2, "a.test."))
	f("a.test=10.0.0.1:1, c.test=fd00::1:1*6, 40s", srv(1, 10, 1, "A.test."), srv(1, 60, 1, "c.test."))
	f("a.test=10.0.0.1:1, c.test=fd00::1:1*256, 40s", srv(1, 0, 1, "a.test."), srv(1, 60, 1, "c.test."))
	f("a.test=10.0.0.1:1*2, b.test=10.0.0.2:1, b.test=10.0.0.3:1, 40s", srv(1, 1, 1, "a.test."), srv(1, 1, 1, "b.test."))
	f("a.test=10.0.0.1:1, c.test=fd00::1:1 backup, 40s", srv(1, 1, 1, "a.test."), srv(2, 60, 1, "c.test."))
	f("c.test=fd00::1:1, a.test=10.0.0.1:1 backup, 40s", srv(9, 1, 1, "a.test."), srv(2, 60, 1, "c.test."))
	f("a.test=10.0.0.1:1, 40s", srv(1, 1, 1, "a.test."), srv(1, 1, 1, "gone.test."))
	f("a.test=10.0.0.1:1, 40s", srv(1, 1, 1, "gone.test."), srv(2, 1, 1, "a.test."))
	f("gone.test does not exist (NXDOMAIN)", srv(1, 1, 1, "gone.test."))
	f("_blog._tcp.test has no SRV record", srv(0, 0, 0, "."))
	f("_blog._tcp.test does not exist (NXDOMAIN)")

	extra := parseRecords(t, []string{"gone.test. 7 IN A 10.0.0.9", "other.test. 1 IN A 10.0.0.8"})
	s.set(func(s *nameServer) { s.extra = extra })
	before := s.count("udp A gone.test.")
	f("gone.test=10.0.0.9:1, 7s", srv(1, 1, 1, "gone.test."))
	require.Equal(t, before, s.count("udp A gone.test."), "the server had said it already")
}

func TestDNSClient_SRVNeedsAllTargetsAnswered(t *testing.T) {
	s := startNameServer(t, "_b.test. 60 IN SRV 1 1 1 a.test.", "_b.test. 60 IN SRV 1 1 1 b.test.")
	extra := parseRecords(t, []string{"a.test. 7 IN A 10.0.0.9"})
	s.set(func(s *nameServer) { s.extra, s.noKind = extra, dns.TypeA })
	_, err := lookUp(t, "dns+srv:_b.test", s.addr)
	require.EqualError(t, err, "ask "+s.addr+" for b.test A: SERVFAIL")
}

func TestWeights(t *testing.T) {
	f := func(want []int, shares ...float64) {
		t.Helper()
		require.Equal(t, want, weights(shares))
	}
	f([]int{})
	f([]int{1}, 0)
	f([]int{1, 1}, 0, 0)
	f([]int{1, 1}, 65535, 65535)
	f([]int{2, 3}, 20, 30)
	f([]int{1, 2, 3}, 1./3, 2./3, 1)
	f([]int{1, 256}, 1, 65535)
	f([]int{1, 256}, 0, 1)
	f([]int{255, 256}, 65534./2, 65535./2+128)
}

func TestDNSClient_ResolvConf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	f := func(text string, want ...string) {
		t.Helper()
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		c, err := systemDNSClient(file, nil)
		require.NoError(t, err)
		require.Equal(t, want, append(c.servers, fmt.Sprint(c.attempts, " ", c.timeout, " ", c.search.NameList("blog"))))
	}
	f("nameserver 10.0.0.1\nnameserver fd00::1\nsearch a.test b.test\noptions timeout:3 attempts:1",
		"10.0.0.1:53", "[fd00::1]:53", "1 3s [blog.a.test. blog.b.test. blog.]")
	f("", "127.0.0.1:53", "2 5s [blog.]")
	require.NoError(t, os.Remove(file))
	c, err := systemDNSClient(file, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"127.0.0.1:53"}, c.servers)
}

func TestDNSClient_SearchesForShortNames(t *testing.T) {
	s := startNameServer(t, "blog.b.test. 60 IN A 10.0.0.1", "dot. 60 IN A 10.0.0.2")
	f := func(host, want string) {
		t.Helper()
		c := dnsClient{[]string{s.addr}, &dns.ClientConfig{Search: []string{"a.test", "b.test"}, Ndots: 1}, time.Minute, 1, exchangeBySocket}
		a, err := c.lookup(t.Context(), &dnsService{host: host})
		if err != nil {
			require.Equal(t, want, err.Error())
			return
		}
		require.Equal(t, want, showAnswer(a))
	}
	f("blog", "blog=10.0.0.1:0, 1m0s")
	f("dot", "dot=10.0.0.2:0, 1m0s")
	f("none", "none.a.test does not exist (NXDOMAIN)")
	f("blog.", "blog does not exist (NXDOMAIN)")
	s.set(func(s *nameServer) { s.rcode = dns.RcodeServerFailure })
	f("blog", "ask "+s.addr+" for blog.a.test A: SERVFAIL")
	require.Equal(t, 1, s.count("udp A blog.b.test."), "who knows what the first would have been")
}

func TestDNSClient_EndsWithItsContext(t *testing.T) {
	s := startNameServer(t)
	s.set(func(s *nameServer) { s.silent = true })
	ctx, cancel := context.WithCancel(t.Context())
	c, err := newDNSClient([]string{s.addr}, func(ctx context.Context, network, server string, q *dns.Msg) (*dns.Msg, error) {
		time.AfterFunc(10*time.Millisecond, cancel)
		return exchangeBySocket(ctx, network, server, q)
	})
	require.NoError(t, err)
	c.timeout = time.Minute
	_, err = c.lookup(ctx, &dnsService{host: "blog"})
	require.Error(t, err)
	require.ErrorIs(t, ctx.Err(), context.Canceled)
}

func TestParseDNSService(t *testing.T) {
	f := func(service, want string) {
		t.Helper()
		s, err := parseDNSService(service)
		if err != nil {
			require.Equal(t, want, err.Error())
			return
		}
		require.Equal(t, want, fmt.Sprint(s.host, " ", s.port, " ", s.srv))
	}
	f("dns:blog.service.consul", "blog.service.consul 0 false")
	f("dns:tasks.blog:8080", "tasks.blog 8080 false")
	f("dns+srv:_blog._tcp.marathon.mesos.", "_blog._tcp.marathon.mesos. 0 true")
	f("dns:", `service "dns:": "" is no DNS name`)
	f("dns:a b", `service "dns:a b": "a b" is no DNS name`)
	f("dns:a..b", `service "dns:a..b": "a..b" is no DNS name`)
	f("dns:10.0.0.256", `service "dns:10.0.0.256": "10.0.0.256" is no DNS name`)
	f("dns:10.0.0.1", `service "dns:10.0.0.1": 10.0.0.1 is an address, which needs no DNS; want a name`)
	f("dns:fd00::1", `service "dns:fd00::1": fd00::1 is an address, which needs no DNS; want a name`)
	f("dns:a:0", `service "dns:a:0": want a port from 1 to 65535, got "0"`)
	f("dns:a:http", `service "dns:a:http": want a port from 1 to 65535, got "http"`)
	f("dns+srv:a:80", `service "dns+srv:a:80": SRV records have the port; leave out ":80"`)
	f("consul:a", `service "consul:a": want dns:NAME or dns+srv:NAME`)
}
