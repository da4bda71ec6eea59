package configs

import (
	"strings"

	"arzur.net/lb/certs"
	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// ClientCert names the request fields that tell servers of a client's
// certificate; "" leaves one out.
type ClientCert struct{ Subject, Fingerprint, Cert string }

// certificates reads a list of {cert, key} and {dir}.
func (v value) certificates() (list []certs.Files) {
	for _, item := range v.items() {
		if f := item.certificate(true); f != nil {
			list = append(list, *f)
		}
	}
	return list
}

// certificate reads {cert, key} or, where dir is allowed, {dir}.
func (v value) certificate(dir bool) *certs.Files {
	f := &certs.Files{Origin: v.origin()}
	known := fields{
		"cert": into(&f.Cert, value.fileName),
		"key":  into(&f.Key, value.fileName),
	}
	want := "{cert: file, key: file}"
	if dir {
		known["dir"] = into(&f.Dir, value.fileName)
		want += " or {dir: folder}"
	}
	if s, plain := v.plain(); plain {
		v.fail("%q: certificates are files here; want %s", s, want)
		return nil
	}
	before := len(v.doc.mistakes)
	v.object(known)
	switch {
	case len(v.doc.mistakes) > before:
	case f.Dir != "" && (f.Cert != "" || f.Key != ""):
		v.fail("dir stands instead of cert and key; keep one of the two")
	case f.Dir == "" && f.Cert == "":
		v.fail("want %s", want)
	default:
		return f
	}
	return nil
}

// serverTLS reads the tls section: what all ports that speak TLS have in common.
func (v value) serverTLS(s *certs.Settings, c *ClientCert, readFile fileReader) {
	before := len(v.doc.mistakes)
	v.object(fields{
		"min_version": into(&s.MinVersion, value.tlsVersion),
		"max_version": into(&s.MaxVersion, value.tlsVersion),
		"ciphers": func(v value) {
			for _, item := range v.items() {
				id, err := certs.ParseCipher(item.text())
				if err != nil {
					item.fail("%v", err)
				}
				s.Ciphers = append(s.Ciphers, id)
			}
		},
		"client_auth": func(v value) { s.ClientAuth = v.clientAuth(c, readFile) },
	})
	if len(v.doc.mistakes) > before {
		return
	}
	if _, err := certs.NewServer(new(certs.Store)).Config(s); err != nil {
		v.fail("%s", strings.TrimPrefix(err.Error(), "tls: "))
	}
}

func (v value) tlsVersion() uint16 {
	version, err := certs.ParseVersion(v.text())
	if err != nil {
		v.fail("%v", err)
	}
	return version
}

// clientAuth reads how clients show who they are.
func (v value) clientAuth(c *ClientCert, readFile fileReader) *certs.ClientAuth {
	a := &certs.ClientAuth{}
	before := len(v.doc.mistakes)
	v.object(fields{
		"mode": into(&a.Optional, keyword(map[string]bool{"require": false, "optional": true})),
		"ca":   func(v value) { a.CA = readFile(v, v.text()) },
		"hostnames": func(v value) {
			for _, item := range v.items() {
				a.Hostnames = append(a.Hostnames, item.wildcardHost())
			}
		},
		"subject_header":     into(&c.Subject, value.headerName),
		"fingerprint_header": into(&c.Fingerprint, value.headerName),
		"cert_header":        into(&c.Cert, value.headerName),
	})
	if a.CA == nil && len(v.doc.mistakes) == before {
		v.fail("ca is missing; want a file with the certificates that those of clients must lead to")
	}
	return a
}

// wildcardHost reads a host name, or a star and what follows it.
func (v value) wildcardHost() string {
	s := v.text()
	name, star := strings.CutPrefix(s, "*.")
	exact, err := rules.ExactHost(name)
	switch {
	case err != nil:
		v.fail("%v", err)
	case star:
		return "*." + exact
	}
	return exact
}

func (v value) headerName() string {
	name := v.text()
	v.fieldName(name, false)
	return name
}

// serviceTLS reads services.<name>.tls.
func (v value) serviceTLS(readFile fileReader) *health.TLS {
	t := &health.TLS{}
	before := len(v.doc.mistakes)
	v.object(fields{
		"ca":                   func(v value) { t.CA = readFile(v, v.text()) },
		"server_name":          into(&t.ServerName, value.text),
		"cert":                 func(v value) { t.Cert = readFile(v, v.text()) },
		"key":                  func(v value) { t.Key = readFile(v, v.text()) },
		"insecure_skip_verify": into(&t.Insecure, value.boolean),
	})
	if len(v.doc.mistakes) > before {
		return t
	}
	if err := t.Validate(); err != nil {
		v.fail("%v", err)
	}
	return t
}

// transport reads how a service's servers are spoken to.
func transport(s *rules.Service, known fields, readFile fileReader) (check func()) {
	var scheme string
	var secure value
	known["scheme"] = func(v value) { scheme = oneOf("http", "https")(v) }
	known["tls"] = func(v value) { secure, s.TLS = v, v.serviceTLS(readFile) }
	known["proxy_protocol"] = into(&s.ProxyProtocol, keyword(map[string]rules.ProxyProtocol{"v1": rules.ProxyV1, "v2": rules.ProxyV2}))
	return func() {
		switch {
		case scheme == "https" && s.TLS == nil:
			s.TLS = &health.TLS{}
		case scheme == "http" && s.TLS != nil:
			secure.fail("with scheme: http servers are spoken to in the clear; take one of the two out")
		}
	}
}
