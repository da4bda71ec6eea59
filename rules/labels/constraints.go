package labels

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// constraint says whether a Subject with these labels counts.
type constraint func(labels map[string]string) bool

// parseConstraints reads an expression over Label(`key`, `value`),
// LabelRegex(`key`, `regexp`), Tag(`tag`) and TagRegex(`regexp`) with &&, ||, ! and
// parentheses. A label that is not there counts as an empty one, as in Traefik. A
// tag is a label as one text: its name, or name=value. It also
// reads Traefik 1's list, "tag==blue, tag!=test-*", over the words of the label
// traefik.tags: all its parts have to hold. "" always holds.
func parseConstraints(text string) (constraint, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return func(map[string]string) bool { return true }, nil
	}
	if strings.HasPrefix(text, "tag") {
		return parseTags(text)
	}
	// The language is a subset of Go's expressions, in Traefik too.
	tree, err := parser.ParseExpr(text)
	if err != nil {
		return nil, err
	}
	return newConstraint(tree)
}

func newConstraint(tree ast.Expr) (constraint, error) {
	switch e := tree.(type) {
	case *ast.ParenExpr:
		return newConstraint(e.X)
	case *ast.UnaryExpr:
		c, err := newConstraint(e.X)
		if e.Op != token.NOT {
			err = fmt.Errorf("column %d: operator %s; want !, && or ||", e.OpPos, e.Op)
		}
		return func(l map[string]string) bool { return !c(l) }, err
	case *ast.BinaryExpr:
		return newPair(e)
	case *ast.CallExpr:
		return newLabelMatch(e)
	}
	return nil, fmt.Errorf("column %d: want Label(`key`, `value`) or LabelRegex(`key`, `regexp`)", tree.Pos())
}

func newPair(e *ast.BinaryExpr) (constraint, error) {
	left, err := newConstraint(e.X)
	if err != nil {
		return nil, err
	}
	right, err := newConstraint(e.Y)
	if err != nil {
		return nil, err
	}
	switch e.Op {
	case token.LAND:
		return func(l map[string]string) bool { return left(l) && right(l) }, nil
	case token.LOR:
		return func(l map[string]string) bool { return left(l) || right(l) }, nil
	}
	return nil, fmt.Errorf("column %d: operator %s; want && or ||", e.OpPos, e.Op)
}

// constraintArgs are the functions that an expression calls, with the number of their arguments.
var constraintArgs = map[string]int{"Label": 2, "LabelRegex": 2, "Tag": 1, "TagRegex": 1}

func newLabelMatch(e *ast.CallExpr) (constraint, error) {
	name, _ := e.Fun.(*ast.Ident)
	if name == nil {
		return nil, fmt.Errorf("column %d: want Label or LabelRegex", e.Pos())
	}
	want, known := constraintArgs[name.Name]
	if !known {
		near := didYouMean(name.Name, slices.Sorted(maps.Keys(constraintArgs)))
		return nil, fmt.Errorf("column %d: unknown function %q%s; want Label or LabelRegex", e.Pos(), name.Name, near)
	}
	if len(e.Args) != want {
		return nil, fmt.Errorf("column %d: %s has %d arguments; want %d", e.Pos(), name.Name, len(e.Args), want)
	}
	args := make([]string, want)
	for i, arg := range e.Args {
		literal, ok := arg.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return nil, fmt.Errorf("column %d: want a string in backquotes or double quotes", arg.Pos())
		}
		args[i], _ = strconv.Unquote(literal.Value) // the parser has checked it
	}
	last := args[want-1]
	holds := func(text string) bool { return text == last }
	if strings.HasSuffix(name.Name, "Regex") {
		re, err := regexp.Compile(last)
		if err != nil {
			return nil, fmt.Errorf("column %d: %w", e.Args[want-1].Pos(), err)
		}
		holds = re.MatchString
	}
	if want == 1 {
		return anyTag(holds), nil
	}
	return func(l map[string]string) bool { return holds(l[args[0]]) }, nil
}

// anyTag is a constraint on the tags of a service in a registry, which come as labels.
func anyTag(holds func(tag string) bool) constraint {
	return func(l map[string]string) bool {
		for key, value := range l {
			if value != "" {
				key += "=" + value
			}
			if holds(key) {
				return true
			}
		}
		return false
	}
}

func parseTags(text string) (constraint, error) {
	var all []constraint
	for part := range strings.SplitSeq(text, ",") {
		key, pattern, wanted := strings.Cut(part, "==")
		if !wanted {
			var unwanted bool
			if key, pattern, unwanted = strings.Cut(part, "!="); !unwanted {
				return nil, fmt.Errorf("%q: want tag==value or tag!=value", strings.TrimSpace(part))
			}
		}
		if key = strings.TrimSpace(key); key != "tag" {
			return nil, fmt.Errorf("%q: only tag can be compared", key)
		}
		if pattern = strings.TrimSpace(pattern); pattern == "" {
			return nil, errors.New("tag is compared with nothing")
		}
		c, err := newTagMatch(pattern, wanted)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return func(l map[string]string) bool {
		return !slices.ContainsFunc(all, func(c constraint) bool { return !c(l) })
	}, nil
}

// newTagMatch: one of the tags matches pattern, in which * stands for any text; or none of them does.
func newTagMatch(pattern string, wanted bool) (constraint, error) {
	re, err := regexp.Compile("^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, "(?s:.*)") + "$")
	return func(l map[string]string) bool {
		return slices.ContainsFunc(splitList(l["traefik.tags"]), re.MatchString) == wanted
	}, err
}

// splitList splits at commas, trims, and drops what is empty.
func splitList(s string) []string {
	var list []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}
