package labels

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"arzur.net/lb/rules"
)

// stripping says what a matcher of paths takes away from the path.
type stripping uint8

const (
	noStrip     stripping = iota
	strip                 // the argument, as text; of several the longest first
	stripRegexp           // what the pattern matched
)

// slashes are the paths of a Path that differ from the configured ones in the
// final slash. Traefik 1 redirects from them.
type slashes struct {
	part    int      // of rule1.all
	surplus []string // matchers of paths with a slash that was not configured
	missing []string // of paths without one that was
}

// paths reads Path and PathPrefix, and what is derived from them.
func (r *rule1) paths(args []string, exact bool, take stripping) error {
	name, end := "PathPrefix", ""
	if exact {
		name, end = "Path", "$"
	}
	var calls, patterns []string
	templates, other := false, slashes{part: len(r.all)}
	for _, a := range args {
		if !strings.HasPrefix(a, "/") {
			return fmt.Errorf("%q has no leading slash; want %q", a, "/"+a)
		}
		pattern, err := template1(a, "[^/]+")
		if err != nil {
			return err
		}
		patterns = append(patterns, pattern)
		if strings.ContainsAny(a, "{}") {
			templates = true
			calls = append(calls, call("PathRegexp", "^"+pattern+end))
		} else {
			calls = append(calls, call(name, a))
		}
		if exact && !slices.Contains(args, otherSlash(a)) {
			other.add(a, pattern)
		}
	}
	if exact {
		r.slashes = other
	}
	r.add(calls)
	switch {
	case take == stripRegexp, take == strip && templates:
		r.edits[editStripRegexp] = &rules.Rewrite{Kind: rules.StripPrefixRegexp, Pattern: "^(?:" + strings.Join(patterns, "|") + ")"}
	case take == strip:
		prefixes := make([]string, len(args))
		for i, a := range args {
			prefixes[i] = wirePath(a)
		}
		slices.SortStableFunc(prefixes, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
		r.edits[editStrip] = &rules.Rewrite{Kind: rules.StripPrefixes, Prefixes: prefixes}
	}
	return nil
}

// otherSlash is a path with the final slash that it lacks, or without the one that it has.
func otherSlash(path string) string {
	if bare, slash := strings.CutSuffix(path, "/"); slash {
		return bare
	}
	return path + "/"
}

// add adds the other spelling of a configured path.
func (s *slashes) add(path, pattern string) {
	matcher := func(path, pattern string) string {
		if strings.ContainsAny(path, "{}") {
			return call("PathRegexp", "^"+pattern+"$")
		}
		return call("Path", path)
	}
	switch bare, slash := strings.CutSuffix(path, "/"); {
	case !slash:
		s.surplus = append(s.surplus, matcher(path+"/", pattern+"/"))
	case bare != "":
		s.missing = append(s.missing, matcher(bare, strings.TrimSuffix(pattern, "/")))
	}
}

// slashRules are the rules that redirect to the configured spelling of a path,
// for the rule that base was made of.
func (r *rule1) slashRules(base rules.Rule, service string) []rules.Rule {
	var list []rules.Rule
	for _, fix := range []struct {
		calls                      []string
		name, pattern, replacement string
	}{
		{r.slashes.surplus, "-without-slash", `^([^?]*)/(\?.*)?$`, "$1$2"},
		{r.slashes.missing, "-with-slash", `^([^?]*)(\?.*)?$`, "$1/$2"},
	} {
		if len(fix.calls) == 0 {
			continue
		}
		all := slices.Clone(r.all)
		all[r.slashes.part] = either(fix.calls)
		list = append(list, rules.Rule{
			Name: base.Name + fix.name, Origin: base.Origin, Port: base.Port, Protocol: base.Protocol,
			Expr: strings.Join(all, " && "), Priority: base.Priority, Service: service,
			Redirect: &rules.Redirect{Pattern: fix.pattern, Replacement: fix.replacement, Code: 301},
		})
	}
	return list
}

// template1 turns a pattern of Traefik 1 into a regular expression: text stands
// for itself, {name:re} for what re matches, {name} for what instead matches.
func template1(pattern, instead string) (string, error) {
	var b strings.Builder
	for rest := pattern; rest != ""; {
		open := strings.IndexAny(rest, "{}")
		if open < 0 {
			b.WriteString(regexp.QuoteMeta(rest))
			break
		}
		end := closing(rest[open:])
		if end < 0 {
			return "", fmt.Errorf("%q: the braces are not in pairs", pattern)
		}
		b.WriteString(regexp.QuoteMeta(rest[:open]))
		name, re, given := strings.Cut(rest[open+1:open+end], ":")
		if !given {
			re = instead
		}
		if strings.TrimSpace(name) == "" || re == "" {
			return "", fmt.Errorf("%q: want {name} or {name:expression}", pattern)
		}
		if _, err := regexp.Compile(re); err != nil {
			return "", fmt.Errorf("%q: %w", pattern, err)
		}
		b.WriteString("(?:" + re + ")")
		rest = rest[open+end+1:]
	}
	return b.String(), nil
}

// closing is the index of the brace that closes the one that s begins with, -1
// without one.
func closing(s string) int {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			depth++
		case '}':
			depth--
		}
		if depth <= 0 {
			return i + depth // -1 when s begins with a closing brace
		}
	}
	return -1
}
