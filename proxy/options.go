package proxy

import (
	"crypto/tls"
	"net/netip"
	"time"

	"arzur.net/lb/proxy/http1"
)

// Options are the engine's settings, all of them: what an operator leaves out is
// filled in by package configs, the home of the defaults. A Proxy takes new ones
// with each Table; an Exchange keeps those that it started with.
type Options struct {
	HeaderTimeout       time.Duration // a whole request head, from its first byte: 408
	BodyTimeout         time.Duration // silence inside a request body: 408
	ConnectTimeout      time.Duration // one connect to a Backend: 504
	ResponseTimeout     time.Duration // from request sent to response head: 504
	ResponseBodyTimeout time.Duration // silence inside a response body: the response is cut
	WriteTimeout        time.Duration // a peer that does not read what it is sent
	KeepAliveTimeout    time.Duration // an idle client connection
	UpstreamKeepAlive   time.Duration // an idle Backend connection
	HandshakeTimeout    time.Duration // a whole TLS handshake, from the first byte; a ClientHello has 5 s of it at most
	UDPTimeout          time.Duration // silence in both directions of a UDP session
	TunnelTimeout       time.Duration // silence in both directions of a tunnel
	QueueTimeout        time.Duration // waiting for a place on a Backend: 503
	TotalTimeout        time.Duration // the whole Exchange, 0: off
	DrainTimeout        time.Duration // how long tunnels and slow Exchanges may outlive Drain

	Limits         http1.Limits
	MaxBody        int64 // request body bytes: 413, 0: off
	MaxConnections int   // client connections, 0: off
	MaxIdle        int   // idle connections per Backend and Loop
	QueueLength    int   // Exchanges waiting per Pool and Loop
	Retries        int   // further Attempts after one that may have reached a Backend
	RetryBudget    int   // percent of a Pool's requests that may be repeated after something was sent

	Trusted   []netip.Prefix // peers whose forwarding fields are believed
	Forwarded bool           // also send RFC 7239 Forwarded
	RequestID bool           // send and return X-Request-Id

	ErrorPages map[int]ErrorPage // bodies that replace ours, by status

	// TLS is the server's side of TLS by the protocol of the port, rules.HTTPS and
	// rules.TLS. Where it is missing every handshake fails.
	TLS map[string]*tls.Config
	// Challenge answers ACME's http-01 (RFC 8555 section 8.3) for a path below
	// /.well-known/acme-challenge/. It may block, and is never called in a Loop.
	// false: the token is not ours, and the request is routed like any other. nil: none is.
	Challenge func(host, path string) (body []byte, ok bool)
	// ClientCert names the request fields that tell a server of the client's
	// certificate. Such fields of a request are removed, whoever sent them.
	ClientCert ClientCertFields
}

// ClientCertFields are names of request fields; "" leaves one out.
type ClientCertFields struct {
	Subject     string // RFC 2253 distinguished name
	Fingerprint string // SHA-256 of the certificate, hexadecimal
	Cert        string // the certificate itself, PEM, percent-encoded
}

// ErrorPage is a body that stands in for our own of one status.
type ErrorPage struct {
	ContentType string
	Body        []byte
}

func (o *Options) trusts(ip netip.Addr) bool {
	for _, p := range o.Trusted {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}
