package health

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCheck_Key(t *testing.T) {
	same := func(a, b *Check) {
		t.Helper()
		require.Equal(t, a.Key(), b.Key())
	}
	differ := func(a, b *Check) {
		t.Helper()
		require.NotEqual(t, a.Key(), b.Key())
	}
	require.Empty(t, (*Check)(nil).Key())
	require.NotEqual(t, (&Check{}).Key(), (&Check{Scheme: "http"}).Key())
	require.Equal(t, "tcp port=0 every=2s timeout=2s up=2 down=3", (&Check{}).Key())
	same(&Check{}, &DefaultCheck)
	same(&Check{RequestLine: " GET / "}, &Check{RequestLine: "GET /", ExpectStatus: "200-399"})
	same(&Check{}, &Check{Strategy: "none", Initializing: time.Second, Reinitializing: time.Second})
	same(&Check{}, &Check{Hostname: "unused.by.tcp"})
	differ(&Check{}, nil)
	differ(&Check{}, &Check{Port: 81})
	differ(&Check{}, &Check{Interval: time.Second})
	differ(&Check{}, &Check{ResponseTimeout: time.Second})
	differ(&Check{}, &Check{HealthyThreshold: 1})
	differ(&Check{}, &Check{UnhealthyThreshold: 1})
	differ(&Check{}, &Check{InitialDown: true})
	differ(&Check{}, &Check{RequestLine: "GET /"})
	differ(&Check{RequestLine: "GET /"}, &Check{RequestLine: "GET /x"})
	differ(&Check{RequestLine: "GET /"}, &Check{RequestLine: "GET /", Hostname: "a"})
	differ(&Check{RequestLine: "GET /"}, &Check{RequestLine: "GET /", ExpectStatus: "200"})
	differ(&Check{RequestLine: "GET /", Hostname: `a" expect=1`}, &Check{RequestLine: "GET /", Hostname: "a", ExpectStatus: "1"})
}

func TestCheck_Validate(t *testing.T) {
	good := func(c *Check) {
		t.Helper()
		require.NoError(t, c.Validate())
	}
	bad := func(c *Check, want string) {
		t.Helper()
		require.EqualError(t, c.Validate(), want)
	}
	good(nil)
	good(&Check{})
	good(&DefaultCheck)
	good(&Check{RequestLine: "GET / HTTP/1.0", ExpectStatus: "200, 204,300-399", Hostname: "arzur.net:80"})
	good(&Check{RequestLine: "  "})

	bad(&Check{RequestLine: "GET blog"}, `request_line "GET blog": path "blog": want one that begins with "/"`)
	bad(&Check{ExpectStatus: "2xx"}, `expect_status "2xx": "2xx" is no status; want codes from 100 to 599 like 200,204,300-399`)
	bad(&Check{ExpectStatus: "200-"}, `expect_status "200-": "" is no status; want codes from 100 to 599 like 200,204,300-399`)
	bad(&Check{ExpectStatus: "+20"}, `expect_status "+20": "+20" is no status; want codes from 100 to 599 like 200,204,300-399`)
	bad(&Check{ExpectStatus: "399-200"}, `expect_status "399-200": range "399-200" runs backwards`)
	bad(&Check{Hostname: "a\r\nX: b"}, `hostname "a\r\nX: b": want a host name, with a port if need be`)
	bad(&Check{Hostname: "http://a"}, `hostname "http://a": want a host name, with a port if need be`)
	bad(&Check{Interval: time.Millisecond}, "interval 1ms: want at least 10ms")
	bad(&Check{ResponseTimeout: -1}, "response_timeout -1ns: want a positive duration")
	bad(&Check{Initializing: -1}, "initializing_timeout -1ns: want a positive duration")
	bad(&Check{Reinitializing: -1}, "reinitializing_timeout -1ns: want a positive duration")
	bad(&Check{HealthyThreshold: -1}, "healthy_threshold -1: want at least 1")
	bad(&Check{UnhealthyThreshold: -1}, "unhealthy_threshold -1: want at least 1")
	bad(&Check{Scheme: "tls"}, `scheme "tls": want http or https`)
	bad(&Check{Strategy: "restart"}, `strategy "restart": want none, recreate or recreateOnQuorum`)
	bad(&Check{HealthyThreshold: -1, Interval: -1}, "interval -1ns: want at least 10ms\nhealthy_threshold -1: want at least 1")
}

func TestStatuses(t *testing.T) {
	set, err := parseStatuses("200,204, 300-399")
	require.NoError(t, err)
	f := func(code int, want bool) {
		t.Helper()
		require.Equal(t, want, set.has(code))
	}
	f(200, true)
	f(201, false)
	f(204, true)
	f(299, false)
	f(300, true)
	f(399, true)
	f(400, false)
}
