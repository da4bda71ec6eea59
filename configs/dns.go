package configs

import (
	"net"
	"net/netip"
	"strings"
	"time"

	"arzur.net/lb/discovery"
)

// shortestTTL keeps a typing mistake from turning into a flood of queries.
const shortestTTL = 100 * time.Millisecond

// dns reads how services are looked up that are named dns:NAME or dns+srv:NAME.
func (v value) dns(c *discovery.DNSConfig) {
	before := len(v.doc.mistakes)
	v.object(fields{
		"servers": into(&c.Servers, value.nameServers),
		"keep":    into(&c.Keep, value.durationOrOff), // 0: off
		"min_ttl": into(&c.MinTTL, value.duration),
		"max_ttl": into(&c.MaxTTL, value.duration),
	})
	switch {
	case len(v.doc.mistakes) > before:
	case c.MinTTL < shortestTTL:
		v.fail("min_ttl is %v; want at least %v", c.MinTTL, shortestTTL)
	case c.MinTTL > c.MaxTTL:
		v.fail("min_ttl (%v) is more than max_ttl (%v)", c.MinTTL, c.MaxTTL)
	}
}

// nameServers reads a list of IP addresses, each with or without a port.
func (v value) nameServers() (list []string) {
	for _, item := range v.items() {
		s := item.text()
		if at, err := netip.ParseAddrPort(s); err == nil && at.Port() != 0 {
			list = append(list, at.String())
		} else if addr, err := netip.ParseAddr(s); err == nil {
			list = append(list, net.JoinHostPort(addr.String(), "53"))
		} else {
			item.fail(`want the IP address of a name server, such as "10.0.0.53" or "127.0.0.1:8600", got %s`, item.describe())
		}
	}
	return list
}

// checkDiscovered reports a service that its Source could not look for.
func (v value) checkDiscovered(service string) {
	if !strings.HasPrefix(service, discovery.DNSPrefix) && !strings.HasPrefix(service, discovery.SRVPrefix) {
		return
	}
	if err := discovery.CheckDNSService(service); err != nil {
		v.fail("%v", err)
	}
}
