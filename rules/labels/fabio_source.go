package labels

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"arzur.net/lb/rules"
)

// read reads the source of a tag, which depends on the protocol. TCP to a host
// rather than a port is told apart by the server name that the client asks for.
func (t *fabioTag) read(source string) {
	if t.rule.Protocol == rules.TCP && strings.HasSuffix(source, "/") {
		t.rule.Protocol = rules.SNI
	}
	switch t.rule.Protocol {
	case rules.TCP:
		t.readAddress(source)
	case rules.SNI:
		t.readSource(source)
		if t.rule.Path != "" || t.rule.Hostname+t.rule.Expr == "" {
			t.leave("%q: want a host alone, which is what TLS that is passed on is told apart by", source)
		}
	default:
		t.readSource(source)
	}
}

// readAddress reads :port or address:port, which TCP listens on.
func (t *fabioTag) readAddress(source string) {
	host, port, err := net.SplitHostPort(source)
	n, numErr := strconv.ParseUint(port, 10, 16)
	if err != nil || numErr != nil || n == 0 {
		t.leave("%q: with proto=tcp want :port, address:port or host/", source)
		return
	}
	t.rule.Port = uint16(n)
	if host == "" {
		return
	}
	if t.rule.Address, err = netip.ParseAddr(host); err != nil {
		t.leave("%q: with proto=tcp want :port, address:port or host/", source)
	}
}

// readSource reads host/path, or a host alone. A host may have a port, which is then
// the one to listen on, since that is what clients put into their URLs.
func (t *fabioTag) readSource(source string) {
	host, path, _ := strings.Cut(source, "/")
	switch {
	case source == "":
		t.leave("there is neither host nor path; want %q for all requests", fabioPrefix+"/")
	case strings.HasPrefix(host, ":"):
		t.leave("%q is a port; want host/path, or proto=tcp behind it", source)
	case strings.Contains(host, "="):
		t.leave("%q is neither host nor path; want %q in front of the options", source, "host/path")
	}
	host = t.listen(host)
	if path != "" {
		t.rule.Path, t.rule.PathMatch = "/"+path, rules.PathStarts
	}
	if host = strings.ToLower(host); isGlob(host) {
		t.globHost(host)
	} else {
		t.rule.Hostname = host
	}
}

// listen has the rule listen where the port of the host says, else at an entry
// point. It returns the host without the port.
func (t *fabioTag) listen(host string) string {
	point, port := t.o.DefaultEntryPoint, uint16(0)
	if t.rule.Protocol == rules.SNI {
		point = secureEntryPoint
	}
	if at := strings.LastIndexByte(host, ':'); at > strings.LastIndexByte(host, ']') {
		n, err := strconv.ParseUint(host[at+1:], 10, 16)
		switch {
		case err != nil || n == 0:
			t.leave("want a port from 1 to 65535, got %q", host[at+1:])
		case n == 443: // to fabio this and 80 are what https and http are without a port
			point = secureEntryPoint
		case n != 80:
			point, port = "", uint16(n)
		}
		host = host[:at]
	}
	if point != "" {
		port = t.o.EntryPoints[point]
	}
	secure := port == t.o.EntryPoints[secureEntryPoint] && port != t.o.EntryPoints[t.o.DefaultEntryPoint]
	if t.rule.Port = port; t.rule.Protocol == "" && (secure || speaksTLS(point, port)) {
		t.rule.Protocol = rules.HTTPS
	}
	return host
}

// isGlob says whether a host needs more than a star at one of its ends.
func isGlob(host string) bool {
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return false // brackets of IPv6
	}
	inner := strings.TrimPrefix(host, "*")
	if inner == host {
		inner = strings.TrimSuffix(host, "*")
	}
	return inner != "" && strings.ContainsAny(inner, `*?[{`)
}

// globHost matches by expression.
func (t *fabioTag) globHost(glob string) {
	pattern, err := globPattern(glob)
	if err != nil {
		t.leave("host %q: %s", glob, err)
		return
	}
	t.rule.Expr = call("HostRegexp", "^"+pattern+"$")
	if t.rule.Path != "" {
		t.rule.Expr += " && " + call("PathPrefix", t.rule.Path)
		t.rule.Path, t.rule.PathMatch = "", 0
	}
}

// globPattern is a glob as a regular expression: a star is any text, a question
// mark any character, [ab], [a-z] and [!ab] one of a class, {a,b} one of several globs.
func globPattern(glob string) (string, error) {
	var b strings.Builder
	depth := 0
	for rest := glob; rest != ""; rest = rest[1:] {
		switch c := rest[0]; c {
		case '*':
			b.WriteString(".*")
		case '?':
			b.WriteByte('.')
		case '[':
			class, behind, closed := strings.Cut(rest[1:], "]")
			if !closed {
				return "", fmt.Errorf("the bracket at %q is not closed", rest)
			}
			b.WriteString(classPattern(class))
			rest = "]" + behind
		case '{':
			depth++
			b.WriteString("(?:")
		case '}':
			depth--
			b.WriteByte(')')
		case ',':
			if depth > 0 {
				c = '|'
			}
			b.WriteByte(c)
		default:
			b.WriteString(regexp.QuoteMeta(rest[:1]))
		}
		if depth < 0 {
			break
		}
	}
	if depth != 0 {
		return "", errors.New("its braces are not in pairs")
	}
	if _, err := regexp.Compile(b.String()); err != nil {
		return "", err
	}
	return b.String(), nil
}

// classPattern is the inside of a class of a glob as one of a regular expression.
func classPattern(class string) string {
	class, not := strings.CutPrefix(class, "!")
	class = strings.NewReplacer(`\`, `\\`, "[", `\[`, "^", `\^`).Replace(class)
	if not {
		return "[^" + class + "]"
	}
	return "[" + class + "]"
}
