package discovery

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"arzur.net/lb/rules"
)

// watching runs body beside a DNS Source that asks s, in a bubble. take returns
// what was published since the last take.
func watching(t *testing.T, c DNSConfig, s *nameServer, body func(t *testing.T, d *DNS, take func() []Snapshot)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := NewDNS(c)
		d.exchange = s.inMemory
		published := make(chan Snapshot, 1000)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- d.Watch(ctx, func(s Snapshot) { published <- s }) }() // ends with cancel
		body(t, d, func() (all []Snapshot) {
			synctest.Wait()
			for len(published) > 0 {
				all = append(all, <-published)
			}
			return all
		})
		cancel()
		require.NoError(t, <-ended)
	})
}

// showSnapshots writes each as its services and its warnings.
func showSnapshots(all []Snapshot) (texts []string) {
	for _, s := range all {
		text := show(s.Services)
		for _, w := range s.Warnings {
			text += "!" + w.Origin + ": " + w.Reason + "\n"
		}
		texts = append(texts, text)
	}
	return texts
}

func TestDNS_KeepsTheContract(t *testing.T) {
	testSource(t, func(t *testing.T) (Source, func(string), func(Snapshot) string) {
		s := &nameServer{}
		change := func(version string) { s.zone(t, "blog.test. 1 IN A 10.0.0."+version) }
		change("1")
		d := NewDNS(DefaultDNS)
		d.exchange = s.inMemory
		d.Want([]string{"dns:blog.test"})
		return d, change, func(s Snapshot) string {
			addr := s.Services[0].Instances[0].Addr.As4()
			return string('0' + addr[3])
		}
	})
}

func TestDNS_AnnouncesWhatIsWanted(t *testing.T) {
	s := &nameServer{}
	s.zone(t, "a.test. 5 IN A 10.0.0.1", "b.test. 5 IN A 10.0.0.2", "_c.test. 5 IN SRV 1 1 80 a.test.")
	watching(t, DefaultDNS, s, func(t *testing.T, d *DNS, take func() []Snapshot) {
		require.Equal(t, []Snapshot{{}}, take(), "nothing wanted, nothing to wait for")
		d.Want([]string{"dns+srv:_c.test", "dns:a.test"})
		all := showSnapshots(take())
		require.Equal(t, "dns+srv:_c.test: a.test=10.0.0.1\ndns:a.test: a.test=10.0.0.1\n", all[len(all)-1])
		d.Want([]string{"dns:a.test", "dns:b.test"})
		all = showSnapshots(take())
		require.Equal(t, "dns:a.test: a.test=10.0.0.1\ndns:b.test: b.test=10.0.0.2\n", all[len(all)-1])
		d.Want(nil)
		require.Equal(t, []Snapshot{{}}, take())
		asked := s.count("udp A a.test.")
		pass(time.Hour)
		require.Equal(t, asked, s.count("udp A a.test."))
	})
}

func TestDNS_TTLHasFloorAndCeiling(t *testing.T) {
	f := func(ttl string, least, most int) {
		t.Helper()
		s := &nameServer{}
		s.zone(t, "a.test. "+ttl+" IN A 10.0.0.1")
		watching(t, DNSConfig{MinTTL: 2 * time.Second, MaxTTL: 10 * time.Second}, s, func(t *testing.T, d *DNS, take func() []Snapshot) {
			d.Want([]string{"dns:a.test"})
			pass(100 * time.Second)
			require.GreaterOrEqual(t, s.count("udp A a.test."), least)
			require.LessOrEqual(t, s.count("udp A a.test."), most)
		})
	}
	f("0", 50, 51)
	f("1", 50, 51)
	f("5", 20, 23)
	f("600", 10, 12)
	f("4294967295", 50, 51) // RFC 2181 section 8: as 0
}

// failing runs body beside a Source that has found a.test at 10.0.0.1 and then fails.
func failing(t *testing.T, fail func(s *nameServer), body func(s *nameServer, d *DNS, take func() []Snapshot)) {
	t.Helper()
	s := &nameServer{}
	s.zone(t, "a.test. 60 IN A 10.0.0.1")
	c := DefaultDNS
	c.Servers = []string{"ns:53"}
	watching(t, c, s, func(t *testing.T, d *DNS, take func() []Snapshot) {
		d.Want([]string{"dns:a.test"})
		pass(time.Second)
		take()
		require.Equal(t, Report{Well: true, Text: "1 services"}, d.Report())
		s.set(fail)
		pass(time.Minute)
		body(s, d, take)
		take()
		s.zone(t, "a.test. 60 IN A 10.0.0.2")
		pass(time.Minute)
		require.Equal(t, []string{"dns:a.test: a.test=10.0.0.2\n"}, showSnapshots(take()))
		require.True(t, d.Report().Well)
	})
}

func TestDNS_KeepsTheLastAnswerForAWhileWhenTheNameIsGone(t *testing.T) {
	for failure, fail := range map[string]func(s *nameServer){
		"a.test does not exist (NXDOMAIN)": func(s *nameServer) { s.records = nil },
		"a.test has no A record":           func(s *nameServer) { s.records = parseRecords(t, []string{"a.test. 60 IN TXT x"}) },
	} {
		failing(t, fail, func(s *nameServer, d *DNS, take func() []Snapshot) {
			all := take()
			require.Len(t, all, 1, "said once")
			require.Equal(t, "dns:a.test: a.test=10.0.0.1\n", show(all[0].Services))
			require.Contains(t, all[0].Warnings[0].Reason, failure+"; what was found at 2000-01-01 00:00:00 stays in use until 2000-01-01 00:05:")
			r := d.Report()
			require.False(t, r.Well)
			require.Contains(t, r.Text, "1 of 1 services: "+failure)
			require.Equal(t, 61*time.Second, r.Age)

			s.set(func(s *nameServer) { s.silent = true })
			pass(time.Minute)
			s.set(func(s *nameServer) { s.silent = false })
			pass(4 * time.Minute)
			all = take()
			require.Equal(t, "dns:a.test:\n", show(all[len(all)-1].Services), "silence does not put it off")
			require.Contains(t, all[len(all)-1].Warnings[0].Reason, failure+"; what was found at 2000-01-01 00:00:00 was kept for 5m0s, now its rules answer 503")
			pass(time.Hour)
			require.Empty(t, take())
		})
	}
}

func TestDNS_KeepsTheLastAnswerForAsLongAsNobodyAnswers(t *testing.T) {
	for failure, fail := range map[string]func(s *nameServer){
		"ask ns:53 for a.test A: SERVFAIL":                   func(s *nameServer) { s.rcode = dns.RcodeServerFailure },
		"ask ns:53 for a.test A: no answer by udp within 2s": func(s *nameServer) { s.silent = true },
	} {
		failing(t, fail, func(s *nameServer, d *DNS, take func() []Snapshot) {
			all := take()
			require.Len(t, all, 1, "said once")
			require.Equal(t, "dns:a.test: a.test=10.0.0.1\n", show(all[0].Services))
			require.Equal(t, failure+"; what was found at 2000-01-01 00:00:00 stays in use", all[0].Warnings[0].Reason)
			pass(24 * time.Hour)
			require.Empty(t, take())
			r := d.Report()
			require.False(t, r.Well)
			require.Equal(t, 24*time.Hour+61*time.Second, r.Age)
		})
	}
}

func TestDNS_KeepNothing(t *testing.T) {
	s := &nameServer{}
	s.zone(t, "a.test. 1 IN A 10.0.0.1")
	watching(t, DNSConfig{MinTTL: time.Second, MaxTTL: time.Second}, s, func(t *testing.T, d *DNS, take func() []Snapshot) {
		d.Want([]string{"dns:a.test"})
		pass(time.Second)
		take()
		s.set(func(s *nameServer) { s.records = nil })
		pass(2 * time.Second)
		all := take()
		require.Equal(t, "dns:a.test:\n", show(all[len(all)-1].Services))
	})
}

func TestDNS_AServiceThatWasNeverFoundIsAnnounced(t *testing.T) {
	s := &nameServer{}
	watching(t, DefaultDNS, s, func(t *testing.T, d *DNS, take func() []Snapshot) {
		take()
		d.Want([]string{"dns:1.2.3.4", "dns:a.test"})
		all := showSnapshots(take())
		require.Equal(t, "dns:1.2.3.4:\ndns:a.test:\n"+
			"!dns:1.2.3.4: service \"dns:1.2.3.4\": 1.2.3.4 is an address, which needs no DNS; want a name\n"+
			"!dns:a.test: a.test does not exist (NXDOMAIN); nothing was found yet, so its rules answer 503\n", all[len(all)-1])
		require.Equal(t, "2 of 2 services: service \"dns:1.2.3.4\": 1.2.3.4 is an address, which needs no DNS; want a name", d.Report().Text)
	})
}

func TestDNS_OtherServersAreAskedAtOnce(t *testing.T) {
	s := &nameServer{}
	s.zone(t, "a.test. 600 IN A 10.0.0.1")
	watching(t, DefaultDNS, s, func(t *testing.T, d *DNS, take func() []Snapshot) {
		d.Want([]string{"dns:a.test"})
		take()
		s.zone(t, "a.test. 600 IN A 10.0.0.2")
		c := DefaultDNS
		c.Servers = []string{"10.0.0.53:53"}
		d.Configure(c)
		require.Equal(t, []string{"dns:a.test: a.test=10.0.0.2\n"}, showSnapshots(take()))
		d.Configure(c)
		require.Empty(t, take())
	})
}

func TestDNS_SlowNamesDoNotHoldUpOthers(t *testing.T) {
	s := &nameServer{}
	s.zone(t, "a.test. 60 IN A 10.0.0.1", "b.test. 60 IN A 10.0.0.2")
	synctest.Test(t, func(t *testing.T) {
		d := NewDNS(DefaultDNS)
		d.exchange = func(ctx context.Context, network, server string, q *dns.Msg) (*dns.Msg, error) {
			if q.Question[0].Name == "b.test." {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return s.inMemory(ctx, network, server, q)
		}
		d.Want([]string{"dns:a.test", "dns:b.test"})
		published := make(chan Snapshot, 10)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- d.Watch(ctx, func(s Snapshot) { published <- s }) }() // ends with cancel
		synctest.Wait()
		require.Equal(t, []string{"dns:a.test: a.test=10.0.0.1\n"}, showSnapshots([]Snapshot{<-published}))
		cancel()
		require.NoError(t, <-ended)
	})
}

// TestDNS_FromARuleToItsAddresses goes through Merge and over sockets.
func TestDNS_FromARuleToItsAddresses(t *testing.T) {
	s := startNameServer(t, "a.test. 60 IN A 10.0.0.1")
	c := DefaultDNS
	c.Servers = []string{s.addr}
	file := make(fed)
	seen := make(chan rules.Input, 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { // ends with cancel
		done <- Merge(ctx, []Named{{Name: "file", Source: file}, {Name: "dns", Source: NewDNS(c)}}, &Resolver{}, zap.NewNop(),
			func(in rules.Input, _ []rules.Problem) { seen <- in })
	}()
	file <- naming("dns:a.test")
	require.Equal(t, "dns:a.test: a.test=10.0.0.1\n", show((<-seen).Services), "the first View has it")
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}
