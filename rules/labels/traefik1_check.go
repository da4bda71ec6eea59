package labels

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"arzur.net/lb/rules"
)

// check reports the labels that do not count. Known says that there is one that
// does; refuse, if not "", why the rule must not serve.
func (f *frontend) check() (refuse string, known bool) {
	for _, p := range f.below("") {
		v := f.label(p)
		m, ok := meaning1(p)
		known = known || ok
		switch {
		case !ok && f.o.mentions(v.key):
		case !ok:
			if f.unknown(p, v) {
				refuse = "unknown label " + v.key + ", which may be meant to protect"
			}
		case m == elsewhere:
			v.warn("it means nothing for containers")
		case m == unsupported && !isFalse(v.text):
			v.warn("not supported yet%s", instead1[p])
		}
	}
	for _, p := range protections1 {
		if what := p(f); what != "" && refuse == "" {
			refuse = what + " is not supported yet"
		}
	}
	return refuse, known
}

// instead1 says of a property that is not supported how it differs from what is.
var instead1 = map[string]string{
	"backend.maxconn.amount": ": max_connections of lb is for each server and has requests wait, where this is for all of them together and answers 429",
}

func isFalse(text string) bool {
	b, err := strconv.ParseBool(text)
	return err == nil && !b
}

// unknown notes an unknown label, and says whether it may be a protection.
func (f *frontend) unknown(property string, v labelValue) (may bool) {
	meant := make(map[string]string) // properties, by label
	for p := range meanings1 {
		meant[strings.TrimSuffix(v.key, property)+p] = p
	}
	if segment, _, dotted := strings.Cut(property, "."); dotted && segment != "frontend" && segment != "backend" && v.key == "traefik."+property {
		for p := range meanings1 {
			meant["traefik."+segment+"."+p] = p
		}
	}
	near := nearWords(v.key, slices.Sorted(maps.Keys(meant)))
	meantToProtect := len(near) > 0 && meanings1[meant[near[0]]] == protection
	if may = meantToProtect || protects(property); may && !meantToProtect {
		near = nil // it would lead away from what was meant
	}
	if may {
		v.reject("", "the rule answers 503, because this may be meant to protect: unknown label%s", asked(near))
	} else {
		v.warn("unknown label%s", asked(near))
	}
	return may
}

// nearWords lists the labels that key may be a misspelling of: of the whole, or of
// one word of it.
func nearWords(key string, known []string) []string {
	if near := rules.NearMisses(key, known); len(near) > 0 {
		return near
	}
	words := strings.Split(key, ".")
	for _, label := range known {
		parts := strings.Split(label, ".")
		if len(parts) != len(words) {
			continue
		}
		misspelt := 0
		for i, word := range words {
			switch {
			case strings.EqualFold(word, parts[i]):
			case len(rules.NearMisses(word, parts[i:i+1])) > 0:
				misspelt++
			default:
				misspelt += len(words)
			}
		}
		if misspelt < len(words) {
			return []string{label}
		}
	}
	return nil
}

// protections1 each say what protection the frontend asks for, "" if not for
// theirs, and note it. What Traefik 1 takes for no protection is none here, too.
var protections1 = []func(*frontend) string{
	func(f *frontend) string {
		return f.protection("basic authentication", f.below("frontend.auth.basic")...)
	},
	func(f *frontend) string {
		return f.protection("digest authentication", f.below("frontend.auth.digest.")...)
	},
	func(f *frontend) string {
		return f.protection("authentication by another service", f.below("frontend.auth.forward.")...)
	},
	func(f *frontend) string {
		v := f.label("frontend.auth.headerField")
		if v.text != "" && len(f.below("frontend.auth.")) == 1 {
			v.warn("it has no effect without users or a service to ask")
		}
		return ""
	},
	func(f *frontend) string {
		ranges := slices.Concat(f.below("frontend.whiteList.sourceRange"), f.below("frontend.whitelistSourceRange"))
		if v := f.label("frontend.whiteList.useXForwardedFor"); v.text != "" && len(ranges) == 0 {
			v.warn("it has no effect without whiteList.sourceRange")
		}
		return f.protection("a list of allowed addresses", ranges...)
	},
	func(f *frontend) string {
		extractor, sets := f.below("frontend.rateLimit.extractorFunc"), f.below("frontend.rateLimit.rateSet.")
		if len(extractor) > 0 && len(sets) > 0 {
			return f.protection("a limit of the request rate", extractor...)
		}
		for _, p := range slices.Concat(extractor, sets) {
			f.label(p).warn("it has no effect: a limit needs both extractorFunc and a rateSet")
		}
		return ""
	},
	func(f *frontend) string {
		by := f.label("backend.maxconn.extractorfunc")
		if f.label("backend.maxconn.amount").text == "" || by.text == "" || by.text == "request.host" {
			return "" // it is about load
		}
		return f.protection("a limit of requests by client", "backend.maxconn.extractorfunc")
	},
	func(f *frontend) string {
		wanted := slices.DeleteFunc(f.below("frontend.passTLS"), func(p string) bool { return isFalse(f.label(p).text) })
		return f.protection("handing on client certificates", wanted...)
	},
	func(f *frontend) string {
		if f.flag("frontend.headers.isDevelopment", false) {
			return ""
		}
		return f.protection("a list of allowed hosts", f.below("frontend.headers.allowedHosts")...)
	},
}

// protection notes that the frontend asks for what the properties want.
func (f *frontend) protection(what string, properties ...string) string {
	known := false
	for _, p := range properties {
		if _, ok := meaning1(p); !ok {
			continue // said already
		}
		known = true
		f.label(p).reject(f.name(f.label("frontend.rule").text), "%s is not supported yet; the rule answers 503, because without it everybody would get in", what)
	}
	if !known {
		return ""
	}
	return what
}
