package labels

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// tagged is what fabio's tags ask for.
func tagged(tags ...string) Wants {
	m := make(map[string]string)
	for _, tag := range tags {
		m[tag] = ""
	}
	return Decode(&Subject{Name: "blog", Service: "blog", Group: "blog", Origin: "service blog", Labels: m}, nil)
}

func TestFabio_Tags(t *testing.T) {
	f := func(tag string, want rules.Rule) {
		t.Helper()
		w := tagged(tag)
		require.Empty(t, w.Problems)
		want.Origin = "service blog: tag " + tag
		if want.Port == 0 {
			want.Port = 80
		}
		if want.Service == "" && want.Redirect == nil {
			want.Service = "blog"
		}
		require.Equal(t, []rules.Rule{want}, w.Rules)
		if want.Redirect != nil {
			require.Empty(t, w.Groups)
			return
		}
		require.Equal(t, []Group{{Service: rules.Service{Name: want.Service, Origin: "service blog"}, Scheme: "http"}}, w.Groups)
	}
	f("urlprefix-/", rules.Rule{})
	f("urlprefix-/blog", rules.Rule{Path: "/blog", PathMatch: rules.PathStarts})
	f("urlprefix-Arzur.net/Blog/", rules.Rule{Hostname: "arzur.net", Path: "/Blog/", PathMatch: rules.PathStarts})
	f("urlprefix-arzur.net/", rules.Rule{Hostname: "arzur.net"})
	f("urlprefix-*.arzur.net/a", rules.Rule{Hostname: "*.arzur.net", Path: "/a", PathMatch: rules.PathStarts})
	f("urlprefix-arzur.*/", rules.Rule{Hostname: "arzur.*"})
	f("urlprefix-*/a", rules.Rule{Hostname: "*", Path: "/a", PathMatch: rules.PathStarts})
	f("urlprefix-a?.*.net/", rules.Rule{Expr: "HostRegexp(`^a.\\..*\\.net$`)"})
	f("urlprefix-*.a.*/b", rules.Rule{Expr: "HostRegexp(`^.*\\.a\\..*$`) && PathPrefix(`/b`)"})
	f("urlprefix-arzur.net:8080/", rules.Rule{Hostname: "arzur.net", Port: 8080})
	f("urlprefix-arzur.net:80/", rules.Rule{Hostname: "arzur.net"})
	f("urlprefix-arzur.net:443/", rules.Rule{Hostname: "arzur.net", Port: 443, Protocol: rules.HTTPS})
	f("urlprefix-arzur.net", rules.Rule{Hostname: "arzur.net"})
	f("urlprefix-arzur.net:8080", rules.Rule{Hostname: "arzur.net", Port: 8080})
	f("urlprefix-[::1]:8080/", rules.Rule{Hostname: "[::1]", Port: 8080})
	f("urlprefix-{a,b?}.[x-z][!0-9].net/c", rules.Rule{Expr: "HostRegexp(`^(?:a|b.)\\.[x-z][^0-9]\\.net$`) && PathPrefix(`/c`)"})
	f("urlprefix- /blog\tprepend=v1", rules.Rule{Path: "/blog", PathMatch: rules.PathStarts, Rewrites: []rules.Rewrite{{Kind: rules.AddPrefix, Replacement: "/v1"}}})
	f("urlprefix-/ strip= prepend= host=", rules.Rule{})
	f("urlprefix-/ proto=http  tlsskipverify=true pxyproto=true", rules.Rule{})
	f("urlprefix-/ proto=ws", rules.Rule{})
	f("urlprefix-/ host=dst", rules.Rule{ServerHost: true})
	f("urlprefix-/ host=blog.local", rules.Rule{RequestHeaders: rules.HeaderEdit{Set: []rules.HeaderField{{Name: "Host", Value: "blog.local"}}}})
	f("urlprefix-/blog prepend=/v1 strip=/blog", rules.Rule{Path: "/blog", PathMatch: rules.PathStarts, Rewrites: []rules.Rewrite{
		{Kind: rules.StripPrefixes, Prefixes: []string{"/blog"}}, {Kind: rules.AddPrefix, Replacement: "/v1"},
	}})
	f("urlprefix-/ weight=-1", rules.Rule{})
	f("urlprefix-/ weight=0", rules.Rule{})
	f("urlprefix-arzur.net/ redirect=301,https://arzur.net$path", rules.Rule{Hostname: "arzur.net", Redirect: &rules.Redirect{
		Code: 301, Pattern: `^[^/]*//([^/?]*)/?([^?]*)(\?.*)?$`, Replacement: "https://arzur.net/${2}${3}",
	}})
}

func TestFabio_SeveralTags(t *testing.T) {
	w := tagged("urlprefix-/a", "urlprefix-/b weight=0.5", "urlprefix-/c", "other", "urlprefix-/d redirect=302,http://d.net/")
	require.Empty(t, w.Problems)
	require.Len(t, w.Rules, 4)
	require.Len(t, w.Groups, 2)
	require.Equal(t, "blog", w.Groups[0].Service.Name)
	require.Equal(t, "blog weight=0.5", w.Groups[1].Service.Name)
}

func TestFabio_TagsThatWereSplitLikeLabels(t *testing.T) {
	w := Decode(blog(map[string]string{"urlprefix-/blog strip": "/blog host=dst"}), nil)
	require.Empty(t, w.Problems)
	require.Equal(t, "/blog", w.Rules[0].Path)
	require.Equal(t, []rules.Rewrite{{Kind: rules.StripPrefixes, Prefixes: []string{"/blog"}}}, w.Rules[0].Rewrites)
	require.True(t, w.Rules[0].ServerHost)
}

func TestFabio_StandsBesideOtherDialects(t *testing.T) {
	w := Decode(blog(map[string]string{"urlprefix-/blog": "", "lb.hostname": "arzur.net", "traefik.http.routers.a.rule": "Host(`b`)"}), nil)
	require.Empty(t, w.Problems)
	require.Len(t, w.Rules, 3)
	require.Len(t, w.Groups, 2)
	w = Decode(blog(map[string]string{"urlprefix-/blog": "", "lb.weight": "3"}), nil)
	require.Len(t, w.Rules, 1, "no default rule beside it")
}

func TestFabio_OtherProtocols(t *testing.T) {
	f := func(tag string, want rules.Rule, group Group) {
		t.Helper()
		w := tagged(tag)
		require.Empty(t, w.Problems)
		want.Origin, want.Service = "service blog: tag "+tag, group.Service.Name
		require.Equal(t, []rules.Rule{want}, w.Rules)
		group.Service.Origin = "service blog"
		require.Equal(t, []Group{group}, w.Groups)
	}
	over := func(name string, secure *health.TLS) Group {
		return Group{Service: rules.Service{Name: name, TLS: secure}, Scheme: "https"}
	}
	plain := Group{Service: rules.Service{Name: "blog"}, Scheme: "http"}
	f("urlprefix-/ proto=https", rules.Rule{Port: 80}, over("blog proto=https", &health.TLS{}))
	f("urlprefix-/ proto=https tlsskipverify=true", rules.Rule{Port: 80}, over("blog proto=https tlsskipverify", &health.TLS{Insecure: true}))
	f("urlprefix-/ proto=https host=b.net:8443", rules.Rule{Port: 80, RequestHeaders: rules.HeaderEdit{Set: []rules.HeaderField{{Name: "Host", Value: "b.net:8443"}}}},
		over("blog proto=https host=b.net", &health.TLS{ServerName: "b.net"}))
	f("urlprefix-/ host=dst proto=https", rules.Rule{Port: 80, ServerHost: true}, over("blog proto=https", &health.TLS{}))
	f("urlprefix-:3306 proto=tcp", rules.Rule{Port: 3306, Protocol: rules.TCP}, plain)
	f("urlprefix-:3306", rules.Rule{Port: 3306, Protocol: rules.TCP}, plain)
	f("urlprefix-a.net/ proto=tcp", rules.Rule{Port: 443, Protocol: rules.SNI, Hostname: "a.net"}, plain)
	f("urlprefix-a.net:443/ proto=tcp+sni", rules.Rule{Port: 443, Protocol: rules.SNI, Hostname: "a.net"}, plain)
	f("urlprefix-/ weight=0.25", rules.Rule{Port: 80, Share: 0.25}, Group{Service: rules.Service{Name: "blog weight=0.25"}, Scheme: "http", Weight: new(1)})
	f("urlprefix-127.0.0.1:3306 proto=tcp-dynamic", rules.Rule{Port: 3306, Address: netip.MustParseAddr("127.0.0.1"), Protocol: rules.TCP}, plain)
	f("urlprefix-:3306 proto=tcp pxyproto=true", rules.Rule{Port: 3306, Protocol: rules.TCP},
		Group{Service: rules.Service{Name: "blog pxyproto", ProxyProtocol: rules.ProxyV1}, Scheme: "http"})
	f("urlprefix-a.net proto=tcp+sni", rules.Rule{Port: 443, Protocol: rules.SNI, Hostname: "a.net"}, plain)
	f("urlprefix-*.a.net:8443/ proto=tcp+sni", rules.Rule{Port: 8443, Protocol: rules.SNI, Hostname: "*.a.net"}, plain)
}

func TestFabio_Problems(t *testing.T) {
	f := func(tag string, servingRules int, problem string) {
		t.Helper()
		w := tagged(tag)
		require.Len(t, w.Rules, servingRules)
		require.Len(t, w.Problems, 1)
		require.Equal(t, "service blog: tag "+tag, w.Problems[0].Origin)
		require.Equal(t, problem, w.Problems[0].Reason)
		require.Equal(t, servingRules == 0, w.Problems[0].Fatal)
		require.Equal(t, servingRules, len(w.Groups))
	}
	f("urlprefix-:3306 proto=http", 0, `":3306" is a port; want host/path, or proto=tcp behind it`)
	f("urlprefix-a.net:80 proto=tcp", 0, `"a.net:80": with proto=tcp want :port, address:port or host/`)
	f("urlprefix-:99999", 0, `":99999": with proto=tcp want :port, address:port or host/`)
	f("urlprefix-a.net/b proto=tcp+sni", 0, `"a.net/b": want a host alone, which is what TLS that is passed on is told apart by`)
	f("urlprefix-/ proto=tcp", 0, `"/": want a host alone, which is what TLS that is passed on is told apart by`)
	f("urlprefix-", 0, `there is neither host nor path; want "urlprefix-/" for all requests`)
	f("urlprefix-strip=/blog", 0, `"strip=/blog" is neither host nor path; want "host/path" in front of the options`)
	f("urlprefix-{a,b.net/", 0, `host "{a,b.net": its braces are not in pairs`)
	f("urlprefix-a}{b.net/", 0, `host "a}{b.net": its braces are not in pairs`)
	f("urlprefix-[ab.net/", 0, `host "[ab.net": the bracket at "[ab.net" is not closed`)
	f("urlprefix-arzur.net:x/", 0, `want a port from 1 to 65535, got "x"`)
	f("urlprefix-/ proto=grpc", 0, `proto=grpc is not supported yet; want http, https, tcp or tcp+sni`)
	f("urlprefix-/ proto=htp", 0, `proto=htp is no protocol; want http, https, tcp or tcp+sni`)
	f("urlprefix-/ strip=blog", 1, `strip: no path begins with "blog", so that nothing is taken off; want "/blog"`)
	f("urlprefix-/ host=a/b", 0, `host: "a/b" is no host; want a name such as blog.local, or dst`)
	f("urlprefix-/ redirect=301", 0, `redirect: want <code>,<url> such as 301,https://arzur.net$path, got "301"`)
	f("urlprefix-/ redirect=200,http://a/", 0, `redirect: "200" is no redirect; want 301, 302, 303, 307 or 308`)
	f("urlprefix-/ redirect=301,/x", 0, `redirect: want a URL that begins with http:// or https://, with $path in its path, got "/x"`)
	f("urlprefix-/ redirect=301,javascript:x", 0, `redirect: want a URL that begins with http:// or https://, with $path in its path, got "javascript:x"`)
	f("urlprefix-/ redirect=301,http://a/?x=$path", 0, `redirect: want a URL that begins with http:// or https://, with $path in its path, got "http://a/?x=$path"`)
	f("urlprefix-/ weight=much", 1, `weight: want a part from 0 to 1, got "much"; its share is an even one`)
	f("urlprefix-/ weight=NaN", 1, `weight: want a part from 0 to 1, got "NaN"; its share is an even one`)
	f("urlprefix-/ weight=1e9", 1, `weight: want a part from 0 to 1, got "1e9"; its share is an even one`)
	f("urlprefix-/ register=other", 1, "register: not supported, without effect")
	f("urlprefix-/ wieght=0.1", 1, `unknown option "wieght"; did you mean "weight"?`)
}

func TestFabio_ProtectionThatCannotBeGivenRefuses(t *testing.T) {
	f := func(options, reason string) {
		t.Helper()
		w := tagged("urlprefix-/ " + options)
		require.Len(t, w.Rules, 1)
		require.Len(t, w.Problems, 1)
		require.True(t, w.Problems[0].Fatal)
		require.Equal(t, reason+"; the rule answers 503 rather than without it", w.Rules[0].Refuse)
	}
	f("allow=ip:10.0.0.0/8,ip:fe80::/10", "allow: access by address is not supported yet")
	f("deny=ip:10.0.0.0/8", "deny: access by address is not supported yet")
	f("auth=basic", "auth: authorization is not supported yet")
	f("Allow=ip:10.0.0.0/8", `unknown option "Allow"; did you mean "allow"?`)
	f("dney=ip:10.0.0.0/8 auth=x", `unknown option "dney"; did you mean "deny"?`)
}

func TestFabio_Redirects(t *testing.T) {
	f := func(options, url, want string) {
		t.Helper()
		w := tagged("urlprefix-/ " + options)
		require.Empty(t, w.Problems)
		table, problems := rules.Compile(rules.Input{Rules: w.Rules}, rules.NoBackends{})
		require.Empty(t, problems)
		require.Equal(t, want, string(table.Entries()[0].RedirectURL([]byte(url))))
	}
	f("redirect=301,https://www.a.net$path", "http://a.net/b/c?d=e", "https://www.a.net/b/c?d=e")
	f("redirect=301,https://www.a.net/$path", "http://a.net:8080/", "https://www.a.net/")
	f("redirect=301,https://www.a.net/x$path/y", "http://a.net/b", "https://www.a.net/x/b/y")
	f("redirect=301,https://www.a.net$path?f=g", "http://a.net/b?d=e", "https://www.a.net/b?f=g")
	f("redirect=301,https://www.a.net/$1/", "http://a.net/b?d=e", "https://www.a.net/$1/")
	f("redirect=301,https://$host$path", "http://a.net:8080/b?d=e", "https://a.net:8080/b?d=e")
	f("redirect=301,https://www.$host/x", "http://a.net/b?d=e", "https://www.a.net/x")
	f("redirect=301,https://a.net/$host$path", "http://b.net/c", "https://a.net/$host/c")
	f("redirect=301,https://www.a.net$path strip=/b prepend=/d/", "http://a.net/b/c?e", "https://www.a.net/d/c?e")
	f("redirect=301,https://www.a.net$path strip=/b", "http://a.net/b/c", "https://www.a.net/c")
	f("redirect=301,https://www.a.net$path strip=/b", "http://a.net/c", "https://www.a.net/c")
}

func TestFabio_ListensWhereTheEntryPointsAre(t *testing.T) {
	f := func(tag string, port uint16, protocol string, points map[string]uint16) {
		t.Helper()
		s := &Subject{Name: "blog", Group: "blog", Labels: map[string]string{tag: ""}}
		w := Decode(s, &Options{ExposedByDefault: true, EntryPoints: points})
		require.Empty(t, w.Problems)
		require.Equal(t, port, w.Rules[0].Port)
		require.Equal(t, protocol, w.Rules[0].Protocol)
	}
	high := map[string]uint16{"web": 8000, "websecure": 8443}
	f("urlprefix-a.net/", 8000, "", high)
	f("urlprefix-a.net:80/", 8000, "", high)
	f("urlprefix-a.net:443/", 8443, rules.HTTPS, high)
	f("urlprefix-a.net:8443/", 8443, rules.HTTPS, high)
	f("urlprefix-a.net:8080/", 8080, "", high)
	f("urlprefix-a.net/ proto=tcp", 8443, rules.SNI, high)
	f("urlprefix-a.net/", 443, rules.HTTPS, map[string]uint16{"web": 443, "websecure": 443})
}

// TestFabio_Shares: fabio's arithmetic, server by server.
func TestFabio_Shares(t *testing.T) {
	f := func(want string, tags ...string) {
		t.Helper()
		var in rules.Input
		for i, tag := range tags {
			w := tagged("urlprefix-/ " + tag)
			s := w.Groups[0].Service
			s.Name += fmt.Sprint(" of ", i)
			s.Instances = []rules.Instance{{Host: "10.0.0.1", Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})}}
			w.Rules[0].Service = s.Name
			in.Rules, in.Services = append(in.Rules, w.Rules[0]), append(in.Services, s)
		}
		table, problems := rules.Compile(in, rules.NoBackends{})
		require.Empty(t, problems)
		var weights []string
		for _, target := range table.Entries()[0].Pool.Targets {
			weights = append(weights, fmt.Sprint(target.Weight))
		}
		require.Equal(t, want, strings.Join(weights, " "))
	}
	f("1 1 1", "", "", "")
	f("1 9", "weight=0.1", "")
	f("2 9 9", "weight=0.1", "", "")
	f("1 3", "weight=0.1", "weight=0.3")
	f("2 1", "weight=1", "weight=0.5")
	f("1 0", "weight=1", "")
	f("1 3 0", "weight=25", "weight=75", "")
	f("1 1 0", "weight=0.6", "weight=0.6", "")
	f("1 10000", "weight=0.0000001", "")
}

func FuzzDecodeFabio(f *testing.F) {
	for _, tag := range []string{
		"arzur.net/blog strip=/blog", ":3306 proto=tcp", "*.a?/ weight=.1", "/ redirect=301,http://a$path strip=/b", "a:80/ host=dst",
		"/ allow=ip:1.2.3.4 prepend=/x", "[::1]:8/", "/../x", "/ redirect=302,http://a/$path?$path",
	} {
		f.Add(tag, "")
	}
	f.Fuzz(func(t *testing.T, tag, value string) {
		s := &Subject{Name: "blog", Service: "blog", Group: "blog", Origin: "service blog", Labels: map[string]string{fabioPrefix + tag: value}}
		checkWants(t, s, decodeFabio)
	})
}
