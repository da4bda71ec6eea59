package labels

import (
	"net/textproto"
	"strings"

	"arzur.net/lb/rules"
)

// headers reads what frontend.headers.* sets and removes. It returns what
// responses over TLS get besides.
func (f *frontend) headers(r *rules.Rule) (secure rules.HeaderEdit) {
	f.customHeaders("frontend.headers.customRequestHeaders", &r.RequestHeaders, true)
	f.customHeaders("frontend.headers.customResponseHeaders", &r.ResponseHeaders, false)
	set := func(property, name, value string) {
		if v := f.label(property); v.fieldValue(value) && value != "" {
			r.ResponseHeaders.Set = append(r.ResponseHeaders.Set, rules.HeaderField{Name: name, Value: value})
		}
	}
	text := func(property, name string) { set(property, name, f.label(property).text) }
	// A text replaces what the flag would send.
	either := func(flag, instead, property, name string) {
		switch {
		case f.has(property):
			text(property, name)
		case f.flag(flag, false):
			set(flag, name, instead)
		}
	}
	either("frontend.headers.frameDeny", "DENY", "frontend.headers.customFrameOptionsValue", "X-Frame-Options")
	either("frontend.headers.browserXSSFilter", "1; mode=block", "frontend.headers.customBrowserXSSValue", "X-XSS-Protection")
	if f.flag("frontend.headers.contentTypeNosniff", false) {
		set("frontend.headers.contentTypeNosniff", "X-Content-Type-Options", "nosniff")
	}
	text("frontend.headers.contentSecurityPolicy", "Content-Security-Policy")
	text("frontend.headers.referrerPolicy", "Referrer-Policy")
	if f.flag("frontend.headers.isDevelopment", false) {
		return secure // then Traefik leaves out what is about https
	}
	value := f.transportSecurity()
	switch {
	case value == "":
	case f.flag("frontend.headers.forceSTSHeader", false):
		set("frontend.headers.STSSeconds", "Strict-Transport-Security", value)
	default:
		secure.Set = []rules.HeaderField{{Name: "Strict-Transport-Security", Value: value}}
	}
	return secure
}

// transportSecurity is the value of Strict-Transport-Security, "" for none.
// Without forceSTSHeader it goes out over https only (RFC 6797 section 7.2).
func (f *frontend) transportSecurity() string {
	v := f.label("frontend.headers.STSSeconds")
	seconds := 0
	if v.text == "" || !into(&seconds, within(0, 1<<31-1), v) || seconds == 0 {
		return ""
	}
	value := "max-age=" + strings.TrimLeft(v.text, "+0")
	if f.flag("frontend.headers.STSIncludeSubdomains", false) {
		value += "; includeSubdomains"
	}
	if f.flag("frontend.headers.STSPreload", false) {
		value += "; preload"
	}
	return value
}

// customHeaders reads "Name:value||Name2:value2". A name without a value is removed.
func (f *frontend) customHeaders(property string, e *rules.HeaderEdit, hostAllowed bool) {
	v := f.label(property)
	for part := range strings.SplitSeq(v.text, "||") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		name, value, found := strings.Cut(part, ":")
		name, value = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name)), strings.TrimSpace(value)
		switch {
		case !found:
			v.warn("%q has no colon; want Name:value", strings.TrimSpace(part))
		case !v.fieldName(name, hostAllowed && value != "") || !v.fieldValue(value):
		case value == "":
			e.Remove = append(e.Remove, name)
		default:
			e.Set = append(e.Set, rules.HeaderField{Name: name, Value: value})
		}
	}
}

// sslRedirect is the redirect of frontend.headers.SSLRedirect, nil for none. An
// earlier proxy may have spoken TLS to the client: behind one it would never end.
func (f *frontend) sslRedirect() *redirection {
	if !f.flag("frontend.headers.SSLRedirect", false) || f.flag("frontend.headers.isDevelopment", false) {
		return nil
	}
	if v := f.label("frontend.headers.SSLProxyHeaders"); v.text != "" {
		f.label("frontend.headers.SSLRedirect").warn("there is no redirect: SSLProxyHeaders, which could end it, is not supported yet")
		return nil
	}
	to := &redirection{Redirect: rules.Redirect{Scheme: "https", Code: 301}, toTLS: true}
	if f.flag("frontend.headers.SSLTemporaryRedirect", false) {
		to.Code = 302
	}
	if v := f.label("frontend.headers.SSLHost"); v.text != "" {
		into(&to.Host, hostAlone, v)
	}
	return to
}
