package labels

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// kind is what the value of a field has to be.
type kind uint8

const (
	kindText     kind = iota
	kindNumber        // a decimal integer
	kindFlag          // true or false, as strconv.ParseBool reads them
	kindList          // separated by commas
	kindDuration      // Go's, or bare digits for seconds
	kindMapping       // any one name below it, with a text
	kindSection       // may stand alone, with true or nothing: as much as its defaults
)

// fields are the documented fields of one kind of element, by their path below
// its name in lower case. An index is written [].
type fields map[string]field

type field struct {
	name string // as documented
	kind kind
}

// fieldsOf makes fields of their documented names.
func fieldsOf(documented map[kind][]string) fields {
	f := make(fields)
	for k, names := range documented {
		for _, name := range names {
			f[strings.ToLower(name)] = field{name, k}
		}
	}
	return f
}

// names are the documented names, in order.
func (f fields) names() []string {
	names := make([]string, 0, len(f))
	for _, field := range f {
		names = append(names, field.name)
	}
	slices.Sort(names)
	return names
}

// find looks a path up; for a mapping, entry is the name in it.
func (f fields) find(path string) (found field, entry string, ok bool) {
	if found, ok = f[strings.ToLower(withoutIndex(path))]; ok {
		return found, "", found.kind != kindMapping
	}
	for end := strings.IndexByte(path, '.'); end >= 0; {
		if found, ok = f[strings.ToLower(path[:end])]; ok && found.kind == kindMapping {
			return found, path[end+1:], path[end+1:] != ""
		}
		next := strings.IndexByte(path[end+1:], '.')
		if next < 0 {
			break
		}
		end += 1 + next
	}
	return field{}, "", false
}

// withoutIndex turns domains[12].main into domains[].main.
func withoutIndex(path string) string {
	open := strings.IndexByte(path, '[')
	end := strings.IndexByte(path, ']')
	if open < 0 || end < open {
		return path
	}
	if _, err := strconv.ParseUint(path[open+1:end], 10, 16); err != nil {
		return path
	}
	return path[:open+1] + path[end:]
}

// element is one router, service or middleware: all labels that share its name.
type element struct {
	name   string
	origin *Subject
	values map[string]fieldValue // by path in lower case
	faults []fault
	read   map[string]bool // paths that somebody asked for
}

type fieldValue struct {
	label string // the whole name of the label
	entry string // in a mapping: the name, as written
	text  string
	field field
}

// fault is a label of an element that cannot be used.
type fault struct {
	label  string
	path   string
	reason string
	near   []string // documented names that may have been meant

	protects bool // it may have been meant to keep requests out
}

func newElement(name string, s *Subject) *element {
	return &element{name: name, origin: s, values: make(map[string]fieldValue), read: make(map[string]bool)}
}

// add files one label; path is what follows the element's name in it.
func (e *element) add(label, path string, known fields) {
	text := e.origin.Labels[label]
	f, entry, ok := known.find(path)
	if !ok {
		f := fault{label: label, path: path, reason: "unknown label", near: nearPaths(withoutIndex(path), known.names()), protects: protects(path)}
		switch {
		case len(f.near) == 0 && f.protects:
			f.reason += ", which may be meant to protect"
		case len(f.near) > 0:
			f.reason += fmt.Sprintf(" (did you mean %q?)", strings.TrimSuffix(label, path)+f.near[0])
		}
		e.faults = append(e.faults, f)
		return
	}
	key := strings.ToLower(path)
	if entry != "" {
		key = strings.ToLower(f.name) + "." + entry
	}
	if err := f.kind.check(text); err != nil {
		e.faults = append(e.faults, fault{label: label, path: path, reason: err.Error(), near: []string{f.name}})
		return
	}
	if first, twice := e.values[key]; twice {
		if first.text != text {
			delete(e.values, key)
			e.faults = append(e.faults, fault{label: label, path: path, reason: "it contradicts " + first.label + "; neither counts", near: []string{f.name}})
		}
		return
	}
	e.values[key] = fieldValue{label, entry, text, f}
}

func (k kind) check(text string) error {
	var err error
	switch k {
	case kindNumber:
		if _, err = strconv.Atoi(strings.TrimSpace(text)); err != nil {
			err = fmt.Errorf("%q is not a number", text)
		}
	case kindFlag, kindSection:
		if _, err = strconv.ParseBool(strings.TrimSpace(text)); err != nil && (k == kindFlag || text != "") {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		return nil
	case kindDuration:
		_, err = parseDuration(text)
	}
	return err
}

// parseDuration reads a Go duration, or bare digits for seconds.
func parseDuration(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	d, err := time.ParseDuration(text)
	if seconds, notBare := strconv.ParseInt(text, 10, 32); notBare == nil {
		d, err = time.Duration(seconds)*time.Second, nil
	}
	if err == nil && d < 0 {
		err = errors.New("negative")
	}
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration such as 10s", text)
	}
	return d, nil
}

// doubt is the first label that cannot be used and may have been meant for one of
// these fields or what is below them, nil for none.
func (e *element) doubt(documented ...string) *fault {
	for i := range e.faults {
		for _, n := range e.faults[i].near {
			if slices.ContainsFunc(documented, func(d string) bool { return n == d || strings.HasPrefix(n, d+".") }) {
				return &e.faults[i]
			}
		}
	}
	return nil
}

// doubtsProtection is the first label that cannot be used and may have been meant
// to keep requests out, nil for none.
func (e *element) doubtsProtection() *fault {
	if f := e.doubt("middlewares"); f != nil {
		return f
	}
	for i := range e.faults {
		if e.faults[i].protects {
			return &e.faults[i]
		}
	}
	return nil
}

// anyLabel is the first label of the element, "" if it has none.
func (e *element) anyLabel() string {
	var labels []string
	for _, v := range e.values {
		labels = append(labels, v.label)
	}
	for i := range e.faults {
		labels = append(labels, e.faults[i].label)
	}
	if len(labels) == 0 {
		return ""
	}
	return slices.Min(labels)
}

// anyOf is the first label of a field or of what is below it, "" for none.
func (e *element) anyOf(path string) string {
	if label := e.label(path); label != "" {
		return label
	}
	for _, key := range e.below(path) {
		return e.values[key].label
	}
	return ""
}

func (e *element) get(path string) (fieldValue, bool) {
	path = strings.ToLower(path)
	e.read[path] = true
	v, ok := e.values[path]
	return v, ok
}

// label is the name of the label that has a field, "" for none.
func (e *element) label(path string) string {
	v, _ := e.get(path)
	return v.label
}

func (e *element) text(path string) string {
	v, _ := e.get(path)
	return v.text
}

func (e *element) list(path string) []string { return splitList(e.text(path)) }

func (e *element) number(path string, instead int) int {
	v, ok := e.get(path)
	if !ok {
		return instead
	}
	n, _ := strconv.Atoi(strings.TrimSpace(v.text)) // add has checked it
	return n
}

func (e *element) flag(path string, instead bool) bool {
	v, ok := e.get(path)
	if !ok {
		return instead
	}
	b, _ := strconv.ParseBool(strings.TrimSpace(v.text)) // add has checked it
	return b
}

func (e *element) duration(path string, instead time.Duration) time.Duration {
	v, ok := e.get(path)
	if !ok {
		return instead
	}
	d, _ := parseDuration(v.text) // add has checked it
	return d
}

// section says whether a field stands alone, or something stands below it, and it is not false.
func (e *element) section(path string) bool {
	if v, ok := e.get(path); ok {
		on, _ := strconv.ParseBool(strings.TrimSpace(v.text))
		return on || v.text == ""
	}
	return len(e.below(path)) > 0
}

// mapping are the entries of a mapping, ordered by name.
func (e *element) mapping(path string) []fieldValue {
	var entries []fieldValue
	for _, key := range e.below(path) {
		e.read[key] = true
		entries = append(entries, e.values[key])
	}
	return entries
}

// below are the paths inside path, in order; all of them for "".
func (e *element) below(path string) []string {
	var paths []string
	for key := range e.values {
		if path == "" || strings.HasPrefix(key, strings.ToLower(path)+".") {
			paths = append(paths, key)
		}
	}
	slices.Sort(paths)
	return paths
}

// unread are the values that nobody asked for: fields that are known but mean
// nothing to us yet.
func (e *element) unread() []fieldValue {
	var values []fieldValue
	for _, key := range slices.Sorted(maps.Keys(e.values)) {
		if !e.read[key] {
			values = append(values, e.values[key])
		}
	}
	return values
}
