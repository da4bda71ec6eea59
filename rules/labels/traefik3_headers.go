package labels

import (
	"fmt"
	"strings"

	"arzur.net/lb/rules"
)

// securityFields are the response fields that one label of a headers middleware
// sets; for a flag the value is fixed. Where two set the same, the later one counts.
var securityFields = []struct{ label, name, value string }{
	{"frameDeny", "X-Frame-Options", "DENY"},
	{"customFrameOptionsValue", "X-Frame-Options", ""},
	{"contentTypeNosniff", "X-Content-Type-Options", "nosniff"},
	{"browserXssFilter", "X-XSS-Protection", "1; mode=block"},
	{"customBrowserXSSValue", "X-XSS-Protection", ""},
	{"contentSecurityPolicy", "Content-Security-Policy", ""},
	{"contentSecurityPolicyReportOnly", "Content-Security-Policy-Report-Only", ""},
	{"publicKey", "Public-Key-Pins", ""},
	{"referrerPolicy", "Referrer-Policy", ""},
	{"permissionsPolicy", "Permissions-Policy", ""},
	{"featurePolicy", "Feature-Policy", ""},
}

// setHeaders reads a headers middleware: fields to set or, with an empty value, to
// remove, and the fixed security fields.
func (m *middleware) setHeaders() (refuse string) {
	development := m.flag("headers.isDevelopment", false)
	switch hosts := m.list("headers.allowedHosts"); {
	case m.doubtsHeaders() != nil:
		f := m.doubtsHeaders()
		return fmt.Sprintf("label %s cannot be used, and it may protect", f.label)
	case len(hosts) > 0 && !development:
		return "headers.allowedHosts is not supported yet, and it protects"
	}
	m.request = m.customHeaders("headers.customRequestHeaders")
	for _, f := range securityFields {
		if value := m.securityValue("headers."+f.label, f.value); value != "" {
			m.response = follow(m.response, rules.HeaderEdit{Set: []rules.HeaderField{{Name: f.name, Value: value}}})
		}
	}
	m.setTransportSecurity(development)
	m.response = follow(m.response, m.customHeaders("headers.customResponseHeaders"))
	return ""
}

// doubtsHeaders is a label that may have been meant to keep something out, such
// as a field that servers trust.
func (m *middleware) doubtsHeaders() *fault {
	for i := range m.faults {
		if len(m.faults[i].near) == 0 {
			return &m.faults[i]
		}
	}
	return m.doubt("headers.allowedHosts", "headers.customRequestHeaders")
}

func (m *middleware) customHeaders(path string) (e rules.HeaderEdit) {
	for _, v := range m.mapping(path) {
		if v.text == "" {
			e.Remove = append(e.Remove, v.entry)
		} else {
			e.Set = append(e.Set, rules.HeaderField{Name: v.entry, Value: v.text})
		}
	}
	return e
}

// securityValue is what a label sets; fixed is the value of a flag.
func (m *middleware) securityValue(path, fixed string) string {
	if fixed == "" {
		return m.text(path)
	}
	if m.flag(path, false) {
		return fixed
	}
	return ""
}

// setTransportSecurity: the field goes out over https only, unless it is forced
// (RFC 6797 section 7.2).
func (m *middleware) setTransportSecurity(development bool) {
	seconds := m.number("headers.stsSeconds", 0)
	subdomains, preload := m.flag("headers.stsIncludeSubdomains", false), m.flag("headers.stsPreload", false)
	forced := m.flag("headers.forceSTSHeader", false)
	if seconds <= 0 || development {
		return
	}
	var value strings.Builder
	fmt.Fprintf(&value, "max-age=%d", seconds)
	if subdomains {
		value.WriteString("; includeSubDomains")
	}
	if preload {
		value.WriteString("; preload")
	}
	e := rules.HeaderEdit{Set: []rules.HeaderField{{Name: "Strict-Transport-Security", Value: value.String()}}}
	if forced {
		m.response = follow(m.response, e)
	} else {
		m.secure = e
	}
}
