package main

import (
	"syscall"

	"arzur.net/lb/configs"
	"arzur.net/lb/proxy"
	"arzur.net/lb/proxy/http1"
)

// engineOptions are the engine's settings as the configuration has them.
func engineOptions(c *configs.Config, loops int) *proxy.Options {
	d := &c.Defaults
	o := &proxy.Options{
		HeaderTimeout:       d.HeaderTimeout,
		BodyTimeout:         d.BodyTimeout,
		ConnectTimeout:      d.ConnectTimeout,
		ResponseTimeout:     d.ResponseTimeout,
		ResponseBodyTimeout: d.ResponseBodyTimeout,
		WriteTimeout:        d.WriteTimeout,
		KeepAliveTimeout:    d.KeepAliveTimeout,
		UpstreamKeepAlive:   d.UpstreamKeepAlive,
		HandshakeTimeout:    d.HandshakeTimeout,
		UDPTimeout:          d.UDPTimeout,
		TunnelTimeout:       d.TunnelTimeout,
		QueueTimeout:        d.QueueTimeout,
		TotalTimeout:        d.TotalTimeout,
		DrainTimeout:        d.DrainTimeout,

		Limits:         http1.Limits{Head: d.MaxHeaderBytes, Target: d.MaxTargetBytes, Fields: d.MaxHeaderCount},
		MaxBody:        d.MaxBodyBytes,
		MaxConnections: d.MaxConnections,
		MaxIdle:        (d.MaxIdlePerServer + loops - 1) / loops,
		QueueLength:    d.QueueLength,
		Retries:        d.Retries,
		RetryBudget:    d.RetryBudget,

		Trusted:    c.TrustedProxies,
		Forwarded:  d.Forwarded,
		RequestID:  d.RequestID,
		ErrorPages: map[int]proxy.ErrorPage{},
		ClientCert: proxy.ClientCertFields(c.ClientCert),
	}
	if o.MaxConnections == 0 {
		o.MaxConnections = affordable()
	}
	for status, body := range d.ErrorPages {
		o.ErrorPages[status] = proxy.ErrorPage{ContentType: "text/html; charset=utf-8", Body: body}
	}
	return o
}

// affordable is how many clients the descriptor limit allows. A client that
// waits needs one descriptor, one that is served a second for its Backend. Most
// wait, so a fifth of the limit is kept for the second ones, checks and files.
func affordable() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	const most = 1 << 20 // what "unlimited" means here
	return int(min(limit.Cur, most)) / 5 * 4
}
