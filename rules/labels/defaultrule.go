package labels

import (
	"cmp"
	"fmt"
	"strings"
	"text/template"
	"unicode"

	"arzur.net/lb/rules"
)

// templateFuncs are what a default rule may call: Traefik's normalize, and those
// of the sprig functions that default rules are written with, with sprig's order of arguments.
var templateFuncs = template.FuncMap{
	"normalize":  normalize,
	"lower":      strings.ToLower,
	"upper":      strings.ToUpper,
	"trimPrefix": func(prefix, s string) string { return strings.TrimPrefix(s, prefix) },
	"trimSuffix": func(suffix, s string) string { return strings.TrimSuffix(s, suffix) },
	"hasPrefix":  func(prefix, s string) bool { return strings.HasPrefix(s, prefix) },
	"hasSuffix":  func(suffix, s string) bool { return strings.HasSuffix(s, suffix) },
	"contains":   func(part, s string) bool { return strings.Contains(s, part) },
	"replace":    func(old, with, s string) string { return strings.ReplaceAll(s, old, with) },
	"splitList":  func(sep, s string) []string { return strings.Split(s, sep) },
	"join":       func(sep string, list []string) string { return strings.Join(list, sep) },
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
	"default": func(instead, value any) any {
		if truth, _ := template.IsTrue(value); truth {
			return value
		}
		return instead
	},
}

// normalize is Traefik's: what is neither letter nor digit separates words, and a
// dash joins them.
func normalize(s string) string {
	words := strings.FieldsFunc(s, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	return strings.Join(words, "-")
}

// defaultExpr is the expression of a Subject whose labels name none. "" means
// that the template wants no rule for it. A domain counts unless somebody wrote a template.
func defaultExpr(s *Subject, o *Options) (string, error) {
	text := cmp.Or(o.DefaultRule, DefaultOptions.DefaultRule)
	if domain := cmp.Or(s.Labels["traefik.domain"], o.Domain); domain != "" && text == DefaultOptions.DefaultRule {
		return fmt.Sprintf("Host(`%s.%s`)", domainLabel(s), strings.TrimPrefix(domain, ".")), nil
	}
	t, err := template.New("default_rule").Funcs(templateFuncs).Parse(text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, struct {
		Name, ContainerName string
		Labels              map[string]string
	}{s.Service, s.Name, s.Labels})
	return strings.TrimSpace(b.String()), err
}

// domainLabel is what Traefik 1 puts in front of the domain.
func domainLabel(s *Subject) string {
	if s.Project != "" && s.Member != "" {
		return s.Member + "." + s.Project
	}
	return strings.NewReplacer("/", "-", "_", "-").Replace(strings.TrimPrefix(s.Name, "/"))
}

// addDefaultRule makes the rule of a Subject whose labels name none. It is called
// like Traefik's: as the Subject's service.
func addDefaultRule(s *Subject, o *Options, w *Wants, service string) {
	expr, err := defaultExpr(s, o)
	if err != nil {
		w.reject(s, "", s.Service, "default_rule: %s", err)
		return
	}
	if expr == "" {
		return
	}
	port, ok := o.EntryPoints[o.DefaultEntryPoint]
	if !ok {
		w.reject(s, "", s.Service, "the default entry point %q is not among entry_points", o.DefaultEntryPoint)
		return
	}
	w.Rules = append(w.Rules, rules.Rule{
		Name: s.Service, Origin: s.Origin, Port: port,
		Expr: expr, Priority: TraefikPriority(len(expr)), Service: service,
	})
}
