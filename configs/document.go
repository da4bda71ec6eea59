package configs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
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
	s := search{left: mostParsed}
	d.failAt(s.brokenAt(data, line), "not YAML: %s", text)
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

// mostParsed is how many bytes of a file are parsed again to find the line of a
// mistake: a second's work.
const mostParsed = 8 << 20

// search is one for the line at which a file stops being YAML.
type search struct {
	left int // bytes that it may parse
}

// brokenAt is the line at which data, which is not YAML, stops being it: the one
// after the longest part of it that can be read. That ends before the line at which
// the parser gives up, and mostly right there. atLeast is what the parser says,
// which mostly is where things around the mistake begin, or 0; that is the answer
// if there is too much to parse.
func (s *search) brokenAt(data []byte, atLeast int) int {
	if !s.spend(len(data)) {
		return atLeast
	}
	r := &lineReader{data: data}
	isYAML(r) // it is not, but read is where that shows
	for part := data[:r.read]; ; {
		part = part[:bytes.LastIndexByte(bytes.TrimSuffix(part, []byte("\n")), '\n')+1]
		line := bytes.Count(part, []byte("\n")) + 1
		if line <= atLeast || !s.spend(len(part)) {
			return atLeast
		}
		if isYAML(bytes.NewReader(part)) {
			return line
		}
	}
}

// spend says whether n more bytes may be parsed.
func (s *search) spend(n int) bool {
	if n > s.left {
		return false
	}
	s.left -= n
	return true
}

// lineReader gives a line at a time, so that it tells how far a parser came.
type lineReader struct {
	data []byte
	read int // bytes of data
}

// Read implements io.Reader.
func (r *lineReader) Read(p []byte) (int, error) {
	rest := r.data[r.read:]
	if len(rest) == 0 {
		return 0, io.EOF
	}
	rest = rest[:min(len(rest), len(p))]
	if end := bytes.IndexByte(rest, '\n'); end >= 0 {
		rest = rest[:end+1]
	}
	r.read += copy(p, rest)
	return len(rest), nil
}

// isYAML says whether all documents of r can be read.
func isYAML(r io.Reader) bool {
	for d := yaml.NewDecoder(r); ; {
		var n yaml.Node
		if err := d.Decode(&n); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}
