package labels

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"arzur.net/lb/rules"
)

// rule1 is a rule in Traefik 1's language, in our words.
//
//	rule = part { ";" part }           all parts have to hold; blank ones are skipped
//	part = Name ":" arg { "," arg }    one of the args has to hold
//
// Headers and HeadersRegexp take pairs, Query takes pairs key=value, and all of them have to
// hold. AddPrefix, ReplacePath and ReplacePathRegex match everything and edit the path.
type rule1 struct {
	expr     string // "" matches everything
	rewrites []rules.Rewrite
	lost     []string // what is not in force, and why

	all     []string          // what has to hold
	edits   [5]*rules.Rewrite // in the order in which Traefik 1 applies them
	slashes slashes
}

// Indexes of rule1.edits.
const (
	editStripRegexp = iota
	editStrip
	editAdd
	editReplaceRegexp
	editReplace
)

// parts1 are the words of the language: what each makes of its arguments.
var parts1 = map[string]func(*rule1, []string) error{
	"Host":                 (*rule1).host,
	"HostRegexp":           (*rule1).hostRegexp,
	"Path":                 func(r *rule1, args []string) error { return r.paths(args, true, noStrip) },
	"PathStrip":            func(r *rule1, args []string) error { return r.paths(args, true, strip) },
	"PathStripRegex":       func(r *rule1, args []string) error { return r.paths(args, true, stripRegexp) },
	"PathPrefix":           func(r *rule1, args []string) error { return r.paths(args, false, noStrip) },
	"PathPrefixStrip":      func(r *rule1, args []string) error { return r.paths(args, false, strip) },
	"PathPrefixStripRegex": func(r *rule1, args []string) error { return r.paths(args, false, stripRegexp) },
	"Headers":              func(r *rule1, args []string) error { return r.fields("Header", args) },
	"HeadersRegexp":        func(r *rule1, args []string) error { return r.fields("HeaderRegexp", args) },
	"Method":               (*rule1).method,
	"Query":                (*rule1).query,
	"AddPrefix":            (*rule1).addPrefix,
	"ReplacePath":          (*rule1).replacePath,
	"ReplacePathRegex":     (*rule1).replacePathRegexp,
}

var names1 = slices.Sorted(maps.Keys(parts1))

// parseRule1 reads a rule.
func parseRule1(text string) (*rule1, error) {
	r := &rule1{}
	parts := splitNonEmpty(text, ';')
	if len(parts) == 0 {
		return nil, errors.New("it is empty; want something like Host:example.com")
	}
	for _, part := range parts {
		// Repeated colons count as one, and one at the end as none.
		words := strings.FieldsFunc(part, func(c rune) bool { return c == ':' })
		name := ""
		if len(words) > 0 {
			name = strings.TrimSpace(words[0])
		}
		read := parts1[name]
		if read == nil {
			return nil, fmt.Errorf("unknown matcher %q%s", name, orKnown(name))
		}
		args := splitNonEmpty(strings.Join(words[1:], ":"), ',')
		if len(args) == 0 {
			return nil, fmt.Errorf("%s has no argument", name)
		}
		if err := read(r, args); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	r.expr = strings.Join(r.all, " && ")
	for _, edit := range r.edits {
		if edit != nil {
			r.rewrites = append(r.rewrites, *edit)
		}
	}
	return r, nil
}

// orKnown is what may have been meant by the name of a matcher.
func orKnown(name string) string {
	if hint := didYouMean(name, names1); hint != "" {
		return hint
	}
	return "; known are " + strings.Join(names1, ", ")
}

// splitNonEmpty splits text and trims the parts; those that are blank are left out.
func splitNonEmpty(text string, separator rune) []string {
	var list []string
	for _, part := range strings.FieldsFunc(text, func(c rune) bool { return c == separator }) {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// call is a matcher of our language with its arguments.
func call(name string, args ...string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		if strconv.CanBackquote(a) {
			quoted[i] = "`" + a + "`"
		} else {
			quoted[i] = strconv.Quote(a)
		}
	}
	return name + "(" + strings.Join(quoted, ", ") + ")"
}

// either wants one of the matchers to hold.
func either(calls []string) string {
	if len(calls) == 1 {
		return calls[0]
	}
	return "(" + strings.Join(calls, " || ") + ")"
}

func (r *rule1) add(calls []string) { r.all = append(r.all, either(calls)) }

func (r *rule1) host(args []string) error {
	var calls []string
	for _, a := range args {
		if err := noWildcard(a); err != nil {
			return err
		}
		calls = append(calls, call("Host", strings.ToLower(a)))
	}
	r.add(calls)
	return nil
}

// noWildcard: in Traefik 1 and 2 a star in the name of a host stands for itself.
func noWildcard(host string) error {
	if !strings.Contains(host, "*") {
		return nil
	}
	return fmt.Errorf("%q: a star is no wildcard here; want HostRegexp with %s", host, strings.Replace(host, "*", "{any:.+}", 1))
}

func (r *rule1) hostRegexp(args []string) error {
	var calls []string
	for _, a := range args {
		if err := noWildcard(a); err != nil && !strings.ContainsAny(a, "{}") {
			return err
		}
		if !strings.ContainsAny(a, "{}") {
			calls = append(calls, call("Host", strings.ToLower(a)))
			continue
		}
		re, err := template1(a, "[^.]+")
		if err != nil {
			return err
		}
		calls = append(calls, call("HostRegexp", "(?i)^"+re+"$"))
	}
	r.add(calls)
	return nil
}

func (r *rule1) method(args []string) error {
	var calls []string
	for _, a := range args {
		calls = append(calls, call("Method", strings.ToUpper(a)))
	}
	r.add(calls)
	return nil
}

func (r *rule1) fields(matcher string, args []string) error {
	if len(args)%2 != 0 {
		return fmt.Errorf("%d arguments; want pairs of a name and a value", len(args))
	}
	for pair := range slices.Chunk(args, 2) {
		r.all = append(r.all, call(matcher, pair[0], pair[1]))
	}
	return nil
}

func (r *rule1) query(args []string) error {
	for _, a := range args {
		if strings.Count(a, "=") > 1 {
			return fmt.Errorf("%q; want key=value", a)
		}
	}
	return r.pairs(args)
}

// pairs wants all pairs key=value to be in the query.
func (r *rule1) pairs(args []string) error {
	for _, a := range args {
		key, value, found := strings.Cut(a, "=")
		if !found || key == "" {
			return fmt.Errorf("%q; want key=value", a)
		}
		switch {
		case value == "":
			r.all = append(r.all, call("QueryRegexp", key, ".*")) // it is there
		case strings.ContainsAny(value, "{}"):
			re, err := template1(value, ".*")
			if err != nil {
				return err
			}
			r.all = append(r.all, call("QueryRegexp", key, "^"+re+"$"))
		default:
			r.all = append(r.all, call("Query", key, value))
		}
	}
	return nil
}

func (r *rule1) addPrefix(args []string) error {
	r.edits[editAdd] = &rules.Rewrite{Kind: rules.AddPrefix, Replacement: wirePath(r.last(args))}
	return nil
}

func (r *rule1) replacePath(args []string) error {
	r.edits[editReplace] = &rules.Rewrite{Kind: rules.ReplacePath, Replacement: wirePath(r.last(args))}
	return nil
}

// wirePath is a path as it stands in a request.
func wirePath(s string) string {
	if !strings.HasPrefix(s, "/") {
		s = "/" + s
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			u := url.URL{Path: s}
			return u.EscapedPath()
		}
	}
	return s
}

// replacePathRegexp takes "pattern replacement". One that cannot be read does
// not count; the rule does.
func (r *rule1) replacePathRegexp(args []string) error {
	pattern, replacement, found := strings.Cut(r.last(args), " ")
	if replacement = strings.TrimSpace(replacement); !found || strings.Contains(replacement, " ") {
		r.lost = append(r.lost, fmt.Sprintf("ReplacePathRegex: %q; want a pattern, a blank and a replacement", r.last(args)))
		return nil
	}
	if _, err := regexp.Compile(pattern); err != nil {
		r.lost = append(r.lost, "ReplacePathRegex: "+err.Error())
		return nil
	}
	r.edits[editReplaceRegexp] = &rules.Rewrite{Kind: rules.ReplacePathRegexp, Pattern: pattern, Replacement: replacement}
	return nil
}

// last is the one argument of an edit.
func (r *rule1) last(args []string) string {
	if len(args) > 1 {
		lost := fmt.Sprintf("%q: an edit of the path has one argument, and the last one counts; a comma cannot be part of it", strings.Join(args, ","))
		if !slices.Contains(r.lost, lost) {
			r.lost = append(r.lost, lost)
		}
	}
	return args[len(args)-1]
}
