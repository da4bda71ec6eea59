package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"

	"arzur.net/lb/health"
	"arzur.net/lb/proxy/loop"
)

// greet begins the handshake on a connection to a server that has just been made.
// It is part of connecting: nothing of the request is sent before it is done, and
// the time for it is what is left of the connect timeout.
func (u *upstream) greet() {
	p, t, host, at := u.core.proxy, u.x.pool.TLS, u.x.target.Host, identity{u.backend.Transport, u.backend.Addr, u.x.stream}
	u.tls = &secure{owner: u, side: sideServer, who: u.backend.Addr.Addr(), by: u.Deadline()}
	u.begin(func(conn net.Conn) (*tls.Conn, error) {
		config, err := p.identities.find(at, t, host)
		if err != nil {
			return nil, err
		}
		return tls.Client(conn, config), nil
	})
	u.tls.Shake().Step(nil)
}

// shakeHands goes on with the handshake.
func (u *upstream) shakeHands(r loop.Ready) {
	if r&loop.Writable != 0 && !u.out.empty() {
		if err := u.flush(); err != nil && err != loop.ErrAgain {
			u.endShake(shakeClosed, err)
			return
		}
	}
	u.shake()
}

// secured implements shaker.
func (u *upstream) secured() {
	x := u.x
	x.connectDone()
	if u.x == x && x.up == u {
		x.upstreamReadable() // session tickets, or more
	}
}

// unsecured implements shaker. Nothing of the request was sent, so it is as if
// the server had refused the connection.
func (u *upstream) unsecured(r handshakeResult, err error) {
	x := u.x
	if err == nil || err == io.EOF {
		err = errShake[r]
	}
	switch r {
	case shakeTimeout:
		x.attemptFailed(health.Refused, &failures[connectTimeout], "tls handshake")
	case shakePanic:
		x.attemptFailed(health.Unjudged, &failures[internalError], "panic")
	default:
		x.attemptFailed(health.Refused, &failures[tlsFailed], reason("tls", err))
	}
}

// isAlert says whether the other side has ended the connection by an alert of
// TLS. In TLS 1.3 a server that does not like the client's certificate says so
// when the client's part of the handshake is over already (RFC 8446 section 4.4.2.4).
func isAlert(err error) bool {
	var e *net.OpError
	return errors.As(err, &e) && e.Op == "remote error" // crypto/tls's mark of those
}

// errShake words what has no error of its own.
var errShake = [shakeResults]error{shakeClosed: io.ErrUnexpectedEOF}

// identities are the configurations for crypto/tls by which servers are spoken to.
// Each has its server's last session, which the next connection resumes.
type identities struct {
	mu    sync.Mutex
	known map[identity]*tls.Config // guarded by mu
}

// identity is a server and how it is spoken to.
type identity struct {
	transport string // see health.Transport.Key
	addr      netip.AddrPort
	stream    bool // what is spoken inside is not ours to name
}

// maxIdentities bounds the map; when it is full all are made anew.
const maxIdentities = 4096

// find is the configuration for a server written as host. It may read the system's
// CA certificates, so it is called on a worker.
func (s *identities) find(at identity, t *health.TLS, host string) (*tls.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.known[at]; c != nil {
		return c, nil
	}
	c, err := t.Config(host)
	if err != nil {
		return nil, err
	}
	if !at.stream {
		c.NextProtos = []string{"http/1.1"}
	}
	c.DynamicRecordSizingDisabled = true
	c.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	if s.known == nil || len(s.known) >= maxIdentities {
		s.known = map[identity]*tls.Config{}
	}
	s.known[at] = c
	return c, nil
}
