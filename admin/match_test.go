package admin

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// shop is some rules of everything that a request may meet.
func shop(t testing.TB) *rules.Table {
	t.Helper()
	services := []rules.Service{
		{Name: "blog", Instances: []rules.Instance{
			{Host: "10.0.0.1", Addr: netip.MustParseAddr("10.0.0.1"), Port: 80},
			{Host: "10.0.0.2", Addr: netip.MustParseAddr("10.0.0.2"), Port: 80, Weight: new(3), Backup: true},
		}},
		{Name: "nobody"},
		{Name: "names", Instances: []rules.Instance{{Host: "dns.internal"}, {Host: "10.0.0.3", Addr: netip.MustParseAddr("10.0.0.3")}}},
	}
	local := netip.MustParseAddr("127.0.0.1")
	table, problems := rules.Compile(rules.Input{Services: services, Rules: []rules.Rule{
		{Origin: "r.yml:1", Port: 80, Service: "blog"},
		{Origin: "r.yml:2", Port: 80, Hostname: "arzur.net", Path: "/api", StripPrefix: "/api", Service: "blog"},
		{Origin: "r.yml:3", Port: 80, Hostname: "arzur.net", Path: "/dots", Service: "blog", Rewrites: []rules.Rewrite{{Kind: rules.StripPrefixRegexp, Pattern: "/dots/x"}}},
		{Origin: "r.yml:4", Port: 80, Hostname: "old.net", Redirect: &rules.Redirect{Host: "arzur.net", ByMethod: true}},
		{Origin: "r.yml:5", Port: 80, Hostname: "guarded.net", Refuse: "basic auth is not supported"},
		{Origin: "r.yml:6", Port: 80, Expr: "Host(`arzur.net`) && Header(`X-Canary`, `yes`)", Priority: 1, Service: "nobody"},
		{Origin: "r.yml:7", Port: 80, Hostname: "moved.net", Redirect: &rules.Redirect{Pattern: "^http://moved.net/old(.*)", Replacement: "https://new.net$1"}},
		{Origin: "r.yml:8", Port: 81, Address: local, Hostname: "arzur.net", Service: "blog"},
		{Origin: "r.yml:9", Port: 443, Protocol: rules.HTTPS, Service: "blog"},
		{Origin: "r.yml:10", Port: 5432, Protocol: rules.SNI, Hostname: "db.net", Service: "blog"},
		{Origin: "r.yml:11", Port: 53, Protocol: rules.UDP, Service: "names"},
	}}, rules.NoBackends{})
	require.Empty(t, problems)
	return table
}

func TestExplain_SaysWhatBecomesOfARequest(t *testing.T) {
	table := shop(t)
	f := func(q Question, want string) {
		t.Helper()
		answers, err := Explain(table, &q, false, nil)
		require.NoError(t, err)
		require.Len(t, answers, 1)
		require.Equal(t, want, answers[0].outcome())
	}
	f(Question{URL: "http://arzur.net/"}, "blog")
	f(Question{URL: "arzur.net"}, "blog")
	f(Question{URL: "http://ARZUR.net./api/x?y"}, "blog, as /x")
	f(Question{URL: "http://arzur.net/a/../api"}, "blog, as /")
	f(Question{URL: "http://10.0.0.9/", Header: []string{"Host: arzur.net", "X-Canary: yes"}}, "nobody, which has no server")
	f(Question{URL: "http://arzur.net/dots/x/../y"}, "blog")
	f(Question{URL: "http://arzur.net/dots/x.."}, "400 bad_path: the rewritten path has dot segments")
	f(Question{URL: "http://old.net/x"}, "redirect 302/307 {scheme}://arzur.net{path}")
	f(Question{URL: "http://guarded.net/"}, "503 refused: basic auth is not supported")
	f(Question{URL: "http://moved.net/old/x?y"}, "redirect 302 https://new.net/x?y")
	f(Question{URL: "http://moved.net/x"}, "404 no_rule: the rule redirects, but its pattern does not match this URL")
	f(Question{URL: "http://127.0.0.1:81/"}, "404 no_rule: no rule matches this request")
	f(Question{URL: "http://arzur.net:81/"}, "blog")
	f(Question{URL: "https://arzur.net/"}, "blog")
	f(Question{URL: "tls://db.net:5432"}, "blog")
	f(Question{URL: "tls://x.net:5432"}, "no_rule: no rule matches this request")
	f(Question{URL: "udp://1.2.3.4:53"}, "names")
}

func TestExplain_SaysWhatTheQuestionLacks(t *testing.T) {
	table := shop(t)
	f := func(q Question, want string) {
		t.Helper()
		_, err := Explain(table, &q, false, nil)
		require.EqualError(t, err, want)
	}
	f(Question{}, `url: missing; want http://arzur.net:8010/blog`)
	f(Question{URL: "http://arzur.net:0"}, `url "http://arzur.net:0": port 0; want 1 to 65535`)
	f(Question{URL: "tcp://db"}, `url "tcp://db": no port; want tcp://db:PORT`)
	f(Question{URL: "http://a b/"}, `url "http://a b/": invalid character " " in host name`)
	f(Question{URL: "http://a/", Client: "me"}, `client "me": want an IP address`)
	f(Question{URL: "http://a/", Header: []string{"X"}}, `header "X": want Name: value`)
	f(Question{URL: "http://a:82/"}, "nobody listens on *:82; listeners are *:53/udp, *:80, 127.0.0.1:81, *:443/https, *:5432/sni")
	f(Question{URL: "http://127.0.0.2:81/"}, "nobody listens on 127.0.0.2:81; listeners are *:53/udp, *:80, 127.0.0.1:81, *:443/https, *:5432/sni")
}

func TestMatch_ForPeople(t *testing.T) {
	table := shop(t)
	f := func(q Question, want string) {
		t.Helper()
		answers, err := Explain(table, &q, false, nil)
		require.NoError(t, err)
		require.Equal(t, want, answers[0].String())
	}
	f(Question{URL: "http://arzur.net/api/x", Method: "POST"}, strings.ReplaceAll(`*:80  POST  arzur.net/api/x
  no   Host('arzur.net') && Header('X-Canary', 'yes')  r.yml:6  no field X-Canary, want Header("X-Canary", "yes")
  no   arzur.net/dots                                  r.yml:3  path /api/x, want /dots or below
  yes  arzur.net/api                                   r.yml:2
  no   old.net                                         r.yml:4  host arzur.net, want old.net
  no   guarded.net                                     r.yml:5  host arzur.net, want guarded.net
  no   moved.net                                       r.yml:7  host arzur.net, want moved.net
  no   *                                               r.yml:1  would take it, but comes later
-> blog, as /x
   10.0.0.1:80
   10.0.0.2:80  backup
`, "'", "`"))
	f(Question{URL: "udp://x.net:53"}, `*:53/udp  x.net
  yes  *  r.yml:11
-> names
   10.0.0.3:53
   dns.internal  no address
`)
	f(Question{URL: "http://x.net:443"}, `*:443/https  GET  x.net/
the port speaks https
  yes  *  r.yml:9
-> blog
   10.0.0.1:80
   10.0.0.2:80  backup
`)
}

func TestExplain_LeavesRulesOfOtherHostsOut(t *testing.T) {
	in := rules.Input{Services: []rules.Service{{Name: "blog"}}}
	for i := range 200 {
		in.Rules = append(in.Rules, rules.Rule{Port: 80, Hostname: string(rune('a'+i%26)) + string(rune('a'+i/26)) + ".net", Service: "blog"})
	}
	in.Rules = append(in.Rules, rules.Rule{Port: 80, Service: "blog"})
	table, problems := rules.Compile(in, rules.NoBackends{})
	require.Empty(t, problems)
	answers, err := Explain(table, &Question{URL: "http://zz.net"}, false, nil)
	require.NoError(t, err)
	require.Len(t, answers[0].Tried, mostTried)
	require.Equal(t, 181, answers[0].More)
	require.True(t, answers[0].Tried[mostTried-1].Takes, "the one for any host is listed")
	require.Contains(t, answers[0].String(), "181 more, for other hosts\n")
}

func TestAPI_Match(t *testing.T) {
	d, one, two := deskOf(t, nil)
	at := d.Proxy.Table().Ports()[0].String()
	ask := func(more url.Values) Match {
		t.Helper()
		more.Set("url", "http://"+at+"/x")
		var got []Match
		d.decode("/api/match?"+more.Encode(), &got)
		require.Len(t, got, 1)
		return got[0]
	}
	got := ask(url.Values{"method": {"PUT"}, "header": {"Host: foo.example", "X: y"}, "client": {"192.0.2.1"}})
	require.Equal(t, Match{
		Listen: at, Method: "PUT", Host: "foo.example", Path: "/x", Client: "192.0.2.1",
		Tried: []triedView{
			{Match: "old.example", Name: "old", Origin: "rules.yml:2", Why: "host foo.example, want old.example"},
			{Match: "*", Name: "all", Origin: "rules.yml:9", Takes: true},
		},
		Rule: got.Rule,
	}, got)
	require.Equal(t, "all", got.Rule.Name)
	require.Equal(t, "   "+one.String()+"  up\n   "+two.String()+"  down: status 500, want 200-399, weight 3\n", got.servers())

	for _, b := range d.Registry.All() {
		b.SetDown(true, &health.Verdict{At: health.Now(), Reason: "no route to host"})
	}
	got = ask(url.Values{})
	require.Equal(t, "503 no_backend: no server of this service is usable", got.outcome())
	require.False(t, got.Served())
	require.Equal(t, "ejected for 2s: broken response", (&targetView{Weight: 1, State: "ejected", Reason: "ejected for 2s: broken response"}).about())

	got = ask(url.Values{"header": {"Host: old.example"}})
	require.Equal(t, 301, got.Status)
	require.True(t, got.Served())

	f := func(path string, want string) {
		t.Helper()
		status, body := d.ask("GET", path)
		require.Equal(t, http.StatusBadRequest, status)
		require.Contains(t, body, want)
	}
	f("/api/match", "url: missing")
	f("/api/match?url=http://x:1", "nobody listens on *:1; listeners are "+at)
}

func TestAPI_MatchNamesWhatIsRejected(t *testing.T) {
	d := newDesk(t, func(c *Config) {
		c.Problems = func() []rules.Problem { return []rules.Problem{{Fatal: true}, {Reason: "a warning"}} }
	})
	status, body := d.ask("GET", "/api/match?url=http://x")
	require.Equal(t, 400, status)
	require.Contains(t, body, "nobody listens on *:80; there is no listener")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	require.NoError(t, l.Close())
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	d.use(rules.Input{Services: []rules.Service{{Name: "blog"}}, Rules: []rules.Rule{{Port: port, Address: at.Addr(), Hostname: "a.net", Service: "blog"}}})
	var got []Match
	d.decode("/api/match?url=http://"+at.String(), &got)
	require.Equal(t, "404 no_rule: no rule matches this request; 1 rejected, see /api/rejected", got[0].outcome())
}

func TestAPI_RulesThatRefuse(t *testing.T) {
	d := newDesk(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	require.NoError(t, l.Close())
	d.use(rules.Input{Rules: []rules.Rule{{Port: port, Address: netip.MustParseAddr("127.0.0.1"), Refuse: "basic auth is not supported"}}})
	var got []ruleView
	d.decode("/api/rules", &got)
	require.Equal(t, "basic auth is not supported", got[0].Refused)
}
