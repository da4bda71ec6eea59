package labels

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"arzur.net/lb/rules"
)

// redirect reads <code>,<url>. In the path of the URL, $path stands for the
// path of the request without what strip takes off and behind what prepend puts
// there, and brings its query along; as its host, $host stands for the request's.
func (t *fabioTag) redirect(value string) {
	number, target, ok := strings.Cut(value, ",")
	if !ok || target == "" {
		t.leave("redirect: want <code>,<url> such as 301,https://arzur.net$path, got %q", value)
		return
	}
	code, err := strconv.Atoi(number)
	if err != nil || code != 301 && code != 302 && code != 303 && code != 307 && code != 308 {
		t.leave("redirect: %q is no redirect; want 301, 302, 303, 307 or 308", number)
		return
	}
	before, after, takesPath := strings.Cut(target, "$path")
	plain := before
	if takesPath {
		plain = strings.TrimSuffix(before, "/") + "/" + after
	}
	u, err := url.Parse(plain)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || !isVisible(plain) || strings.ContainsAny(before, "?#") {
		t.leave("redirect: want a URL that begins with http:// or https://, with $path in its path, got %q", target)
		return
	}
	stripped, prepended := "", ""
	for _, r := range t.rule.Rewrites {
		for _, prefix := range r.Prefixes {
			stripped = "(?:" + regexp.QuoteMeta(prefix) + ")?"
		}
		prepended += strings.TrimSuffix(r.Replacement, "/")
	}
	to := rules.Redirect{Code: code, Pattern: `^[^/]*//([^/?]*).*$`, Replacement: literal(plain)}
	if takesPath {
		to.Pattern = `^[^/]*//([^/?]*)` + stripped + `/?([^?]*)(\?.*)?$`
		to.Replacement = literal(strings.TrimSuffix(before, "/")+prepended) + "/${2}" + literal(after)
		if u.RawQuery == "" {
			to.Replacement += "${3}"
		}
	}
	if strings.Contains(u.Host, "$host") {
		to.Replacement = strings.Replace(to.Replacement, "$$host", "${1}", 1)
	}
	t.rule.Redirect = &to
	t.rule.Rewrites = nil // nothing is sent on
}

// literal is text that stands for itself in a Replacement.
func literal(text string) string { return strings.ReplaceAll(text, "$", "$$") }

// isVisible says whether text may stand in a Location as it is.
func isVisible(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}
