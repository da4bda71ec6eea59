package certs

import (
	"crypto/tls"
	"fmt"
	"strings"

	"arzur.net/lb/rules"
)

// Files names certificates in files: either a pair, or a folder of pairs.
type Files struct {
	Cert   string // PEM: the certificate, then those that lead to its root; may have the key too
	Key    string // PEM; "": it is in Cert
	Dir    string // a folder, instead of Cert and Key
	Origin string // where this was written: "rules.yml:3"
}

// Settings are what TLS clients get besides certificates. The zero value is TLS
// 1.2 and 1.3 with the suites of CipherSuites, and no client certificates.
type Settings struct {
	MinVersion, MaxVersion uint16      // tls.VersionTLS12 or VersionTLS13; 0: the lowest and the highest
	Ciphers                []uint16    // of TLS 1.2, see ParseCipher; nil: all that are good. TLS 1.3 has no bad ones
	ClientAuth             *ClientAuth // nil: clients are not asked for certificates
}

// ClientAuth asks clients for certificates.
type ClientAuth struct {
	Optional  bool     // a client may do without; one that it sends must be good all the same
	CA        []byte   // PEM bundle that client certificates must lead to
	Hostnames []string // the server names for which clients are asked, exact or "*.arzur.net"; nil: all
}

// versions are the versions of TLS that may be named. The older ones are broken
// (RFC 8996).
var versions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// ParseVersion reads "1.2" or "1.3".
func ParseVersion(name string) (uint16, error) {
	if v, ok := versions[name]; ok {
		return v, nil
	}
	if name == "1.0" || name == "1.1" {
		return 0, fmt.Errorf(`TLS version "%s" is not safe (RFC 8996); want "1.2" or "1.3"`, name)
	}
	return 0, fmt.Errorf(`unknown TLS version %q; want "1.2" or "1.3"`, name)
}

// suites are the cipher suites of TLS 1.2 that may be named, the best first,
// with the names that OpenSSL has for them. All have forward secrecy; those
// that are not authenticated encryption are for old clients, and used only
// when named.
var suites = []struct {
	id      uint16
	openSSL string
	old     bool
}{
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256", false},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256", false},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384", false},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384", false},
	{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305", false},
	{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305", false},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, "ECDHE-ECDSA-AES128-SHA", true},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, "ECDHE-RSA-AES128-SHA", true},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, "ECDHE-ECDSA-AES256-SHA", true},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, "ECDHE-RSA-AES256-SHA", true},
}

// ParseCipher reads the name of a cipher suite of TLS 1.2, as IANA or as OpenSSL
// has it.
func ParseCipher(name string) (uint16, error) {
	known := make([]string, 0, 2*len(suites))
	for _, s := range suites {
		iana := tls.CipherSuiteName(s.id)
		if name == iana || name == s.openSSL {
			return s.id, nil
		}
		known = append(known, iana, s.openSSL)
	}
	for _, s := range tls.CipherSuites() {
		if s.Name == name {
			return 0, fmt.Errorf("cipher suite %q belongs to TLS 1.3, where all are on; leave it out", name)
		}
	}
	for _, s := range tls.InsecureCipherSuites() {
		if s.Name == name {
			return 0, fmt.Errorf("cipher suite %q is not safe; want one of %s", name, strings.Join(good(), ", "))
		}
	}
	if near := rules.NearMisses(name, known); len(near) > 0 {
		return 0, fmt.Errorf("unknown cipher suite %q; did you mean %s?", name, near[0])
	}
	return 0, fmt.Errorf("unknown cipher suite %q; want one of %s", name, strings.Join(good(), ", "))
}

// good are the names of the suites that are used unless others are named.
func good() (names []string) {
	for _, s := range suites {
		if !s.old {
			names = append(names, tls.CipherSuiteName(s.id))
		}
	}
	return names
}
