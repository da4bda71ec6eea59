package rules

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// pathKind is how a path pattern compares.
type pathKind uint8

const (
	pathAny      pathKind = iota
	pathExact             // the whole path
	pathSegments          // PathPrefix of a Rule: whole segments
	pathStarts            // PathStarts, and PathPrefix of an expression: a plain string prefix
	pathFolded            // PathRaw: a plain string prefix, ASCII case ignored
	pathMatches           // a regular expression
)

// path is a compiled path pattern over routing paths (see routingPath).
type path struct {
	kind pathKind
	text string // as a routing path; of a regular expression its source
	re   *regexp.Regexp
}

// String is the pattern with a mark for its kind: "/prefix", "=/exact", "~regexp".
func (p *path) String() string {
	switch p.kind {
	case pathExact:
		return "=" + p.text
	case pathMatches:
		return "~" + p.text
	}
	return p.text
}

// takes says whether the routing path b matches.
func (p *path) takes(b []byte) bool {
	switch p.kind {
	case pathExact:
		return string(b) == p.text
	case pathSegments:
		return underSegments(b, p.text)
	case pathStarts:
		return len(b) >= len(p.text) && string(b[:len(p.text)]) == p.text
	case pathFolded:
		return startsFolded(b, p.text)
	case pathMatches:
		return p.re.Match(b)
	}
	return true
}

// underSegments: "/" takes everything, even the "*" of an OPTIONS request;
// "/foo" takes "/foo" and "/foo/..."; "/foo/" takes "/foo/" and "/foo/...".
func underSegments[T []byte | string](b T, prefix string) bool {
	n := len(prefix)
	switch {
	case prefix == "/":
		return true
	case len(b) < n || string(b[:n]) != prefix:
		return false
	}
	return len(b) == n || b[n] == '/' || prefix[n-1] == '/'
}

func startsFolded[T []byte | string](b T, prefix string) bool {
	if len(b) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if lower(b[i]) != prefix[i] {
			return false
		}
	}
	return true
}

// covers says whether every path that o takes is taken by p.
func (p *path) covers(o *path) bool {
	switch p.kind {
	case pathAny:
		return true
	case pathExact:
		return o.kind == pathExact && o.text == p.text
	case pathSegments:
		// A prefix that ends inside a segment reaches beyond p, unless p ends before that segment.
		return p.text == "/" ||
			(o.kind == pathExact || o.kind == pathSegments) && underSegments(o.text, p.text) ||
			o.kind == pathStarts && strings.HasPrefix(o.text, strings.TrimSuffix(p.text, "/")+"/")
	case pathStarts:
		return (o.kind == pathExact || o.kind == pathSegments && o.text != "/" || o.kind == pathStarts) && strings.HasPrefix(o.text, p.text)
	case pathFolded:
		return o.kind != pathAny && o.kind != pathMatches && !(o.kind == pathSegments && o.text == "/") && startsFolded(o.text, p.text)
	}
	return o.kind == pathMatches && o.text == p.text
}

// parsePath compiles what an operator wrote under `path`.
func parsePath(s string, m PathMatch) (path, error) {
	if s == "" {
		return path{}, nil
	}
	if m == PathRegexp {
		re, err := regexp.Compile(s)
		if err != nil {
			return path{}, regexpError(s, err)
		}
		return path{pathMatches, s, re}, nil
	}
	if err := checkPath(s); err != nil {
		return path{}, err
	}
	text := string(routingPath(nil, []byte(s)))
	switch m {
	case PathExact:
		return path{kind: pathExact, text: text}, nil
	case PathStarts:
		return path{kind: pathStarts, text: text}, nil
	case PathRaw:
		return path{kind: pathFolded, text: string(bytes.Map(lowerRune, []byte(text)))}, nil
	}
	return path{kind: pathSegments, text: text}, nil
}

func lowerRune(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}

// checkPath rejects paths that no request can have.
func checkPath(s string) error {
	if !strings.HasPrefix(s, "/") {
		return fmt.Errorf("%q has no leading slash; want %q", s, "/"+s)
	}
	if i := strings.IndexAny(s, "?#"); i >= 0 {
		return fmt.Errorf("%q goes on after the path; want %q", s, s[:i])
	}
	if clean, dots := CleanPath(nil, []byte(s)); dots {
		return fmt.Errorf("%q has dot segments, which requests are freed of; want %q", s, clean)
	}
	return nil
}
