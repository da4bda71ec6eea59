package proxy

import (
	"crypto/tls"
	"errors"
	"net"

	"arzur.net/lb/proxy/loop"
)

// handshakeResult is how a TLS handshake ended.
type handshakeResult uint8

const (
	shakeOK        handshakeResult = iota
	shakeResumed                   // a session of before went on
	shakeTimeout                   // not in time
	shakeClosed                    // the peer closed the connection
	shakeAlert                     // the peer refused, with an alert
	shakeRefused                   // we refused: no certificate for the name, nothing in common, a bad certificate
	shakeNotTLS                    // the peer does not speak TLS
	shakeChallenge                 // a CA looked at the certificate that it had asked for
	shakeOverload                  // too many under way
	shakePanic                     // a defect of ours
	shakeResults
)

var shakeWords = [shakeResults]string{"ok", "resumed", "timeout", "closed", "alert", "refused", "not_tls", "challenge", "overload", "panic"}

// String is the result as metrics and logs show it.
func (r handshakeResult) String() string { return shakeWords[r] }

// Whom a handshake was with.
const (
	sideClient = iota
	sideServer
	sides
)

var sideWords = [sides]string{"client", "server"}

// shakeCounts count handshakes by side and result.
type shakeCounts [sides][shakeResults]counter

func (c *shakeCounts) add(o *shakeCounts) {
	for side := range c {
		for r := range c[side] {
			c[side][r] += o[side][r]
		}
	}
}

// result is that of a handshake that ended well.
func (s *secure) result() handshakeResult {
	if s.resumed {
		return shakeResumed
	}
	return shakeOK
}

// errNoConfig is why a handshake on a port without certificates fails.
var errNoConfig = errors.New("no TLS configuration for this port")

// resultOf is the kind of a handshake's error.
func resultOf(err error) handshakeResult {
	var remote *net.OpError
	var panicked *loop.Panic
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &panicked):
		return shakePanic
	case errors.As(err, &remote) && remote.Op == "remote error":
		return shakeAlert
	case errors.As(err, &header):
		return shakeNotTLS
	}
	return shakeRefused
}
