package proxy

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net"
	"net/url"
	"strings"
	"time"

	"arzur.net/lb/proxy/http1"
)

// misdirected says whether a request's host is not for the connection it came on:
// one whose certificate does not cover it, or where a client that has shown no
// certificate would get around a demand for one (RFC 9110 section 7.4).
func (c *client) misdirected(host []byte) bool {
	s := c.tls
	if s == nil {
		return false
	}
	config := c.lst.state.Load().tls
	if now := c.core.loop.Now(); config != s.config || now-s.checked >= recheckEvery {
		if !s.outlived(config) {
			c.last = true // no request can be served here any more
			return true
		}
		s.config, s.checked, s.covered = config, now, ""
	}
	if len(host) == 0 || string(host) == s.serverName || string(host) == s.covered {
		return false
	}
	name := strings.TrimRight(string(host), ".") // a server behind may take "a.test.." for a.test
	if config == nil || !covers(config, s.name, name) {
		return true
	}
	if own, its := configFor(config, s.name), configFor(config, name); own != its && (own.ClientAuth != tls.NoClientCert || its.ClientAuth != tls.NoClientCert) {
		return true
	}
	s.covered = string(host)
	return false
}

// recheckEvery is how long a connection is taken for what it was found to be.
// Certificates come and go without a word to the engine.
const recheckEvery = int64(time.Second)

// outlived says whether a client would be let in under config as it was under the
// one of its handshake: whoever keeps a connection must not get around what is
// asked of others.
func (s *secure) outlived(config *tls.Config) bool {
	if config == nil {
		return true // the port has left TLS, and asks nothing of anybody
	}
	if certificateFor(config, s.name) == nil {
		return false
	}
	was, is := configFor(s.config, s.name), configFor(config, s.name)
	switch {
	case was == is, is.ClientAuth == tls.NoClientCert:
		return true
	case was.ClientAuth == tls.NoClientCert, s.peer == nil && is.ClientAuth == tls.RequireAndVerifyClientCert:
		return false
	}
	return is.ClientCAs.Equal(was.ClientCAs)
}

// covers says whether the certificate for serverName is one for host too. It is
// looked up rather than remembered: a resumed session has shown none.
func covers(config *tls.Config, serverName, host string) bool {
	cert := certificateFor(config, serverName)
	return cert != nil && covering(cert, host)
}

// certificateFor is what a client is shown that asks for serverName; nil: it is
// refused.
func certificateFor(config *tls.Config, serverName string) *tls.Certificate {
	hello := &tls.ClientHelloInfo{ServerName: serverName, Conn: nobody{}}
	var cert *tls.Certificate
	if config = configFor(config, serverName); config.GetCertificate != nil {
		cert, _ = config.GetCertificate(hello)
	}
	if cert == nil && len(config.Certificates) > 0 {
		cert = &config.Certificates[0]
		for i := range config.Certificates {
			if covering(&config.Certificates[i], serverName) {
				cert = &config.Certificates[i]
				break
			}
		}
	}
	return cert
}

// nobody is the connection of a ClientHello that was never sent.
type nobody struct{ net.Conn }

func (nobody) LocalAddr() net.Addr { return nil }

func covering(cert *tls.Certificate, host string) bool {
	leaf := cert.Leaf
	if leaf == nil && len(cert.Certificate) > 0 {
		leaf, _ = x509.ParseCertificate(cert.Certificate[0])
	}
	return leaf != nil && leaf.VerifyHostname(host) == nil
}

// configFor is the configuration that a client which asks for serverName gets.
func configFor(config *tls.Config, serverName string) *tls.Config {
	if config.GetConfigForClient != nil {
		if c, err := config.GetConfigForClient(&tls.ClientHelloInfo{ServerName: serverName, Conn: nobody{}}); err == nil && c != nil {
			return c
		}
	}
	return config
}

// certFields are the field lines that tell a server of a client's certificate, as
// composed for one naming of them.
type certFields struct {
	names ClientCertFields
	lines []byte
}

// name says whether a field is one that only we may set.
func (f *ClientCertFields) name(name []byte) bool {
	return same(name, f.Subject) || same(name, f.Fingerprint) || same(name, f.Cert)
}

// same compares names of fields as a server does that takes "_" for "-".
func same(name []byte, want string) bool {
	if len(name) != len(want) || want == "" {
		return false
	}
	for i, c := range name {
		w := want[i]
		if c == '_' {
			c = '-'
		}
		if w == '_' {
			w = '-'
		}
		if lower(c) != lower(w) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

func appendLower(b, s []byte) []byte {
	for _, c := range s {
		b = append(b, lower(c))
	}
	return b
}

// dropCertFields marks what a request says of client certificates, so that it
// goes no further.
func (o *Options) dropCertFields(m *http1.Message) {
	if o.ClientCert == (ClientCertFields{}) {
		return
	}
	for i := range m.Fields {
		if f := &m.Fields[i]; o.ClientCert.name(m.Name(f)) {
			f.Nominated = true
		}
	}
}

// appendClientCert tells of the certificate that the client has shown, if any.
func (c *client) appendClientCert(b []byte, names ClientCertFields) []byte {
	if c.tls == nil || c.tls.peer == nil || names == (ClientCertFields{}) {
		return b
	}
	if c.tls.told == nil || c.tls.told.names != names {
		c.tls.told = &certFields{names, composeCert(c.tls.peer, names)}
	}
	return append(b, c.tls.told.lines...)
}

func composeCert(cert *x509.Certificate, names ClientCertFields) (b []byte) {
	if names.Subject != "" {
		b = appendField(b, names.Subject, fieldText(cert.Subject.String()))
	}
	if names.Fingerprint != "" {
		sum := sha256.Sum256(cert.Raw)
		b = appendField(b, names.Fingerprint, hex.EncodeToString(sum[:]))
	}
	if names.Cert != "" {
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
		b = appendField(b, names.Cert, url.QueryEscape(string(text)))
	}
	return b
}

// fieldText replaces what cannot stand in a field value: a CA may sign any name.
func fieldText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f {
			return '?'
		}
		return r
	}, s)
}
