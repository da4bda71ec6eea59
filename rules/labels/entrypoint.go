package labels

import "arzur.net/lb/rules"

// secureEntryPoint is where rules listen that speak https and name no place.
const secureEntryPoint = "websecure"

// speaksTLS says whether an entry point is one for https: to us they are plain
// numbers, so their names and the port of https have to tell.
func speaksTLS(name string, port uint16) bool {
	return port == 443 || name == secureEntryPoint || name == "https"
}

// speaksPlain says whether an entry point is one for http, likewise.
func speaksPlain(name string, port uint16) bool {
	return port == 80 || name == "web" || name == "http"
}

// socket is where a rule listens, and what is spoken there; "" is http.
type socket struct {
	port     uint16
	protocol string
}

// on makes r listen there. With acme, ports that speak TLS get certificates for it.
func (s socket) on(r rules.Rule, acme bool) rules.Rule {
	r.Port, r.Protocol, r.ACME = s.port, s.protocol, acme && s.protocol == rules.HTTPS
	return r
}
