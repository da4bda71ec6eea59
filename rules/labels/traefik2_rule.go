package labels

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"arzur.net/lb/rules"
)

// syntax2 is how Traefik calls the language of its second generation.
const syntax2 = "v2"

// matchers2 are the matchers of Traefik 2: what each makes of its arguments, of
// which mostly one has to hold. Patterns are those of Traefik 1.
var matchers2 = map[string]func(*rule1, []string) error{
	"Host":          (*rule1).host,
	"HostHeader":    (*rule1).host,
	"HostRegexp":    (*rule1).hostRegexp,
	"Path":          func(r *rule1, args []string) error { return r.paths(args, true, noStrip) },
	"PathPrefix":    func(r *rule1, args []string) error { return r.paths(args, false, noStrip) },
	"Method":        (*rule1).method,
	"Headers":       func(r *rule1, args []string) error { return r.fields("Header", args) },
	"HeadersRegexp": func(r *rule1, args []string) error { return r.fields("HeaderRegexp", args) },
	"Query":         (*rule1).pairs,
	"ClientIP":      func(r *rule1, args []string) error { return r.any("ClientIP", args) },
	"HostSNI":       func(r *rule1, args []string) error { return r.any("HostSNI", args) },
	"HostSNIRegexp": (*rule1).hostSNIRegexp,
}

// parseRule2 turns a rule in the language of Traefik 2 into one of Traefik 3's,
// which is ours.
func parseRule2(text string) (expr string, err error) {
	tree, err := parser.ParseExpr(text) // both are subsets of Go's expressions
	if err != nil {
		return "", err
	}
	return translate2(tree)
}

func translate2(tree ast.Expr) (string, error) {
	switch e := tree.(type) {
	case *ast.ParenExpr:
		inner, err := translate2(e.X)
		return "(" + inner + ")", err
	case *ast.UnaryExpr:
		if e.Op != token.NOT {
			return "", fmt.Errorf("column %d: operator %s; want !, && or ||", e.OpPos, e.Op)
		}
		inner, err := translate2(e.X)
		return "!(" + inner + ")", err
	case *ast.BinaryExpr:
		if e.Op != token.LAND && e.Op != token.LOR {
			return "", fmt.Errorf("column %d: operator %s; want && or ||", e.OpPos, e.Op)
		}
		left, err := translate2(e.X)
		if err != nil {
			return "", err
		}
		right, err := translate2(e.Y)
		return left + " " + e.Op.String() + " " + right, err
	case *ast.CallExpr:
		return matcher2(e)
	}
	return "", fmt.Errorf("column %d: want a matcher such as Host(`example.com`)", tree.Pos())
}

func matcher2(e *ast.CallExpr) (string, error) {
	name, _ := e.Fun.(*ast.Ident)
	if name == nil {
		return "", fmt.Errorf("column %d: want a matcher such as Host(`example.com`)", e.Pos())
	}
	read := lookup2(name.Name)
	if read == nil {
		return "", fmt.Errorf("column %d: unknown matcher %q%s", e.Pos(), name.Name, didYouMean(name.Name, slices.Sorted(maps.Keys(matchers2))))
	}
	var args []string
	for _, arg := range e.Args {
		literal, ok := arg.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return "", fmt.Errorf("column %d: want a string in backquotes or double quotes", arg.Pos())
		}
		text, _ := strconv.Unquote(literal.Value) // the parser has checked it
		if text == "" {
			return "", fmt.Errorf("column %d: %s has an empty argument", arg.Pos(), name.Name)
		}
		args = append(args, text)
	}
	if len(args) == 0 {
		return "", fmt.Errorf("column %d: %s has no argument", e.Pos(), name.Name)
	}
	var r rule1
	if err := read(&r, args); err != nil {
		return "", fmt.Errorf("column %d: %s: %w", e.Pos(), name.Name, err)
	}
	if len(r.all) == 1 {
		return r.all[0], nil
	}
	return "(" + strings.Join(r.all, " && ") + ")", nil
}

// lookup2 is the matcher of a name, which may be written as documented, in lower
// case, in upper case, or with only the first letter in upper case.
func lookup2(written string) func(*rule1, []string) error {
	for name, read := range matchers2 {
		lower := strings.ToLower(name)
		switch written {
		case name, lower, strings.ToUpper(name), strings.ToUpper(lower[:1]) + lower[1:]:
			return read
		}
	}
	return nil
}

// any wants one of the arguments of a matcher to hold.
func (r *rule1) any(matcher string, args []string) error {
	var calls []string
	for _, a := range args {
		calls = append(calls, call(matcher, a))
	}
	r.add(calls)
	return nil
}

func (r *rule1) hostSNIRegexp(args []string) error {
	var calls []string
	for _, a := range args {
		re, err := template1(a, "[^.]+")
		if err != nil {
			return err
		}
		calls = append(calls, call("HostSNIRegexp", "(?i)^"+re+"$"))
	}
	r.add(calls)
	return nil
}

// pattern2 is the beginning of a pattern such as {sub:[a-z]+}. No regular
// expression has a reason to be like that.
var pattern2 = regexp.MustCompile(`\{[A-Za-z_]\w*[:}]`)

// language finds out which of Traefik's languages the text of a rule is in. expr is
// the rule in the third, which is ours; note is what the author should know, and
// why is why the rule cannot be read. Mistakes in the third are left to Compile.
func language(text, syntax, protocol string) (expr, note, why string) {
	compiles := func(expr string) bool {
		r := rules.Rule{Expr: expr, Protocol: protocol}
		return r.Claim() != ""
	}
	third := syntax != syntax2 && compiles(text)
	if third && !pattern2.MatchString(text) {
		return text, "", ""
	}
	second, err := parseRule2(text)
	switch {
	case syntax == syntax2 && err != nil:
		return "", "", fmt.Sprintf("%q: %s", text, err)
	case syntax == syntax2:
		return second, "", ""
	case third && err == nil:
		return text, "the braces look like a pattern of Traefik 2; for Traefik 3, whose language counts, they are text; with ruleSyntax=v2 it is " + second, ""
	case third:
		return text, "", ""
	case err == nil && compiles(second):
		return second, "it is in the language of Traefik 2, which Traefik 3 takes with ruleSyntax=v2 alone; here it counts as " + second, ""
	}
	if first, err := parseRule1(text); err == nil {
		return "", "", fmt.Sprintf("%q is in the language of Traefik 1, that of traefik.frontend.rule; want %s", text, cmp.Or(first.expr, "PathPrefix(`/`)"))
	}
	return text, "", ""
}
