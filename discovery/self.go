package discovery

import (
	"net"
	"net/netip"
	"os"
	"regexp"
)

// ownIDs are the IDs that the container of this process may have, the likeliest
// first. Outside of a container they are those of nobody.
func ownIDs() []string {
	var ids []string
	// Where a file is missing, the system is none that containers run on.
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	groups, _ := os.ReadFile("/proc/self/cgroup")
	name, _ := os.Hostname()
	ids = append(ids, idsIn(ownMount, mounts)...)
	ids = append(ids, idsIn(ownGroup, groups)...)
	// The host's name is the beginning of the ID, unless somebody chose another.
	return append(ids, idsIn(ownName, []byte(name))...)
}

var (
	// Engines mount these files from the container's folder. Other mounts do not
	// count: a host sees those of all its containers.
	ownMount = regexp.MustCompile(`(?m)^\d+ \d+ \S+ \S*\b([0-9a-f]{64})/\S* /etc/(?:hostname|hosts|resolv\.conf) `)
	ownGroup = regexp.MustCompile(`(?m)^\d+:\S*:\S*\b([0-9a-f]{64})\b`)
	ownName  = regexp.MustCompile(`^([0-9a-f]{12})$`)
)

func idsIn(where *regexp.Regexp, text []byte) (ids []string) {
	for _, found := range where.FindAllSubmatch(text, -1) {
		ids = append(ids, string(found[1]))
	}
	return ids
}

// ownLinks are the networks that this process has an interface in: outside of
// containers the Engine's bridges are among them, and its overlays are not.
func ownLinks() (links []netip.Prefix) {
	addrs, err := net.InterfaceAddrs()
	if err != nil { // nobody knows; then all networks are as good as before
		return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLinkLocalUnicast() {
			links = append(links, p)
		}
	}
	return links
}
