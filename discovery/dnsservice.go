package discovery

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// What the names of services begin with that DNS answers for.
const (
	DNSPrefix = "dns:"     // addresses of a name: dns:NAME, dns:NAME:PORT
	SRVPrefix = "dns+srv:" // its SRV records, RFC 2782: dns+srv:NAME
)

// dnsService is what the name of a service asks DNS for.
type dnsService struct {
	service string // "dns:blog.example:8080"
	host    string // "blog.example"; with a dot at its end it is never searched for
	port    uint16 // of every instance; 0: the rule's target port
	srv     bool   // port and weight come from SRV records
}

// CheckDNSService says what is wrong with the name of a service that begins with
// "dns:" or "dns+srv:".
func CheckDNSService(service string) error {
	_, err := parseDNSService(service)
	return err
}

func parseDNSService(service string) (dnsService, error) {
	s := dnsService{service: service}
	rest, ok := strings.CutPrefix(service, SRVPrefix)
	if s.srv = ok; !ok {
		rest, ok = strings.CutPrefix(service, DNSPrefix)
	}
	if !ok {
		return s, fmt.Errorf("service %q: want %sNAME or %sNAME", service, DNSPrefix, SRVPrefix)
	}
	host, port, hasPort := strings.Cut(rest, ":")
	s.host = host
	if _, err := netip.ParseAddr(rest); err == nil {
		return s, fmt.Errorf("service %q: %s is an address, which needs no DNS; want a name", service, rest)
	}
	if !IsDNSName(host) {
		return s, fmt.Errorf("service %q: %q is no DNS name", service, host)
	}
	switch n, err := strconv.ParseUint(port, 10, 16); {
	case !hasPort:
	case s.srv:
		return s, fmt.Errorf("service %q: SRV records have the port; leave out %q", service, ":"+port)
	case err != nil || n == 0:
		return s, fmt.Errorf("service %q: want a port from 1 to 65535, got %q", service, port)
	default:
		s.port = uint16(n)
	}
	return s, nil
}

// IsDNSName says whether a resolver could know the name. Underscores are in,
// because container names and SRV records have them; a last label of digits is
// out, because such a name is a mistyped address.
func IsDNSName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, notInName) {
			return false
		}
		last = label
	}
	return strings.Trim(last, "0123456789") != ""
}

func notInName(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
}
