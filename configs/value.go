package configs

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"arzur.net/lb/rules"
)

// value is one place in a document.
type value struct {
	doc  *document
	node *yaml.Node // never an alias
	path string     // "port_rules[3].path"; "" is the top
	line int        // where it stands
}

func (d *document) at(n *yaml.Node, path string) value {
	// An alias cannot name an alias, so one step is enough.
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return value{d, n, path, n.Line}
}

// origin is where the value stands, as problems and rules name it.
func (v value) origin() string { return v.doc.name + ":" + strconv.Itoa(v.line) }

func (v value) fail(format string, args ...any) {
	v.doc.failAt(v.line, "%s: %s", v.path, fmt.Sprintf(format, args...))
}

// warn records that the value is understood but has no effect; fatal that it
// costs the rule it belongs to.
func (v value) warn(fatal bool, format string, args ...any) {
	v.doc.problems = append(v.doc.problems, rules.Problem{
		Origin: v.origin(),
		Reason: v.path + ": " + fmt.Sprintf(format, args...),
		Fatal:  fatal,
	})
}

func (v value) isNull() bool { return v.node.Kind == yaml.ScalarNode && v.node.Tag == "!!null" }

// describe is the value as a message shows it.
func (v value) describe() string {
	switch v.node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	text := v.node.Value
	if len(text) > 60 {
		text = text[:60] + "..."
	}
	switch v.node.Tag {
	case "!!null":
		return "nothing"
	case "!!int", "!!float":
		return "number " + text
	case "!!bool":
		return text
	case "!!str":
		return "text " + strconv.Quote(text)
	}
	return v.node.Tag + " " + strconv.Quote(text)
}

// member is one key of a mapping.
type member struct {
	value
	key     string
	keyLine int
}

// fields is what a mapping may hold: what to do with each key's value.
type fields map[string]func(value)

// into is a field that reads into *p.
func into[T any](p *T, read func(value) T) func(value) {
	return func(v value) { *p = read(v) }
}

// object reads a mapping whose keys are all in known. A key without a value
// counts as absent. At the top, keys that begin with "x-" are nobody's: a place
// for anchors, as in compose files.
func (v value) object(known fields) {
	for _, m := range v.members() {
		set, ok := known[m.key]
		switch {
		case v.path == "" && strings.HasPrefix(m.key, "x-"):
		case !ok:
			v.doc.failAt(m.keyLine, "%s: unknown key%s", m.path, didYouMean(m.key, known))
		case !m.isNull():
			set(m.value)
		}
	}
}

// members lists a mapping in the order written, merge keys resolved: the
// mapping's own keys win, then those of the first mapping merged in.
func (v value) members() []member {
	if v.isNull() {
		return nil
	}
	if v.node.Kind != yaml.MappingNode {
		v.fail("want a mapping, got %s", v.describe())
		return nil
	}
	f := flattener{value: v, lines: make(map[string]int, len(v.node.Content)/2), entered: map[*yaml.Node]bool{}}
	f.add(v.node)
	return f.list
}

// flattener resolves merge keys. It enters each mapping once, so neither a
// cycle nor a tree of merges blows it up.
type flattener struct {
	value
	list    []member
	lines   map[string]int // of the keys in list
	entered map[*yaml.Node]bool
}

func (f *flattener) add(n *yaml.Node) {
	if f.entered[n] {
		return
	}
	f.entered[n] = true
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := f.doc.at(n.Content[i], f.path).node
		if k.Kind != yaml.ScalarNode {
			f.doc.failAt(k.Line, "%s: want text as a key, got %s", f.join("?"), f.doc.at(k, "").describe())
			continue
		}
		if k.Tag == "!!merge" {
			merged = append(merged, n.Content[i+1])
			continue
		}
		line, known := f.lines[k.Value]
		if known {
			if n == f.node {
				f.doc.failAt(k.Line, "%s: duplicate key, first on line %d; keep one", f.join(k.Value), line)
			}
			continue
		}
		f.lines[k.Value] = k.Line
		v := f.doc.at(n.Content[i+1], f.join(k.Value))
		if v.node.Kind != yaml.ScalarNode {
			v.line = k.Line // not that of the first thing inside
		}
		f.list = append(f.list, member{v, k.Value, k.Line})
	}
	for _, m := range merged {
		f.merge(m, true)
	}
}

// merge takes what stands behind "<<": a mapping, or a list of them.
func (f *flattener) merge(n *yaml.Node, listAllowed bool) {
	v := f.doc.at(n, f.join("<<"))
	switch {
	case v.node.Kind == yaml.MappingNode:
		f.add(v.node)
	case v.node.Kind == yaml.SequenceNode && listAllowed:
		for _, item := range v.node.Content {
			f.merge(item, false)
		}
	default:
		v.fail("want a mapping to merge, got %s", v.describe())
	}
}

// join is the path of a key under v.
func (v value) join(key string) string {
	if strings.ContainsFunc(key, func(r rune) bool { return !strconv.IsPrint(r) || r == ' ' }) || key == "" {
		key = strconv.Quote(key)
	}
	if v.path == "" {
		return key
	}
	return v.path + "." + key
}

// items is a list's values. An item without a value is a mistake.
func (v value) items() []value {
	if v.isNull() {
		return nil
	}
	if v.node.Kind != yaml.SequenceNode {
		v.fail("want a list, got %s", v.describe())
		return nil
	}
	list := make([]value, 0, len(v.node.Content))
	for i, n := range v.node.Content {
		item := v.doc.at(n, fmt.Sprintf("%s[%d]", v.path, i))
		if item.isNull() {
			item.fail("there is nothing behind the dash")
			continue
		}
		list = append(list, item)
	}
	return list
}

// means says whether a key of a mapping is probably a misspelling of key.
func (v value) means(key string) bool {
	for i := 0; v.node.Kind == yaml.MappingNode && i < len(v.node.Content); i += 2 {
		if len(rules.NearMisses(v.node.Content[i].Value, []string{key})) > 0 {
			return true
		}
	}
	return false
}

// plain is the text of a scalar that is not empty.
func (v value) plain() (string, bool) {
	return v.node.Value, v.node.Kind == yaml.ScalarNode && !v.isNull()
}

// didYouMean is the end of a message about an unknown name: what was meant, if
// that can be told from the spelling, or from a word that is part of a known one.
func didYouMean[V any](name string, known map[string]V) string {
	names := rules.NearMisses(name, slices.Collect(maps.Keys(known)))
	if len(names) == 0 {
		names = withPart(name, known)
	}
	if len(names) == 0 {
		return ""
	}
	return `; did you mean "` + strings.Join(names, `" or "`) + `"?`
}

// withPart lists the names of which word is a part, up to an underscore, or the beginning.
func withPart[V any](word string, known map[string]V) []string {
	const least, most = 3, 3 // letters that mean something, names that are no list
	var names []string
	for _, name := range slices.Sorted(maps.Keys(known)) {
		part := strings.Contains("_"+name+"_", "_"+word+"_") || strings.HasPrefix(name, word)
		if part && len(word) >= least {
			names = append(names, name)
		}
	}
	return names[:min(most, len(names))]
}
