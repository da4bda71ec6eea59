package rules

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// node is an expression as it was parsed: a call of a matcher (name and args),
// or an operator over left and, but for "!", right.
type node struct {
	op          string // "&&", "||", "!", or "" for a call
	left, right *node
	name        string // in the spelling of the list of known names
	args        []arg
	at          int // offset in the text
}

type arg struct {
	value string
	at    int
}

// String is the expression in one canonical spelling.
func (n *node) String() string {
	var b strings.Builder
	n.write(&b)
	return b.String()
}

func (n *node) write(b *strings.Builder) {
	switch n.op {
	case "":
		b.WriteString(n.name + "(")
		for i, a := range n.args {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(strconv.Quote(a.value))
		}
		b.WriteString(")")
	case "!":
		b.WriteString("!")
		n.left.write(b)
	default:
		b.WriteString("(")
		n.left.write(b)
		b.WriteString(" " + n.op + " ")
		n.right.write(b)
		b.WriteString(")")
	}
}

// template is the first argument about the host with a {name:pattern} of Traefik
// 2's, which stands for itself here and in Traefik 3, where no host has a brace;
// "" without one.
func (n *node) template() string {
	switch {
	case n == nil:
		return ""
	case n.op != "":
		return cmp.Or(n.left.template(), n.right.template())
	case !strings.HasPrefix(n.name, "Host"):
		return ""
	}
	for _, a := range n.args {
		if templatePattern.MatchString(a.value) {
			return a.value
		}
	}
	return ""
}

var templatePattern = regexp.MustCompile(`\{[A-Za-z_]\w*:`)

// deepest is how many parentheses and negations may be nested: far beyond what
// anybody writes, and far from the end of the stack.
const deepest = 100

// exprParser reads Traefik 3's matcher language:
//
//	expr  = and { "||" and }
//	and   = unary { "&&" unary }
//	unary = { "!" } ( "(" expr ")" | Name "(" [ string { "," string } ] ")" )
//
// A string is in backquotes, or in double quotes with Go's escapes.
type exprParser struct {
	text  string
	at    int
	depth int
	known []string
}

// errorAt points at a column, counted in characters from 1.
type errorAt struct {
	at  int
	err error
}

func (e *errorAt) Error() string { return e.err.Error() }

func failAt(at int, format string, args ...any) error {
	return &errorAt{at, fmt.Errorf(format, args...)}
}

// inRule turns the offset of an errorAt into a column of text.
func inRule(text string, err error) error {
	var e *errorAt
	if errors.As(err, &e) {
		return fmt.Errorf("rule: column %d: %w", utf8.RuneCountInString(text[:e.at])+1, e.err)
	}
	return fmt.Errorf("rule: %w", err)
}

// parseExpr parses text, in which the known matchers may stand. Their names may be
// written as given, in lower case, in upper case, or with only the first letter in upper case.
func parseExpr(text string, known []string) (*node, error) {
	if at := strings.IndexFunc(text, func(r rune) bool { return r == utf8.RuneError || r == 0 }); at >= 0 {
		return nil, failAt(at, "a character that is not valid UTF-8, or NUL")
	}
	p := &exprParser{text: text, known: known}
	n, err := p.or()
	if err == nil && p.next() != 0 {
		err = failAt(p.at, "%s after the end of the expression; want && or ||", p.found())
	}
	if err != nil {
		return nil, err
	}
	return n, nil
}

// next skips blanks and returns the byte there, 0 at the end.
func (p *exprParser) next() byte {
	p.at += len(p.text[p.at:]) - len(strings.TrimLeft(p.text[p.at:], " \t\r\n"))
	if p.at == len(p.text) {
		return 0
	}
	return p.text[p.at]
}

// found names what stands at the current offset.
func (p *exprParser) found() string {
	if p.next() == 0 {
		return "nothing"
	}
	if name := p.peekName(); name != "" {
		return strconv.Quote(name)
	}
	_, size := utf8.DecodeRuneInString(p.text[p.at:])
	return strconv.Quote(p.text[p.at : p.at+size])
}

func (p *exprParser) operator(op string) bool {
	if p.next() == 0 || !strings.HasPrefix(p.text[p.at:], op) {
		return false
	}
	p.at += len(op)
	return true
}

func (p *exprParser) or() (*node, error)  { return p.chain("||", p.and) }
func (p *exprParser) and() (*node, error) { return p.chain("&&", p.unary) }

// chain parses operands of one binary operator, which binds to the left.
func (p *exprParser) chain(op string, operand func() (*node, error)) (*node, error) {
	left, err := operand()
	for err == nil {
		p.next()
		at := p.at
		if !p.operator(op) {
			break
		}
		var right *node
		right, err = operand()
		left = &node{op: op, left: left, right: right, at: at}
	}
	return left, err
}

func (p *exprParser) unary() (*node, error) {
	if p.depth++; p.depth > deepest {
		return nil, failAt(p.at, "more than %d nested parentheses and negations", deepest)
	}
	defer func() { p.depth-- }()
	at := p.at
	switch {
	case p.operator("!"):
		n, err := p.unary()
		return &node{op: "!", left: n, at: at}, err
	case p.operator("("):
		n, err := p.or()
		if err == nil && !p.operator(")") {
			err = failAt(p.at, "%s where the closing parenthesis should be", p.found())
		}
		return n, err
	}
	return p.call()
}

func (p *exprParser) call() (*node, error) {
	if p.next() == 0 {
		return nil, failAt(p.at, "the expression ends where a matcher should be, such as Host(`example.com`)")
	}
	n := &node{at: p.at}
	written := p.peekName()
	if written == "" {
		return nil, failAt(p.at, "%s where a matcher should be, such as Host(`example.com`)", p.found())
	}
	if n.name = p.lookup(written); n.name == "" {
		return nil, failAt(p.at, "unknown matcher %q; %s", written, hint(written, p.known))
	}
	p.at += len(written)
	if !p.operator("(") {
		return nil, failAt(p.at, "%s after %s; want its argument in parentheses", p.found(), written)
	}
	if p.operator(")") {
		return n, nil
	}
	for {
		a, err := p.string()
		if err != nil {
			return nil, err
		}
		n.args = append(n.args, a)
		switch {
		case p.operator(")"):
			return n, nil
		case !p.operator(","):
			return nil, failAt(p.at, "%s in the arguments of %s; want a comma or the closing parenthesis", p.found(), written)
		}
	}
}

func (p *exprParser) peekName() string {
	rest := p.text[p.at:]
	end := strings.IndexFunc(rest, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if end < 0 {
		return rest
	}
	return rest[:end]
}

// lookup is the known name that was written, "" for none.
func (p *exprParser) lookup(written string) string {
	for _, name := range p.known {
		lower := strings.ToLower(name)
		switch written {
		case name, lower, strings.ToUpper(name), strings.ToUpper(lower[:1]) + lower[1:]:
			return name
		}
	}
	return ""
}

func (p *exprParser) string() (arg, error) {
	p.next()
	a := arg{at: p.at}
	if p.next() == '\'' {
		return a, failAt(p.at, "single quotes; put strings in backquotes or double quotes")
	}
	quoted, err := strconv.QuotedPrefix(p.text[p.at:])
	switch {
	case err == nil:
		a.value, err = strconv.Unquote(quoted)
		p.at += len(quoted)
		return a, err
	case p.next() == '`' || p.next() == '"':
		return a, failAt(p.at, "this string does not end, or holds an escape that Go does not know")
	}
	return a, failAt(p.at, "%s where a string in backquotes or double quotes should be", p.found())
}

// hint says what word may have been meant.
func hint(word string, known []string) string {
	if near := NearMisses(word, known); len(near) > 0 {
		return fmt.Sprintf("did you mean %q?", near[0])
	}
	return "known are " + strings.Join(slices.Sorted(slices.Values(known)), ", ")
}

// regexpError adds the place to an error of regexp.Compile(s).
func regexpError(s string, err error) error {
	var e *syntax.Error
	if errors.As(err, &e) {
		column := utf8.RuneCountInString(s[:max(0, strings.Index(s, e.Expr))]) + 1
		return fmt.Errorf("bad regexp %q: column %d: %s: %q", s, column, e.Code, e.Expr)
	}
	return err
}
