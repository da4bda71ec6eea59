package configs

import (
	"encoding/base64"
	"net/url"
	"strings"
	"time"

	"arzur.net/lb/rules"
)

// ACME is how certificates are got from a certificate authority (RFC 8555).
type ACME struct {
	Email       string
	Directory   string        // URL; "" is Let's Encrypt's
	Cache       string        // a folder, or ConsulCache and a prefix of keys
	Hosts       []string      // the only names that certificates are asked for; nil: all those of rules that want one
	CA          []byte        // PEM bundle that the directory's own certificate must lead to; nil: the system's
	KeyID       string        // of an account that exists elsewhere (external account binding)
	Key         []byte        // and its HMAC key
	RenewBefore time.Duration // 0: as its lifetime has it
	KeyType     string        // ecdsa or rsa
	Profile     string        // of those that the authority has; "": its own choice
	Origin      string
}

// ConsulCache begins a Cache that is a prefix of keys in Consul.
const ConsulCache = "consul:"

// DefaultACME is what an acme section means that says nothing else.
var DefaultACME = ACME{KeyType: "ecdsa"}

// acme reads the acme section.
func (v value) acme(readFile fileReader) *ACME {
	a := DefaultACME
	a.Origin = v.origin()
	before := len(v.doc.mistakes)
	v.object(fields{
		"email":        into(&a.Email, value.text),
		"directory":    into(&a.Directory, value.httpsURL),
		"cache":        into(&a.Cache, value.acmeCache),
		"hosts":        into(&a.Hosts, value.acmeHosts),
		"ca":           func(v value) { a.CA = readFile(v, v.text()) },
		"eab_kid":      into(&a.KeyID, value.text),
		"eab_key":      into(&a.Key, value.base64),
		"renew_before": into(&a.RenewBefore, value.duration),
		"key_type":     into(&a.KeyType, oneOf("ecdsa", "rsa")),
		"profile":      into(&a.Profile, value.text),
	})
	switch {
	case len(v.doc.mistakes) > before:
	case a.Cache == "":
		v.fail("cache is missing; want a folder that outlives the program, or consul:lb/acme")
	case (a.KeyID == "") != (len(a.Key) == 0):
		v.fail("eab_kid and eab_key belong together; want both, or neither")
	case a.Email != "" && !strings.Contains(a.Email, "@"):
		v.fail("email: %q is no mail address", a.Email)
	}
	return &a
}

func (v value) httpsURL() string {
	s := v.text()
	if u, err := url.Parse(s); s != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		v.fail("want a URL such as https://acme-v02.api.letsencrypt.org/directory, got %s", v.describe())
		return ""
	}
	return s
}

// acmeCache reads a folder, relative to the file that v stands in, or consul:prefix.
func (v value) acmeCache() string {
	s := v.text()
	prefix, inConsul := strings.CutPrefix(s, ConsulCache)
	switch {
	case !inConsul:
		return v.fileName()
	case prefix == "" || strings.HasPrefix(prefix, "/"):
		v.fail("want consul: and a prefix of keys, such as consul:lb/acme, got %s", v.describe())
	}
	return s
}

// acmeHosts reads from-rules, or a list of names.
func (v value) acmeHosts() (hosts []string) {
	if _, plain := v.plain(); plain {
		oneOf("from-rules")(v)
		return nil
	}
	for _, item := range v.items() {
		hosts = append(hosts, item.exactHost())
	}
	if hosts == nil {
		v.fail("want from-rules, or a list of host names")
	}
	return hosts
}

// exactHost reads a host name without a star.
func (v value) exactHost() string {
	name, err := rules.ExactHost(v.text())
	if err != nil {
		v.fail("%v", err)
	}
	return name
}

// base64 reads what CAs hand out as HMAC keys (RFC 4648 section 5).
func (v value) base64() []byte {
	key, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(v.text(), "="))
	if err != nil {
		v.fail("want a key in base64url, as the certificate authority gave it") // and never the key itself
	}
	return key
}
