package labels

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"arzur.net/lb/rules"
)

// protectiveWords are in the names of labels that keep requests out, in lower case.
var protectiveWords = []string{
	"basicauth", "digestauth", "forwardauth", "ipallowlist", "ipwhitelist", "whitelist", "whitelistsourcerange", "sourcerange",
	"ratelimit", "inflightreq", "passtlscert", "passtlsclientcert", "allowedhosts", "middlewares", "plugin",
}

// protectiveParts are in words that people guess.
var protectiveParts = []string{
	"auth", "login", "password", "passwd", "passphrase", "credential", "secret", "basic", "digest", "oidc", "jwt", "saml", "ldap",
	"allow", "deny", "denied", "permit", "forbid", "restrict", "protect", "whitelist", "blacklist", "blocklist", "firewall", "ipfilter",
	"ratelimit", "throttle", "mtls", "clientcert", "clientca", "verifyclient",
}

// protectiveStart is for parts that other words have inside, such as lesson and
// insecure: here a word begins with them, alone or joined to others as in ip_acl.
var protectiveStart = regexp.MustCompile(`(^|_)(acl|sso|secur|user|block)`)

var (
	humps   = regexp.MustCompile(`([a-z0-9])([A-Z])`)
	toSnake = strings.NewReplacer("-", "_", " ", "_")
)

// protects says whether a name of a label that nobody understands has a word of
// those that keep requests out. A misspelt one counts.
func protects(name string) bool {
	return slices.ContainsFunc(strings.Split(name, "."), func(word string) bool {
		word, _, _ = strings.Cut(word, "[")
		snake := strings.ToLower(toSnake.Replace(humps.ReplaceAllString(word, "${1}_$2")))
		word = strings.ReplaceAll(snake, "_", "")
		return protectiveStart.MatchString(snake) || len(rules.NearMisses(word, protectiveWords)) > 0 ||
			slices.ContainsFunc(protectiveParts, func(part string) bool { return strings.Contains(word, part) })
	})
}

// mayProtect is protects for a whole label of Traefik's. A middleware alone
// protects nobody, and a router that names an unknown one serves nothing anyway.
func mayProtect(key string) bool {
	if !isTraefik3(key) {
		return protects(key)
	}
	words := strings.Split(key, ".") // traefik.http.routers.<name>.<path>
	if len(words) > 3 && len(rules.NearMisses(words[2], []string{"middlewares"})) > 0 {
		return false
	}
	return protects(strings.Join(words[min(4, len(words)-1):], "."))
}

// refuseAll has all rules of the Subject answer 503, because of a label that may
// have been meant to protect any of them.
func (w *Wants) refuseAll(s *Subject, label, reason string) {
	w.reject(s, label, "", "%s; the rules answer 503, because this may be meant to protect", reason)
	w.refusal = cmp.Or(w.refusal, "unknown label "+label+", which may be meant to protect")
}

// refuse is the end of Decode: what refuses all rules has to be known of all dialects.
func (w *Wants) refuse() {
	for i := range w.Rules {
		w.Rules[i].Refuse = cmp.Or(w.Rules[i].Refuse, w.refusal)
	}
}
