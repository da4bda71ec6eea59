package main

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUntrusted_ProxyHeadersFromNobody(t *testing.T) {
	port := freePort(t)
	text := fmt.Sprintf("port_rules: [{source_port: %d, address: 127.0.0.1, protocol: tcp, proxy_protocol: in, service: a}]\n"+
		"services: {a: {servers: [\"127.0.0.1:%d\"]}}\n", port, freePort(t))
	file := write(t, "rules.yml", text)
	r := lb(t, "check", "-config", file)
	require.Zero(t, r.code)
	require.Contains(t, r.stderr, fmt.Sprintf("%s:1: rule %q: proxy_protocol: nobody is trusted to send it", file, fmt.Sprintf("127.0.0.1:%d *", port)))

	write(t, file, text+"trusted_proxies: [10.0.0.0/8]\n")
	trusting := lb(t, "check", "-config", file)
	require.Zero(t, trusting.code)
	require.Empty(t, trusting.stderr)

	p := start(t, "-config", file, "-admin", "off")
	write(t, file, text)
	p.signal(syscall.SIGHUP)
	p.await("taken with a warning", "nobody is trusted to send it")
}
