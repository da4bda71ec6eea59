package rules

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// What a port speaks: the values of Rule.Protocol.
const (
	HTTP  = "http"  // HTTP in the clear
	HTTPS = "https" // TLS is terminated, HTTP inside
	TLS   = "tls"   // TLS is terminated, any protocol inside
	SNI   = "sni"   // TLS is passed through, to the service that its server name chooses
	TCP   = "tcp"   // any protocol
	UDP   = "udp"   // datagrams
)

// Protocols are all that a Rule may name, the default first.
var Protocols = []string{HTTP, HTTPS, TLS, SNI, TCP, UDP}

// ProxyProtocol is the version of the PROXY protocol header that servers get
// (haproxy.org, proxy-protocol.txt); the zero value is none.
type ProxyProtocol uint8

// Versions of the PROXY protocol header: text and binary.
const (
	ProxyV1 ProxyProtocol = 1
	ProxyV2 ProxyProtocol = 2
)

// isStream says whether what p carries is passed on as it comes.
func isStream(p string) bool { return p != "" && p != HTTP && p != HTTPS }

// normalize fills in the default, and forgets what Rancher forgets: all rules of
// a port without HTTP or server names are one there.
func (r *Rule) normalize() {
	r.Protocol = cmp.Or(r.Protocol, HTTP)
	if r.Order == OrderRancher && (r.Protocol == TCP || r.Protocol == TLS || r.Protocol == UDP) {
		r.Hostname, r.Path = "", ""
	}
}

// Listen is the listener that the rule is for.
func (r *Rule) Listen() Listen {
	return Listen{r.Address.Unmap(), r.Port, cmp.Or(r.Protocol, HTTP)}
}

// Socket is l without what is spoken on it, the same for all listeners that need
// the same socket: its Protocol is TCP or UDP.
func (l Listen) Socket() Listen {
	if l.Protocol != UDP {
		l.Protocol = TCP
	}
	return l
}

// claim makes sure that all rules of a socket want the same of it: the first one
// decides.
func (c *compiler) claim(l Listen, r *Rule) *Problem {
	first := c.sockets[l.Socket()]
	if first == nil {
		c.sockets[l.Socket()] = r
		return nil
	}
	p := &Problem{Origin: r.Origin, Other: first.Origin, Rule: r.Name, Fatal: true}
	switch {
	case first.Protocol != r.Protocol:
		p.Reason = fmt.Sprintf("protocol: %q, but rule %q has %q on the same port, and a port speaks one; choose another source_port or the same protocol",
			r.Protocol, first.Name, first.Protocol)
	case r.ProxyIn && !first.ProxyIn:
		p.Reason = fmt.Sprintf("proxy_protocol: it is for the whole port, and rule %q, which comes first, has none; write it there", first.Name)
	default:
		return nil
	}
	return p
}

// checkProtocol says what of the rule its protocol cannot do.
func (r *Rule) checkProtocol() error {
	switch {
	case !slices.Contains(Protocols, r.Protocol):
		return fmt.Errorf("protocol: unknown protocol %q; want %s", r.Protocol, strings.Join(Protocols, ", "))
	case r.ACME && r.Protocol != HTTPS && r.Protocol != TLS:
		return fmt.Errorf("tls: acme: with protocol %s lb has no use for a certificate; want https or tls", r.Protocol)
	case r.ProxyIn && r.Protocol == UDP:
		return errors.New("proxy_protocol: it stands at the beginning of a connection, and udp has none; take it out")
	case !isStream(r.Protocol):
		return nil
	case r.Hostname != "" && (r.Protocol == TCP || r.Protocol == UDP):
		return fmt.Errorf("hostname: with protocol %s nobody says which host is meant; take it out, or use sni or tls", r.Protocol)
	}
	return r.checkStream()
}

// checkStream says what of the rule needs HTTP.
func (r *Rule) checkStream() error {
	for _, option := range []struct {
		key   string
		given bool
	}{
		{"path", r.Path != ""},
		{"redirect", r.Redirect != nil},
		{"strip_prefix", r.StripPrefix != ""},
		{"add_prefix", r.AddPrefix != ""},
		{"replace_path", r.ReplacePath != ""},
		{"rewrite", len(r.Rewrites) > 0},
		{"host header", r.ServerHost},
		{"request_headers", !r.RequestHeaders.Empty()},
		{"response_headers", !r.ResponseHeaders.Empty()},
	} {
		if option.given {
			return fmt.Errorf("%s: protocol %s is passed on as it comes; take it out, or use http or https", option.key, r.Protocol)
		}
	}
	return nil
}

// checkExpr says which matcher of a rule's expression its protocol has no facts for.
func (r *Rule) checkExpr(n *node) error {
	switch {
	case n == nil:
		return nil
	case n.op != "":
		if err := r.checkExpr(n.left); err != nil {
			return err
		}
		return r.checkExpr(n.right)
	case isStream(r.Protocol):
		return r.checkStreamMatcher(n)
	case n.name == "HostSNI" || n.name == "HostSNIRegexp":
		return failAt(n.at, "%s: with http and https the Host of a request counts; want %s", n.name, strings.Replace(n.name, "SNI", "", 1))
	}
	return nil
}

func (r *Rule) checkStreamMatcher(n *node) error {
	known := []string{"ClientIP"}
	if r.Protocol == SNI || r.Protocol == TLS {
		known = append(known, "Host", "HostRegexp", "HostSNI", "HostSNIRegexp")
	}
	// Traefik's way to say "any", with tcp too.
	all := n.name == "HostSNI" && len(n.args) == 1 && n.args[0].value == "*"
	if all || slices.Contains(known, n.name) {
		return nil
	}
	return failAt(n.at, "%s: protocol %s does not show it; want %s", n.name, r.Protocol, strings.Join(known, ", "))
}

// checkProtocol says why the Service cannot serve rules of a protocol.
func (s *Service) checkProtocol(protocol string) error {
	switch {
	case protocol == SNI && s.TLS != nil:
		return errors.New("scheme: https, but sni passes the TLS of clients through; use protocol tls, or take scheme and tls out")
	case protocol != UDP:
		return nil
	case s.TLS != nil:
		return errors.New("scheme: https, but udp has no TLS; take scheme and tls out")
	case s.ProxyProtocol != 0:
		return errors.New("proxy_protocol: it stands at the beginning of a connection, and udp has none; take it out")
	case s.Check != nil && s.Check.Port == 0:
		return errors.New("health_check: a datagram tells nothing of the server's health; want health_check.port, a tcp port to check")
	}
	return nil
}

// Hosts lists the hostnames that the Entry matches and names in full: neither
// wildcards nor IP addresses.
func (e *Entry) Hosts() []string {
	var hosts []string
	for i := range e.match.alternatives {
		h := e.match.alternatives[i].host
		if _, err := netip.ParseAddr(h.text); h.kind == hostExact && err != nil && !slices.Contains(hosts, h.text) {
			hosts = append(hosts, h.text)
		}
	}
	return hosts
}
