package rules

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// rewrite is a compiled Rewrite.
type rewrite struct {
	Rewrite
	re *regexp.Regexp
}

// AppendPath appends to dst what strip_prefix, add_prefix and replace_path make of
// a clean path.
func (r *Rule) AppendPath(dst, path []byte) []byte {
	path = stripPrefix(path, r.StripPrefix)
	switch {
	case r.ReplacePath != "":
		return append(dst, r.ReplacePath...)
	case r.AddPrefix != "":
		dst = append(dst, r.AddPrefix...)
		if dst[len(dst)-1] == '/' && len(path) > 0 && path[0] == '/' {
			path = path[1:]
		}
	case len(path) == 0 || path[0] != '/':
		dst = append(dst, '/')
	}
	return append(dst, path...)
}

// stripPrefix removes whole segments: /cdn and /cdn/ both strip /cdn/x to /x.
func stripPrefix(path []byte, prefix string) []byte {
	for len(prefix) > 0 && prefix[len(prefix)-1] == '/' {
		prefix = prefix[:len(prefix)-1]
	}
	if prefix == "" || !bytes.HasPrefix(path, []byte(prefix)) {
		return path
	}
	if rest := path[len(prefix):]; len(rest) == 0 || rest[0] == '/' {
		return rest
	}
	return path
}

// Rewritten is what the Rewrites of a rule make of a path.
type Rewritten struct {
	Path     []byte // begins with "/", unless it is empty because nothing was left
	Prefix   []byte // what was stripped, for X-Forwarded-Prefix; nil if nothing was
	Replaced []byte // the path that was replaced, for X-Replaced-Path; nil if it was not
}

// Rewrites says whether there is anything for Rewrite to do.
func (e *Entry) Rewrites() bool { return len(e.rewrites) > 0 }

// Rewrite applies the Rewrites to a clean path. The result may alias path. It is
// false when the new path has dot segments: what it means would then depend on
// who reads it, and the answer is 400.
func (e *Entry) Rewrite(path []byte) (Rewritten, bool) {
	to := Rewritten{Path: path}
	for i := range e.rewrites {
		e.rewrites[i].apply(&to)
	}
	if len(to.Path) > 0 && to.Path[0] != '/' {
		to.Path = append([]byte("/"), to.Path...)
	}
	return to, !hasDots(to.Path)
}

func (r *rewrite) apply(to *Rewritten) {
	switch r.Kind {
	case StripPrefixes:
		for _, p := range r.Prefixes {
			if bytes.HasPrefix(to.Path, []byte(p)) {
				to.strip(len(p))
				return
			}
		}
	case StripPrefixRegexp:
		if at := r.re.FindIndex(to.Path); at != nil && at[0] == 0 && at[1] > 0 {
			to.strip(at[1])
		}
	case AddPrefix:
		to.Path = append([]byte(r.Replacement), to.Path...)
	case ReplacePath:
		to.Replaced, to.Path = to.Path, []byte(r.Replacement)
	case ReplacePathRegexp:
		if r.re.Match(to.Path) {
			to.Replaced, to.Path = to.Path, r.re.ReplaceAll(to.Path, []byte(r.Replacement))
		}
	}
}

// strip cuts n bytes off the front. What is left begins with a slash again.
func (to *Rewritten) strip(n int) {
	to.Prefix, to.Path = to.Path[:n], to.Path[n:]
	if len(to.Path) == 0 || to.Path[0] != '/' {
		to.Path = append([]byte("/"), to.Path...)
	}
}

// compile checks r.
func (r *Rewrite) compile() (rewrite, error) {
	c := rewrite{Rewrite: *r}
	switch r.Kind {
	case StripPrefixes:
		for _, p := range r.Prefixes {
			if !strings.HasPrefix(p, "/") || !isPathText(p) {
				return c, fmt.Errorf("strip prefix %q: it is no path that can stand in a request", p)
			}
		}
	case AddPrefix, ReplacePath:
		if !strings.HasPrefix(r.Replacement, "/") || !isPathText(r.Replacement) {
			return c, fmt.Errorf("new path %q: it is no path that can stand in a request", r.Replacement)
		}
	case StripPrefixRegexp, ReplacePathRegexp:
		if !isPathText(r.Replacement) {
			return c, fmt.Errorf("replacement %q may not stand in a request; percent-encode it", r.Replacement)
		}
		re, err := regexp.Compile(r.Pattern)
		if err != nil {
			return c, fmt.Errorf("pattern %q: %w", r.Pattern, err)
		}
		c.re = re
	}
	return c, nil
}

// compileEdits compiles what of r is an expression.
func (r *Rule) compileEdits() (edits []rewrite, redirect *regexp.Regexp, err error) {
	for i := range r.Rewrites {
		c, err := r.Rewrites[i].compile()
		if err != nil {
			return nil, nil, fmt.Errorf("rewrite: %w", err)
		}
		edits = append(edits, c)
	}
	if r.Redirect == nil || r.Redirect.Pattern == "" {
		return edits, nil, nil
	}
	if r.Redirect.Replacement == "" {
		return nil, nil, errors.New("redirect: the replacement is missing; want a URL")
	}
	redirect, err = regexp.Compile(r.Redirect.Pattern)
	if err != nil {
		return nil, nil, fmt.Errorf("redirect: pattern %q: %w", r.Redirect.Pattern, err)
	}
	return edits, redirect, nil
}

// RedirectURL is where a request for url is redirected to by the Pattern of the
// rule's Redirect; nil if there is none or it does not match.
func (e *Entry) RedirectURL(url []byte) []byte {
	if e.redirect == nil || !e.redirect.Match(url) {
		return nil
	}
	return e.redirect.ReplaceAll(url, []byte(e.Rule.Redirect.Replacement))
}
