package rules

import (
	"bytes"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// condition is a compiled expression. holds may use the Request's scratch
// space, and its routing path has been set.
type condition interface {
	holds(r *Request) bool
}

type (
	both   struct{ a, b condition }
	either struct{ a, b condition }
	not    struct{ c condition }

	hostIs       struct{ host }
	oneLabel     struct{ suffix string } // Host(`*.foo.com`): one label and no more
	hostMatches  struct{ re *regexp.Regexp }
	pathIs       struct{ path }
	methodIs     string
	fieldIs      struct{ name, value string }
	fieldMatches struct {
		name string
		re   *regexp.Regexp
	}
	queryIs      struct{ key, value string }
	queryMatches struct {
		key string
		re  *regexp.Regexp
	}
	clientIn netip.Prefix
)

func (c both) holds(r *Request) bool        { return c.a.holds(r) && c.b.holds(r) }
func (c either) holds(r *Request) bool      { return c.a.holds(r) || c.b.holds(r) }
func (c not) holds(r *Request) bool         { return !c.c.holds(r) }
func (c hostIs) holds(r *Request) bool      { return c.takes(r.Host) }
func (c hostMatches) holds(r *Request) bool { return len(r.Host) > 0 && c.re.Match(r.Host) }
func (c *pathIs) holds(r *Request) bool     { return c.takes(r.routing) }
func (c methodIs) holds(r *Request) bool    { return string(r.Method) == string(c) }

func (c oneLabel) holds(r *Request) bool {
	n := len(r.Host) - len(c.suffix)
	return n > 0 && string(r.Host[n:]) == c.suffix && bytes.IndexByte(r.Host[:n], '.') < 0
}

func (c fieldIs) holds(r *Request) bool {
	return anyField(r, c.name, func(v []byte) bool { return string(v) == c.value })
}

func (c fieldMatches) holds(r *Request) bool { return anyField(r, c.name, c.re.Match) }

func anyField(r *Request, name string, fits func([]byte) bool) bool {
	if r.Fields == nil {
		return false
	}
	for i := 0; ; i++ {
		v, ok := r.Fields.Value(name, i)
		if !ok || fits(v) {
			return ok
		}
	}
}

func (c queryIs) holds(r *Request) bool {
	return anyQuery(r, c.key, func(v []byte) bool { return string(v) == c.value })
}

func (c queryMatches) holds(r *Request) bool { return anyQuery(r, c.key, c.re.Match) }

func (c clientIn) holds(r *Request) bool {
	return netip.Prefix(c).Contains(r.Client.Unmap().WithZone(""))
}

// matcherNames are the matchers of the language, in Traefik's spelling.
var matcherNames = []string{
	"ClientIP", "Header", "HeaderRegexp", "Host", "HostRegexp", "HostSNI", "HostSNIRegexp", "Method",
	"Path", "PathPrefix", "PathRegexp", "Query", "QueryRegexp",
}

// newCondition compiles an expression.
func newCondition(n *node) (condition, error) {
	if n.op == "" {
		return newMatcher(n)
	}
	left, err := newCondition(n.left)
	if err != nil {
		return nil, err
	}
	if n.op == "!" {
		return not{left}, nil
	}
	right, err := newCondition(n.right)
	if err != nil {
		return nil, err
	}
	if n.op == "&&" {
		return both{left, right}, nil
	}
	return either{left, right}, nil
}

// arity is how many arguments a matcher takes.
func arity(name string) (least, most int) {
	switch name {
	case "Header", "HeaderRegexp":
		return 2, 2
	case "Query", "QueryRegexp":
		return 1, 2
	}
	return 1, 1
}

func newMatcher(n *node) (condition, error) {
	least, most := arity(n.name)
	if len(n.args) < least || len(n.args) > most {
		return nil, failAt(n.at, "%s has %d arguments; want %s", n.name, len(n.args), wanted(least, most))
	}
	for _, a := range n.args {
		if a.value == "" {
			return nil, failAt(a.at, "%s has an empty argument", n.name)
		}
	}
	first, last := n.args[0], n.args[len(n.args)-1]
	switch n.name {
	case "Host", "HostSNI":
		return newHost(first)
	case "Path", "PathPrefix":
		return newPath(n.name, first)
	case "Method":
		return methodIs(strings.ToUpper(first.value)), nil
	case "ClientIP":
		return newClientIP(first)
	case "Header":
		return fieldIs{first.value, last.value}, nil
	case "Query":
		return queryIs{first.value, queryValue(n)}, nil
	case "QueryRegexp":
		if len(n.args) == 1 {
			return queryIs{key: first.value}, nil
		}
	}
	if (n.name == "HostRegexp" || n.name == "HostSNIRegexp") && !isASCII(first.value) {
		return nil, failAt(first.at, "%s %q is not ASCII; write internationalised names in punycode", n.name, first.value)
	}
	re, err := regexp.Compile(last.value)
	if err != nil {
		return nil, failAt(last.at, "%s: %w", n.name, regexpError(last.value, err))
	}
	switch n.name {
	case "HostRegexp", "HostSNIRegexp":
		return hostMatches{re}, nil
	case "PathRegexp":
		return &pathIs{path{pathMatches, last.value, re}}, nil
	case "HeaderRegexp":
		return fieldMatches{first.value, re}, nil
	case "QueryRegexp":
		return queryMatches{first.value, re}, nil
	}
	panic("BUG: matcher " + n.name + " is known but not compiled")
}

func wanted(least, most int) string {
	if least == most {
		return fmt.Sprint(least)
	}
	return fmt.Sprintf("%d or %d", least, most)
}

// queryValue: Query(`k`) alone wants k to be there with an empty value.
func queryValue(n *node) string {
	if len(n.args) == 2 {
		return n.args[1].value
	}
	return ""
}

func newHost(a arg) (condition, error) {
	if !isASCII(a.value) {
		return nil, failAt(a.at, "Host %q is not ASCII; write internationalised names in punycode", a.value)
	}
	h, err := parseHost(a.value)
	switch {
	case err != nil:
		return nil, failAt(a.at, "Host: %w", err)
	case h.kind == hostPrefix || h.kind == hostSuffix && h.text[0] != '.':
		return nil, failAt(a.at, "Host %q: a star may stand only for a whole first label (*.example.com); want HostRegexp", a.value)
	case h.kind == hostSuffix:
		return oneLabel{h.text}, nil
	}
	return hostIs{h}, nil
}

func newPath(name string, a arg) (condition, error) {
	p, err := parsePath(a.value, PathExact)
	if err != nil {
		return nil, failAt(a.at, "%s: %w", name, err)
	}
	if name == "PathPrefix" {
		p.kind = pathStarts
	}
	return &pathIs{p}, nil
}

func newClientIP(a arg) (condition, error) {
	if ip, err := netip.ParseAddr(a.value); err == nil {
		ip = ip.Unmap().WithZone("")
		return clientIn(netip.PrefixFrom(ip, ip.BitLen())), nil
	}
	prefix, err := netip.ParsePrefix(a.value)
	if err != nil {
		return nil, failAt(a.at, "ClientIP %q is neither an IP address nor a range such as 10.0.0.0/8", a.value)
	}
	if ip := prefix.Addr(); ip.Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(ip.Unmap(), prefix.Bits()-96)
	}
	return clientIn(prefix.Masked()), nil
}
