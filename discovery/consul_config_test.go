package discovery

import (
	"fmt"
	"testing"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"
)

func TestParseWish(t *testing.T) {
	f := func(text string, want consulQuery) {
		t.Helper()
		got, err := parseWish(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	f("blog", consulQuery{name: "blog"})
	f("blog@dc2", consulQuery{name: "blog", dc: "dc2"})
	f("blog?tag=v2", consulQuery{name: "blog", tags: "v2"})
	f("blog@dc2?tag=b&ns=n&tag=a&partition=p&tag=a", consulQuery{name: "blog", dc: "dc2", namespace: "n", partition: "p", tags: "a&tag=b"})
	g := func(text, want string) {
		t.Helper()
		_, err := parseWish(text)
		require.ErrorContains(t, err, want)
	}
	g("", "want consul:NAME")
	g("@dc2", "want consul:NAME")
	g("blog?tga=v2", `unknown "tga"; want tag, ns or partition; did you mean "tag"?`)
	g("blog?%zz", "behind the question mark")
}

func TestConsulConfig_Addresses(t *testing.T) {
	f := func(edit func(c *ConsulConfig, e *api.ServiceEntry), want string) {
		t.Helper()
		c, e := DefaultConsul, consulEntry("blog", 1)
		edit(&c, e)
		i := c.instances([]*api.ServiceEntry{e})[0].instance()
		require.Equal(t, want, fmt.Sprint(i.Host, " ", i.Addr, " ", i.Port))
	}
	f(func(c *ConsulConfig, e *api.ServiceEntry) {}, "10.0.0.1 10.0.0.1 8080")
	f(func(c *ConsulConfig, e *api.ServiceEntry) { e.Service.Address = "" }, "10.9.9.9 10.9.9.9 8080")
	f(func(c *ConsulConfig, e *api.ServiceEntry) { e.Service.Address = "2001:db8::1" }, "2001:db8::1 2001:db8::1 8080")
	f(func(c *ConsulConfig, e *api.ServiceEntry) { e.Service.Address = "blog.local" }, "blog.local invalid IP 8080")
	wan := func(c *ConsulConfig, e *api.ServiceEntry) {
		c.TaggedAddress = "wan"
		e.Node.TaggedAddresses = map[string]string{"wan": "192.0.2.9"}
	}
	f(wan, "10.0.0.1 10.0.0.1 8080")
	f(func(c *ConsulConfig, e *api.ServiceEntry) { wan(c, e); e.Service.Address = "" }, "192.0.2.9 192.0.2.9 8080")
	f(func(c *ConsulConfig, e *api.ServiceEntry) {
		wan(c, e)
		e.Service.TaggedAddresses = map[string]api.ServiceAddress{"wan": {Address: "192.0.2.1", Port: 80}}
	}, "192.0.2.1 192.0.2.1 80")
}

func TestConsulConfig_Weights(t *testing.T) {
	f := func(want string, weights ...int) {
		t.Helper()
		var entries []*api.ServiceEntry
		for n, w := range weights {
			e := consulEntry("blog", n+1)
			e.Service.Weights.Passing = w
			entries = append(entries, e)
		}
		var got []int
		for _, i := range DefaultConsul.instances(entries) {
			got = append(got, i.weight)
		}
		require.Equal(t, want, fmt.Sprint(got))
	}
	f("[1 2]", 1, 2)
	f("[256 1]", 256, 1)
	f("[256 128 1 0]", 1000, 500, 1, 0)
	f("[256 1]", 65535, 1)
}

func TestConsulConfig_Validate(t *testing.T) {
	f := func(want string, edit func(c *ConsulConfig)) {
		t.Helper()
		c := DefaultConsul
		edit(&c)
		err := c.Validate()
		if want == "" {
			require.NoError(t, err)
			return
		}
		require.ErrorContains(t, err, want)
	}
	address := func(want string, list ...string) {
		t.Helper()
		for _, a := range list {
			f(want, func(c *ConsulConfig) { c.Address = a })
		}
	}
	address("", "", "127.0.0.1:8500", ":8500", "[::1]:8500", "consul.example:1", "unix:///run/consul.sock", "127.0.0.1:8500/consul",
		"http://consul.example", "https://[::1]", "https://consul.example:8501/prefix")
	address("want host:port", "127.0.0.1", "consul.example", "::1:8500")
	address("want a port from 1 to 65535", "a:0", "a:99999", "http://a:x", "a:/b")
	address("is neither a name nor an IP address", "a b:8500", "http://", "https://a_b!", "1.2.3:8500")
	address("Unknown protocol scheme", "ftp://a")
	address("path of a socket", "unix://")
	for prefix, want := range map[string]string{
		"": "", "lb": "", "my-lb": "", "lb.": `want "lb"`, "my lb": "without spaces", "traefik": "another dialect's", "urlprefix-": "another dialect's",
	} {
		f(want, func(c *ConsulConfig) { c.TagPrefix = prefix })
	}
}
