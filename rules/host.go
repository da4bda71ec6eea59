package rules

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

// hostKind orders host patterns: the more exact come first.
type hostKind uint8

const (
	hostExact  hostKind = iota // the whole host
	hostSuffix                 // *.foo.com: the host ends with the text
	hostPrefix                 // foo.*: the host begins with the text
	hostAny                    // every host, even none
)

// host is a compiled host pattern. The text is in lower case and punycode.
type host struct {
	kind hostKind
	text string
}

var anyHost = host{kind: hostAny}

// String is the pattern as an operator would write it.
func (h host) String() string {
	switch h.kind {
	case hostSuffix:
		return "*" + h.text
	case hostPrefix:
		return h.text + "*"
	case hostAny:
		return "*"
	}
	return h.text
}

// covers says whether every host that o takes is taken by h.
func (h host) covers(o host) bool {
	switch h.kind {
	case hostAny:
		return true
	case hostSuffix:
		return (o.kind == hostExact || o.kind == hostSuffix) && strings.HasSuffix(o.text, h.text)
	case hostPrefix:
		return (o.kind == hostExact || o.kind == hostPrefix) && strings.HasPrefix(o.text, h.text)
	}
	return h == o
}

// parseHost compiles what an operator wrote under `hostname`. A star may stand
// at one end: for any number of labels next to a dot, else (as in Rancher) for any text.
func parseHost(s string) (host, error) {
	pattern := strings.ToLower(s)
	switch {
	case pattern == "" || pattern == "*":
		return anyHost, nil
	case len(pattern) > 2 && strings.HasPrefix(pattern, "*"):
		return parseSuffix(s, strings.TrimSuffix(pattern[1:], "."))
	case len(pattern) > 2 && strings.HasSuffix(pattern, "*"):
		return parsePrefix(s, pattern[:len(pattern)-1])
	}
	if ip, err := netip.ParseAddr(strings.Trim(pattern, "[]")); err == nil {
		return host{hostExact, ip.String()}, nil
	}
	name, err := parseName(pattern)
	if err != nil {
		return host{}, badHost(s, err)
	}
	return host{hostExact, name}, nil
}

// ExactHost is the name of one host as rules compare it: in lower case and
// punycode. Wildcards and IP addresses are errors.
func ExactHost(s string) (string, error) {
	h, err := parseHost(s)
	if err != nil {
		return "", err
	}
	if _, err := netip.ParseAddr(h.text); err == nil || h.kind != hostExact {
		return "", badHost(s, errors.New("want the name of one host"))
	}
	return h.text, nil
}

func parseSuffix(s, text string) (host, error) {
	dot, name := "", text
	if strings.HasPrefix(text, ".") {
		dot, name = ".", text[1:]
	} else if !isASCII(text) {
		return host{}, badHost(s, errors.New("a star next to an internationalised label; put a dot between them"))
	}
	name, err := parseName(name)
	if err != nil {
		return host{}, badHost(s, err)
	}
	return host{hostSuffix, dot + name}, nil
}

func parsePrefix(s, text string) (host, error) {
	dot, name := "", text
	if strings.HasSuffix(text, ".") {
		dot, name = ".", text[:len(text)-1]
	} else if !isASCII(text) {
		return host{}, badHost(s, errors.New("a star next to an internationalised label; put a dot between them"))
	}
	name, err := parseName(name)
	if err != nil {
		return host{}, badHost(s, err)
	}
	return host{hostPrefix, name + dot}, nil
}

func badHost(s string, err error) error {
	return fmt.Errorf("bad hostname %q: %w", s, err)
}

// parseName checks a DNS name in lower case and turns it into punycode.
// Underscores pass: container platforms use them.
func parseName(s string) (string, error) {
	if err := mistaken(s); err != nil {
		return "", err
	}
	name := strings.TrimSuffix(s, ".")
	if !isASCII(name) {
		ascii, err := idna.Lookup.ToASCII(name)
		if err != nil {
			return "", err
		}
		name = ascii
	}
	if len(name) > 253 {
		return "", fmt.Errorf("%d letters; a hostname has at most 253", len(name))
	}
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return "", errors.New("nothing between two dots, or before the first")
		case len(label) > 63:
			return "", fmt.Errorf("label %q has %d letters; at most 63 may stand between dots", label, len(label))
		}
	}
	for i := range len(name) {
		if !isHostByte(name[i]) {
			return "", fmt.Errorf("%q may not stand in a hostname", name[i])
		}
	}
	return name, nil
}

// mistaken explains what else somebody took a hostname for.
func mistaken(s string) error {
	switch at := strings.IndexAny(s, "*/: "); {
	case at < 0:
		return nil
	case s[at] == '*':
		return errors.New("a star may stand only first (*.foo.com) or last (foo.*)")
	case s[at] == '/' || strings.Contains(s, "://"):
		return errors.New("that is more than a host; want the host here, and what follows it under path")
	case s[at] == ':':
		return fmt.Errorf("it has a port; want %q", s[:at])
	default:
		return errors.New("a space may not stand in a hostname")
	}
}

func isHostByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.'
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// NormalizeHost brings the Host of a request into the form that rules compare:
// lower case, without port, without the brackets of an IPv6 address, without
// one trailing dot. It writes to dst[:0], and allocates only when that is too small.
func NormalizeHost(dst, host []byte) []byte {
	if len(host) > 0 && host[0] == '[' {
		if end := bytes.IndexByte(host, ']'); end > 0 {
			host = host[1:end]
		}
	} else if colon := bytes.IndexByte(host, ':'); colon >= 0 && colon == bytes.LastIndexByte(host, ':') {
		host = host[:colon]
	}
	if n := len(host); n > 0 && host[n-1] == '.' {
		host = host[:n-1]
	}
	dst = append(dst[:0], host...)
	for i, c := range dst {
		dst[i] = lower(c)
	}
	return dst
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// takes says whether a request's normalised host fits.
func (h host) takes(b []byte) bool {
	switch h.kind {
	case hostAny:
		return true
	case hostSuffix:
		return len(b) >= len(h.text) && string(b[len(b)-len(h.text):]) == h.text
	case hostPrefix:
		return len(b) >= len(h.text) && string(b[:len(h.text)]) == h.text
	}
	return string(b) == h.text
}
