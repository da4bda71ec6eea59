package admin

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
)

// guard keeps web pages from talking to the admin listener through the browser
// of somebody who can reach it.
type guard struct {
	names  map[string]bool // by which we may be called, besides addresses and names without a dot
	origin *http.CrossOriginProtection
}

func newGuard(addr string) guard {
	g := guard{names: map[string]bool{}, origin: http.NewCrossOriginProtection()}
	if host, _, err := net.SplitHostPort(addr); err == nil {
		g.names[strings.ToLower(host)] = true
	}
	if name, err := os.Hostname(); err == nil {
		g.names[strings.ToLower(name)] = true
	}
	return g
}

// protect refuses requests whose Host may be a name that a stranger's DNS points
// here (DNS rebinding), and changes that another site's page asks for.
func (g guard) protect(next http.Handler) http.Handler {
	next = g.origin.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.knows(r.Host) {
			reason := fmt.Sprintf("host %q: the admin listener answers to IP addresses, localhost, names without a dot and the configured host", r.Host)
			http.Error(w, reason, http.StatusForbidden)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// knows says whether a Host is harmless. Nobody else can own an IP address or,
// in public DNS, a name without a dot.
func (g guard) knows(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	return !strings.Contains(host, ".") || strings.HasSuffix(host, ".localhost") || g.names[host]
}
