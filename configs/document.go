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
		d.notYAML(err)
		return
	}
	if len(root.Content) == 0 || d.at(root.Content[0], "").isNull() {
		d.failAt(0, "the file is empty; want port_rules, services, ...")
		return
	}
	if err := decoder.Decode(&second); err == nil {
		d.failAt(second.Line, "a second document begins; put it into a file of its own")
	} else if !errors.Is(err, io.EOF) {
		d.notYAML(err)
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

// notYAML reports a syntax error in our own form, with the parser's line.
func (d *document) notYAML(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, message, ok := strings.Cut(rest, ": "); ok {
			text = message
			line, _ = strconv.Atoi(number) // 0 when it is none: the whole document
		}
	}
	if strings.Contains(text, "alphabetic or numeric character") {
		text += `; text that begins with "*" or "&" needs quotes`
	}
	d.failAt(line, "not YAML: %s", text)
}
