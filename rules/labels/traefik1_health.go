package labels

import (
	"net/textproto"
	"net/url"
	"strings"
	"time"

	"arzur.net/lb/health"
)

// Traefik 1's health checks: one answer is enough for either verdict.
const (
	checkInterval1 = 30 * time.Second
	checkTimeout1  = 5 * time.Second
)

// healthCheck reads backend.healthcheck.*, nil without a path.
func (f *frontend) healthCheck() *health.Check {
	path := f.label("backend.healthcheck.path")
	if path.text == "" {
		for _, p := range f.below("backend.healthcheck.") {
			f.label(p).warn("it has no effect without healthcheck.path")
		}
		return nil
	}
	target, ok := checkTarget(path)
	if !ok {
		return nil
	}
	scheme := "" // as the server is spoken to
	if f.label("protocol").text == "https" {
		scheme = "https" // at another port too
	}
	if v := f.label("backend.healthcheck.scheme"); v.text != "" && !into(&scheme, oneOf("http", "https"), v) {
		return nil
	}
	c := &health.Check{
		RequestLine: quoteWord("GET") + " " + quoteWord(target) + " " + quoteWord("HTTP/1.1"+f.checkHeaders()),
		Scheme:      scheme,
		Interval:    checkInterval1, ResponseTimeout: checkTimeout1,
		HealthyThreshold: 1, UnhealthyThreshold: 1,
	}
	if v := f.label("backend.healthcheck.interval"); v.text != "" {
		into(&c.Interval, span(time.Second), v)
	}
	if v := f.label("backend.healthcheck.port"); v.text != "" && v.text != "0" {
		into(&c.Port, portNumber, v)
	}
	c.Hostname = f.label("backend.healthcheck.hostname").text
	if err := c.Validate(); err != nil {
		path.warn("there is no health check: %s", err)
		return nil
	}
	return c
}

// checkTarget is the path to ask for. Traefik 1 would also read a whole URL, but
// servers are known by address alone.
func checkTarget(v labelValue) (string, bool) {
	u, err := url.Parse(v.text)
	switch {
	case err != nil:
		v.warn("there is no health check: %s", err)
		return "", false
	case u.Scheme != "" || u.Host != "":
		v.warn("there is no health check: %s; want a path", v.quoted())
		return "", false
	}
	if !strings.HasPrefix(u.Path, "/") {
		u.Path = "/" + u.Path
	}
	return strings.ReplaceAll(u.RequestURI(), " ", "%20"), true // Parse lets blanks pass in a query
}

// checkHeaders are the header lines of the check, each behind a line break.
func (f *frontend) checkHeaders() string {
	v := f.label("backend.healthcheck.headers")
	var b strings.Builder
	for part := range strings.SplitSeq(v.text, "||") {
		name, value, found := strings.Cut(strings.TrimSpace(part), ":")
		name, value = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name)), strings.TrimSpace(value)
		if part = strings.TrimSpace(part); part != "" && !found {
			v.warn("%q has no colon; want Name:value", part)
		}
		if found && v.fieldName(name, true) && v.fieldValue(value) {
			b.WriteString("\r\n" + name + ": " + value)
		}
	}
	return b.String()
}

// quoteWord writes s as one word of a request_line.
func quoteWord(s string) string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, " ", `\ `, "\t", `\t`, "'", `\'`, "\r", `\r`, "\n", `\n`, "#", `\#`)
	return escape.Replace(s)
}
