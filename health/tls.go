package health

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
)

// TLS says how a server is spoken to over TLS, by requests and checks alike. It
// is plain data and never changes once it is in use.
type TLS struct {
	ServerName string // sent as SNI and looked for in the certificate; "": the server's host as it was written
	CA         []byte // PEM bundle that the server's certificate must lead to; nil: the system's
	Cert, Key  []byte // PEM of the client certificate; nil: none
	Insecure   bool   // take any certificate
}

// Validate says, in the words of the keys of services.tls, what cannot work. A
// nil TLS is valid: there is none.
func (t *TLS) Validate() error {
	_, err := t.Config("")
	return err
}

// Config is t for crypto/tls and a server written as host, nil for a nil TLS. The
// caller may change what it got.
func (t *TLS) Config(host string) (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	c := &tls.Config{ServerName: t.name(host), MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.Insecure}
	if !validHost(t.ServerName) || strings.ContainsRune(t.ServerName, ':') && net.ParseIP(t.ServerName) == nil {
		return nil, fmt.Errorf("server_name: %q is no host name", t.ServerName)
	}
	if len(t.CA) > 0 {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(t.CA) {
			return nil, errors.New("ca: no certificate in it; want PEM, -----BEGIN CERTIFICATE-----")
		}
	}
	switch {
	case len(t.Cert) == 0 && len(t.Key) == 0:
		return c, nil
	case len(t.Key) == 0:
		return nil, errors.New("key: missing; a client certificate needs its private key")
	case len(t.Cert) == 0:
		return nil, errors.New("cert: missing; key is the private key of a client certificate")
	}
	pair, err := tls.X509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("cert and key: %s", strings.TrimPrefix(err.Error(), "tls: "))
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// name is the server name for a server written as host.
func (t *TLS) name(host string) string {
	if t.ServerName != "" {
		return t.ServerName
	}
	return strings.Trim(host, "[]")
}
