package labels

import (
	"fmt"
	"regexp"
	"strings"
	"text/template"
)

// templateFuncs are what a default rule may call: Traefik's normalize, and those
// functions of sprig that make one text of others, with sprig's order of arguments.
var templateFuncs = template.FuncMap{
	"normalize": normalize,

	"lower":      strings.ToLower,
	"upper":      strings.ToUpper,
	"trim":       strings.TrimSpace,
	"trimAll":    func(chars, s string) string { return strings.Trim(s, chars) },
	"trimPrefix": func(prefix, s string) string { return strings.TrimPrefix(s, prefix) },
	"trimSuffix": func(suffix, s string) string { return strings.TrimSuffix(s, suffix) },
	"nospace":    func(s string) string { return strings.Join(strings.Fields(s), "") },
	"trunc":      trunc,
	"substr":     substr,
	"replace":    func(old, with, s string) string { return strings.ReplaceAll(s, old, with) },
	"quote":      func(s string) string { return fmt.Sprintf("%q", s) },

	"hasPrefix":       func(prefix, s string) bool { return strings.HasPrefix(s, prefix) },
	"hasSuffix":       func(suffix, s string) bool { return strings.HasSuffix(s, suffix) },
	"contains":        func(part, s string) bool { return strings.Contains(s, part) },
	"regexMatch":      func(re, s string) (bool, error) { return regexp.MatchString(re, s) },
	"regexFind":       regexFind,
	"regexReplaceAll": regexReplaceAll,

	"splitList": func(sep, s string) []string { return strings.Split(s, sep) },
	"split":     split,
	"list":      func(words ...string) []string { return words },
	"join":      func(sep string, list []string) string { return strings.Join(list, sep) },
	"first": func(list []string) string {
		if len(list) == 0 {
			return ""
		}
		return list[0]
	},
	"last": func(list []string) string {
		if len(list) == 0 {
			return ""
		}
		return list[len(list)-1]
	},

	"get":    func(m map[string]string, key string) string { return m[key] },
	"hasKey": func(m map[string]string, key string) bool { _, has := m[key]; return has },
	"empty":  func(value any) bool { return !truth(value) },
	"default": func(instead, value any) any {
		if truth(value) {
			return value
		}
		return instead
	},
	"coalesce": func(values ...any) any {
		for _, v := range values {
			if truth(v) {
				return v
			}
		}
		return ""
	},
	"ternary": func(yes, no any, is bool) any {
		if is {
			return yes
		}
		return no
	},
}

func truth(value any) bool {
	is, _ := template.IsTrue(value)
	return is
}

// trunc keeps the first n letters, or the last -n.
func trunc(n int, s string) string {
	switch {
	case n >= 0 && n < len(s):
		return s[:n]
	case n < 0 && -n < len(s):
		return s[len(s)+n:]
	}
	return s
}

func substr(from, to int, s string) string {
	if to < 0 || to > len(s) {
		to = len(s)
	}
	return s[min(max(from, 0), to):to]
}

// split makes {{ (split "-" .Name)._0 }} the first part.
func split(sep, s string) map[string]string {
	parts := make(map[string]string)
	for i, part := range strings.Split(s, sep) {
		parts[fmt.Sprintf("_%d", i)] = part
	}
	return parts
}

func regexFind(pattern, s string) (string, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return "", err
	}
	return re.FindString(s), nil
}

func regexReplaceAll(pattern, s, replacement string) (string, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return "", err
	}
	return re.ReplaceAllString(s, replacement), nil
}
