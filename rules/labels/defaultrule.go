package labels

import (
	"cmp"
	"fmt"
	"strings"
	"text/template"
	"unicode"

	"arzur.net/lb/rules"
)

// normalize is Traefik's: what is neither letter nor number separates words, and a
// dash joins them.
func normalize(s string) string {
	words := strings.FieldsFunc(s, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) })
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
	expr := strings.TrimSpace(b.String())
	if err != nil || expr == "" || o.RuleSyntax != syntax2 {
		return expr, err
	}
	return parseRule2(expr)
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
