package rules

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNormalizeHost(t *testing.T) {
	buf := make([]byte, 0, 64)
	f := func(host, want string) {
		t.Helper()
		require.Equal(t, want, string(NormalizeHost(buf, []byte(host))))
	}
	f("", "")
	f("arzur.net", "arzur.net")
	f("Arzur.NET:8080", "arzur.net")
	f("arzur.net.", "arzur.net")
	f("arzur.net.:80", "arzur.net")
	f("arzur.net:", "arzur.net")
	f("arzur.net..", "arzur.net.")
	f("127.0.0.1:80", "127.0.0.1")
	f("[::1]", "::1")
	f("[2001:DB8::1]:443", "2001:db8::1")
	f("2001:db8::1", "2001:db8::1")
	f("[::1", "[::1") // no address, and the name of no host
	f("B\xc3\x9c.de", "b\xc3\x9c.de")

	require.Zero(t, testing.AllocsPerRun(100, func() { NormalizeHost(buf, []byte("Arzur.net:8080")) }))
}

func TestParseHost(t *testing.T) {
	f := func(s string, kind hostKind, text string) {
		t.Helper()
		h, err := parseHost(s)
		require.NoError(t, err)
		require.Equal(t, host{kind, text}, h)
	}
	f("", hostAny, "")
	f("*", hostAny, "")
	f("Arzur.net", hostExact, "arzur.net")
	f("arzur.net.", hostExact, "arzur.net")
	f("my_app", hostExact, "my_app")
	f("*.Foo.com", hostSuffix, ".foo.com")
	f("*.foo.com.", hostSuffix, ".foo.com")
	f("*foo", hostSuffix, "foo")
	f("foo.*", hostPrefix, "foo.")
	f("foo*", hostPrefix, "foo")
	f("bücher.de", hostExact, "xn--bcher-kva.de")
	f("BÜCHER.de", hostExact, "xn--bcher-kva.de")
	f("*.bücher.de", hostSuffix, ".xn--bcher-kva.de")
	f("bücher.*", hostPrefix, "xn--bcher-kva.")
	f("127.0.0.1", hostExact, "127.0.0.1")
	f("[2001:DB8::0:1]", hostExact, "2001:db8::1")
	f("2001:db8::1", hostExact, "2001:db8::1")
}

func TestParseHost_Bad(t *testing.T) {
	f := func(s, want string) {
		t.Helper()
		_, err := parseHost(s)
		require.ErrorContains(t, err, "bad hostname ")
		require.ErrorContains(t, err, want)
	}
	f("foo..com", "nothing between two dots")
	f(".foo.com", "nothing between two dots, or before the first")
	f("*..foo", "nothing between two dots")
	f("*.", "a star may stand only first")
	f("a.*.com", "a star may stand only first (*.foo.com) or last (foo.*)")
	f("*.foo.*", "a star may stand only first")
	f("foo.com:8080", `it has a port; want "foo.com"`)
	f("http://foo.com", "more than a host")
	f("foo.com/bar", "more than a host")
	f("foo bar", "a space may not stand in a hostname")
	f("foo,bar", `',' may not stand in a hostname`)
	f("*bücher.de", "a star next to an internationalised label")
	f("bücher*", "a star next to an internationalised label")
	f("\u200d.de", "idna: ")
	f(strings.Repeat("a", 64)+".com", "at most 63")
	f(strings.Repeat("a.", 127)+"aa", "at most 253")
}

func TestHost_Covers(t *testing.T) {
	f := func(h, o string, want bool) {
		t.Helper()
		x, err := parseHost(h)
		require.NoError(t, err)
		y, err := parseHost(o)
		require.NoError(t, err)
		require.Equal(t, want, x.covers(y))
	}
	f("", "foo.com", true)
	f("foo.com", "", false)
	f("*", "*.foo.com", true)
	f("foo.com", "foo.com", true)
	f("*.foo.com", "a.foo.com", true)
	f("*.foo.com", "foo.com", false)
	f("*.foo.com", "*.a.foo.com", true)
	f("*.a.foo.com", "*.foo.com", false)
	f("foo.*", "foo.com", true)
	f("foo.*", "foo.bar.*", true)
	f("foo*", "foo", true)
	f("*.com", "foo.*", false)
	f("*.com", "", false)
}
