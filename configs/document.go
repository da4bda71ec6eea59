package configs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"arzur.net/lb/rules"
)

// document is one YAML file being decoded. It collects what is wrong with it,
// so that the operator sees every mistake at once.
type document struct {
	name     string
	mistakes []mistake
	problems []rules.Problem
}

// mistake is what is wrong on one line; line 0 is the whole document.
type mistake struct {
	line int
	text string
}

func (d *document) failAt(line int, format string, args ...any) {
	d.mistakes = append(d.mistakes, mistake{line, fmt.Sprintf(format, args...)})
}

// errors lists the mistakes from top to bottom.
func (d *document) errors() []error {
	slices.SortStableFunc(d.mistakes, func(a, b mistake) int { return cmp.Compare(a.line, b.line) })
	list := make([]error, len(d.mistakes))
	for i, m := range d.mistakes {
		at := d.name
		if m.line != 0 {
			at += ":" + strconv.Itoa(m.line)
		}
		list[i] = errors.New(at + ": " + m.text)
	}
	return list
}

// document reads one file's text.
func (l *loader) document(name string, data []byte) {
	d := &document{name: name}
	l.docs = append(l.docs, d)
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var root, second yaml.Node
	if err := decoder.Decode(&root); err != nil && !errors.Is(err, io.EOF) {
		d.notYAML(err, data)
		return
	}
	if len(root.Content) == 0 || d.at(root.Content[0], "").isNull() {
		d.failAt(0, "the file is empty; want port_rules, services, ...")
		return
	}
	if err := decoder.Decode(&second); err == nil {
		d.failAt(second.Line, "a second document begins; put it into a file of its own")
	} else if !errors.Is(err, io.EOF) {
		d.notYAML(err, data)
	}
	top := d.at(root.Content[0], "")
	switch {
	case top.node.Kind != yaml.MappingNode:
		d.failAt(top.node.Line, "want a mapping with port_rules, services, ..., got %s", top.describe())
	case l.fragment:
		l.fragmentFile(top)
	case isCompose(name, top.node):
		l.config.StackFiles = append(l.config.StackFiles, name)
		l.composeFile(top)
	default:
		l.rulesFile(top)
	}
}

// notYAML reports a syntax error in our own form.
func (d *document) notYAML(err error, data []byte) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, message, ok := strings.Cut(rest, ": "); ok {
			text = message
			line, _ = strconv.Atoi(number) // 0 when it is none: the whole document
		}
	}
	for _, h := range syntaxHints {
		if strings.Contains(text, h.part) {
			text += "; " + h.hint
		}
	}
	d.failAt(brokenAt(data, line), "not YAML: %s", text)
}

// syntaxHints say what people mostly did where the parser says something else.
var syntaxHints = []struct{ part, hint string }{
	{"alphabetic or numeric character", `text that begins with "*" or "&" needs quotes`},
	{"tab character", "indent with spaces"},
	{"cannot start any token", "indent with spaces, and put text that begins with @, % or ` into quotes"},
	{"could not find expected ':'", "is there a space behind each colon?"},
	{"did not find expected key", "is the line indented like its neighbours?"},
	{"mapping values are not allowed", "is the line indented like its neighbours, and text with a colon in quotes?"},
	{"did not find expected ','", "is a bracket or a quote left open?"},
	{"UTF-8 octet", "save the file in UTF-8"},
	{"control characters", "is it a text file, in UTF-8?"},
}

// brokenAt is the line at which data stops being YAML: the one after the longest
// part of it that can be read. The parser, which says atLeast, mostly means the
// beginning of what is around, or does not say.
func brokenAt(data []byte, atLeast int) int {
	const most = 10_000 // lines; reading a part of more takes too long
	const long = 30     // lines of a list in brackets, inside of which no part can be read
	lines := bytes.SplitAfter(data, []byte("\n"))
	if len(lines) > most {
		return atLeast
	}
	good := func(n int) bool { return isYAML(bytes.Join(lines[:n], nil)) }
	for n := 0; ; {
		n += sort.Search(len(lines)-n, func(i int) bool { return !good(n + i + 1) })
		further := n + 2
		for further < min(n+long, len(lines)) && !good(further) {
			further++
		}
		if further >= min(n+long, len(lines)) {
			return max(atLeast, n+1)
		}
		n = further
	}
}

// isYAML says whether all documents in data can be read.
func isYAML(data []byte) bool {
	for d := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var n yaml.Node
		if err := d.Decode(&n); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}
