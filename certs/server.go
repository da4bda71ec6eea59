package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// acmeTLS is the protocol that an ACME server asks for to see whether we hold a
// name: tls-alpn-01 (RFC 8737).
const acmeTLS = "acme-tls/1"

// Server makes the server's side of TLS. Session tickets that clients got under
// one tls.Config of it go on working under the next one: their keys are its
// own, new every day and forgotten after seven.
type Server struct {
	store   *Store
	tickets ticketKeys
}

// NewServer makes a Server of the certificates in store.
func NewServer(store *Store) *Server {
	return &Server{store: store, tickets: ticketKeys{now: time.Now}}
}

// Config makes the tls.Config of clients that are to speak one of protos, as
// ALPN names them; without any, a client may ask for what it likes. It is not
// to be changed, since handshakes use it. GetConfigForClient and GetCertificate
// need no more of a ClientHello than its server name, or without one our address.
func (s *Server) Config(settings *Settings, protos ...string) (*tls.Config, error) {
	c := &tls.Config{
		MinVersion:   max(settings.MinVersion, tls.VersionTLS12),
		MaxVersion:   settings.MaxVersion,
		CipherSuites: settings.suites(),
		NextProtos:   protos,
		// nil and no error, for a name that we do not have, makes crypto/tls answer
		// unrecognized_name (RFC 6066 section 3).
		GetCertificate: s.store.GetCertificate,
		// Whole records: a Loop writes what a peer takes, and not byte by byte.
		DynamicRecordSizingDisabled: true,
	}
	if c.MaxVersion != 0 && c.MaxVersion < c.MinVersion {
		return nil, errors.New("tls: max_version is below min_version")
	}
	if settings.Ciphers != nil && c.MinVersion > tls.VersionTLS12 {
		return nil, errors.New("tls: ciphers are those of TLS 1.2, which min_version leaves out; leave one of the two out")
	}
	s.bind(c, "")
	p := policy{store: s.store, version: c.MinVersion}
	if a := settings.ClientAuth; a != nil {
		strict, err := s.withClientAuth(c, a)
		if err != nil {
			return nil, err
		}
		if p.strict, p.hostnames = strict, a.Hostnames; len(a.Hostnames) == 0 {
			c = strict
		}
	}
	p.config, c.GetConfigForClient = c, p.choose
	return c, nil
}

func (s *Settings) suites() []uint16 {
	if s.Ciphers != nil {
		return slices.Clone(s.Ciphers)
	}
	var ids []uint16
	for _, c := range suites {
		if !c.old {
			ids = append(ids, c.id)
		}
	}
	return ids
}

// policy chooses the tls.Config of a handshake.
type policy struct {
	store     *Store
	version   uint16      // the lowest
	config    *tls.Config // the usual one
	strict    *tls.Config // asks for client certificates
	hostnames []string    // for which strict is
}

// choose implements tls.Config.GetConfigForClient.
func (p *policy) choose(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if slices.Equal(hello.SupportedProtos, []string{acmeTLS}) {
		if c := p.challenge(hello); c != nil {
			return c, nil
		}
	}
	c, name := p.config, asked(hello)
	if slices.ContainsFunc(p.hostnames, func(h string) bool { return matches(h, name) }) {
		c = p.strict
	}
	if name != hello.ServerName {
		c = reachedAt(name, c)
	}
	return c, nil
}

// reachedAt is c for a client that names no server: its tickets are bound to our
// address instead, which a tls.ConnectionState does not tell.
func reachedAt(address string, c *tls.Config) *tls.Config {
	bound := c.Clone()
	bound.WrapSession = func(cs tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
		cs.ServerName = address
		return c.WrapSession(cs, state)
	}
	bound.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		cs.ServerName = address
		return c.UnwrapSession(ticket, cs)
	}
	return bound
}

// challenge is for an ACME server that looks for a name's tls-alpn-01, nil if
// there is none of that name. Nobody else asks for that protocol alone.
func (p *policy) challenge(hello *tls.ClientHelloInfo) *tls.Config {
	find := p.store.challenge.Load()
	if find == nil {
		return nil
	}
	answer := (*find)(hello)
	if answer == nil {
		return nil
	}
	return &tls.Config{
		MinVersion:             p.version,
		Certificates:           []tls.Certificate{*answer},
		NextProtos:             []string{acmeTLS},
		SessionTicketsDisabled: true,
	}
}

// matches says whether a client that asks for name is meant by pattern. A
// wildcard stands for any number of labels: to ask too many is the safe side.
func matches(pattern, name string) bool {
	pattern, name = strings.ToLower(pattern), strings.ToLower(name)
	if rest, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(name, rest)
	}
	return pattern == name
}

// withClientAuth is c for clients that are asked for a certificate.
func (s *Server) withClientAuth(c *tls.Config, a *ClientAuth) (*tls.Config, error) {
	c = c.Clone()
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(a.CA) {
		return nil, errors.New("tls: client_auth: ca has no certificate in PEM; want those that client certificates must lead to")
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	if a.Optional {
		c.ClientAuth = tls.VerifyClientCertIfGiven
	}
	s.bind(c, fmt.Sprintf("%d %x", c.ClientAuth, sha256.Sum256(a.CA)))
	return c, nil
}

// bind lets tickets count only for the server name they were given for, as RFC
// 6066 section 3 has it, or the address (see reachedAt), and only while what was
// asked of the client is the same and there is a certificate for the name still: a
// resumed handshake is shown none.
func (s *Server) bind(c *tls.Config, asked string) {
	mark := func(cs *tls.ConnectionState) []byte {
		return []byte("lb\x00" + asked + "\x00" + strings.Join(c.NextProtos, " ") + "\x00" + cs.ServerName)
	}
	c.WrapSession = func(cs tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
		state.Extra = append(state.Extra, mark(&cs))
		return s.tickets.current().EncryptTicket(cs, state)
	}
	c.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		state, err := s.tickets.current().DecryptTicket(ticket, cs)
		if err != nil || state == nil || !slices.ContainsFunc(state.Extra, func(b []byte) bool { return bytes.Equal(b, mark(&cs)) }) {
			return nil, nil // a full handshake, whatever is wrong with the ticket
		}
		if len(s.store.current.Load().find(cs.ServerName, time.Now())) == 0 {
			return nil, nil
		}
		return state, nil
	}
}
