package labels

import (
	"fmt"
	"math"
	"strings"
	"time"

	"arzur.net/lb/health"
)

// Traefik's defaults for a health check; one probe decides.
const (
	checkInterval = 30 * time.Second
	checkTimeout  = 5 * time.Second
)

// check is the active health check that the labels ask for, nil for none. One
// that asks for more than the checker can do is left out rather than done
// otherwise: it could mark every server down.
func (s *service3) check() *health.Check {
	const at = "loadBalancer.healthCheck"
	if !s.section(at) {
		return nil
	}
	label := s.anyOf(at)
	skip := func(format string, args ...any) *health.Check {
		s.warn(label, "there is no health check: "+format, args...)
		for _, key := range s.below(at) {
			s.read[key] = true
		}
		return nil
	}
	port, status := s.number(at+".port", 0), s.text(at+".status")
	switch {
	case s.doubt(at) != nil:
		return skip("one of its labels cannot be used")
	case s.text(at+".mode") != "" && !strings.EqualFold(s.text(at+".mode"), "http"):
		return skip("mode %q is not supported yet; want http", s.text(at+".mode"))
	case port < 0 || port > math.MaxUint16:
		return skip("port %d is not a port; want 1 to 65535", port)
	}
	if status == "0" {
		status = ""
	}
	scheme := strings.ToLower(s.text(at + ".scheme"))
	if server := s.text("loadBalancer.server.scheme"); scheme == "" && strings.EqualFold(server, "https") {
		scheme = "https" // at another port too
	}
	c := &health.Check{
		Port:             uint16(port),
		Scheme:           scheme,
		RequestLine:      s.requestLine(at),
		Interval:         s.duration(at+".interval", checkInterval),
		ResponseTimeout:  s.duration(at+".timeout", checkTimeout),
		HealthyThreshold: 1, UnhealthyThreshold: 1,
		ExpectStatus: strings.TrimSpace(status),
		Hostname:     s.text(at + ".hostname"),
	}
	if v, ok := s.get(at + ".followRedirects"); ok && s.flag(at+".followRedirects", true) {
		s.warn(v.label, "redirects are not followed; a server that answers with one is up")
	}
	if err := c.Validate(); err != nil {
		return skip("%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return c
}

// streamCheck is the active health check of a TCP service, nil for none: a
// connection is enough. One that wants an answer is left out, and why says so.
func streamCheck(e *element) (c *health.Check, why string) {
	const at = "loadBalancer.healthCheck"
	if !e.section(at) {
		return nil, ""
	}
	port := e.number(at+".port", 0)
	c = &health.Check{
		Port:             uint16(port),
		Interval:         e.duration(at+".interval", checkInterval),
		ResponseTimeout:  e.duration(at+".timeout", checkTimeout),
		HealthyThreshold: 1, UnhealthyThreshold: 1,
	}
	switch err := c.Validate(); {
	case e.doubt(at) != nil:
		return nil, "one of its labels cannot be used"
	case port < 0 || port > math.MaxUint16:
		return nil, fmt.Sprintf("port %d is not a port; want 1 to 65535", port)
	case e.text(at+".send")+e.text(at+".expect") != "":
		return nil, "send and expect are not supported yet; without them a connection is enough"
	case err != nil:
		return nil, strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return c, ""
}

// requestLine is the request in the form that a Check has it: escaped words, and
// the header lines behind the version.
func (s *service3) requestLine(at string) string {
	path := s.text(at + ".path")
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	method := s.text(at + ".method")
	if method == "" {
		method = "GET"
	}
	line := escapeWord(method) + " " + escapeWord(path) + " HTTP/1.1"
	for _, h := range s.mapping(at + ".headers") {
		line += `\r\n` + escapeWord(h.entry+": "+h.text)
	}
	return line
}

// escapeWord writes s so that health.ParseRequestLine reads it as it is, inside one word.
func escapeWord(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&b, `\x%02X`, c)
		case strings.IndexByte(`\ "'#`, c) >= 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
