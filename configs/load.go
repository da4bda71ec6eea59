package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"arzur.net/lb/rules"
)

// Load reads files and folders. Of a folder it takes what stands directly in it
// and ends in .yml or .yaml, by name. The compose files of one folder are one
// stack; stack names it, and "" names it after its folder. With a stack given,
// all compose files belong to it.
//
// The error has one line per mistake: file, line, key and what to do.
// Load does not compile: what only rules can judge, rules.Compile reports.
func Load(paths []string, stack string) (*Config, error) {
	if len(paths) == 0 {
		return nil, errors.New("no configuration; want -config with a file or a folder")
	}
	l := newLoader(stack)
	for _, p := range paths {
		l.path(p)
	}
	return l.finish()
}

// Parse reads one document as Load would read it from a file of that name.
func Parse(name string, data []byte) (*Config, error) {
	l := newLoader("")
	l.document(name, data)
	return l.finish()
}

// loader gathers what all files say.
type loader struct {
	config    Config
	stackName string
	docs      []*document
	errs      []error // about files as a whole

	once     map[string]string // a section that may stand once -> where it stands
	rules    []named           // until all services are known
	services []*rules.Service
	byName   map[string]*rules.Service
	declared bool // there is a services section, so names are checked against it
	stacks   []*stack
}

func newLoader(stack string) *loader {
	return &loader{
		config: Default(), stackName: stack,
		once: map[string]string{}, byName: map[string]*rules.Service{},
	}
}

func (l *loader) fail(format string, args ...any) {
	l.errs = append(l.errs, fmt.Errorf(format, args...))
}

// path reads a file, or the files of a folder.
func (l *loader) path(path string) {
	info, err := os.Stat(path)
	if err != nil {
		l.fail("%s: %w", path, cause(err))
		return
	}
	if !info.IsDir() {
		l.file(path)
		return
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		l.fail("%s: %w", path, cause(err))
		return
	}
	found := false
	for _, e := range entries {
		name := filepath.Join(path, e.Name())
		if ext := filepath.Ext(name); ext != ".yml" && ext != ".yaml" || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		// A link counts as what it leads to: mounted volumes are full of them.
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			continue
		}
		found = true
		l.file(name)
	}
	if !found {
		l.fail("%s: no *.yml or *.yaml file in this folder", path)
	}
}

func (l *loader) file(path string) {
	for _, f := range l.config.Files {
		if filepath.Clean(f) == filepath.Clean(path) {
			return // named twice, or by its folder too
		}
	}
	l.config.Files = append(l.config.Files, path)
	data, err := os.ReadFile(path)
	if err != nil {
		l.fail("%s: %w", path, cause(err))
		return
	}
	l.document(path, data)
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

// rulesFile reads our own vocabulary.
func (l *loader) rulesFile(top value) {
	var lists []value
	compat := rules.OrderDefault
	known := l.sections()
	known["services"] = l.declare
	known["port_rules"] = func(v value) { lists = append(lists, v) }
	known["compat"] = into(&compat, readCompat)
	for key, what := range later {
		known[key] = func(v value) { v.fail("%s are not supported yet; remove the key", what) }
	}
	inner := maps.Clone(known)
	known["lb_config"] = func(v value) { v.object(inner) }
	top.object(known)
	for _, list := range lists {
		for _, item := range list.items() {
			r := item.portRule(compat == rules.OrderRancher)
			r.Order = compat
			if r.port.node == nil && item.node.Kind == yaml.MappingNode {
				item.fail("source_port is missing; want 1 to 65535")
			}
			r.unsupportedTargets(func(v value, _ bool) { v.fail("is not supported yet; name a service") })
			l.rules = append(l.rules, r)
		}
	}
}

// readCompat reads whose order of rules and kind of path is meant.
var readCompat = keyword(map[string]rules.Order{"default": rules.OrderDefault, "rancher": rules.OrderRancher})

// sections are the keys that any file may hold, and only one of them each.
func (l *loader) sections() fields {
	c := &l.config
	known := fields{
		"defaults":   func(v value) { v.defaults(&c.Defaults, l.page) },
		"log":        func(v value) { v.log(&c.Log) },
		"access_log": func(v value) { v.accessLog(&c.AccessLog) },
		"admin":      func(v value) { v.admin(&c.Admin) },
		"trusted_proxies": func(v value) {
			for _, item := range v.items() {
				c.TrustedProxies = append(c.TrustedProxies, item.prefix())
			}
		},
	}
	for key, read := range known {
		known[key] = func(v value) {
			if l.first(key, v) {
				read(v)
			}
		}
	}
	return known
}

// first says whether what, found at v, has not been found before.
func (l *loader) first(what string, v value) bool {
	if before, there := l.once[what]; there {
		v.fail("already set at %s; keep one", before)
		return false
	}
	l.once[what] = v.origin()
	return true
}

// page reads an error page and counts it among the files to watch.
func (l *loader) page(v value, name string) []byte {
	path, data := v.readPage(name)
	l.config.Files = append(l.config.Files, path)
	return data
}

// declare reads a services section.
func (l *loader) declare(v value) {
	l.declared = true
	for _, m := range v.members() {
		if m.key == "" {
			m.fail("a service needs a name")
		} else if l.first("service "+m.key, m.value) {
			l.addService(m.service(m.key))
		}
	}
}

func (l *loader) addService(s *rules.Service) *rules.Service {
	l.services = append(l.services, s)
	l.byName[s.Name] = s
	return s
}

// finish looks the services up and hands the Config over.
func (l *loader) finish() (*Config, error) {
	for _, s := range l.stacks {
		l.assemble(s)
	}
	for _, r := range l.rules {
		if l.target(&r) {
			l.config.Rules = append(l.config.Rules, r.Rule)
		}
	}
	for _, s := range l.services {
		l.config.Services = append(l.config.Services, *s)
	}
	errs := l.errs
	for _, d := range l.docs {
		errs = append(errs, d.errors()...)
		l.config.Problems = append(l.config.Problems, d.problems...)
	}
	if len(errs) != 0 {
		return nil, errors.Join(errs...)
	}
	return &l.config, nil
}

// target makes r name a service of the Config. It is false when the rule is
// left out.
func (l *loader) target(r *named) bool {
	if r.Service == "" {
		return true // a redirect; else rules has a word for it
	}
	if r.stack != nil {
		return l.stackTarget(r)
	}
	if s := l.known(r.Service); s != nil {
		r.Service = s.Name
	} else if l.declared && !strings.Contains(r.Service, "/") {
		r.service.fail("unknown service %q%s; services: {%s: {}} would declare it as a DNS name",
			r.Service, didYouMean(r.Service, l.byName), r.Service)
	} else {
		l.implicit(r)
	}
	return true
}

// implicit makes the service that a rule names and nobody declares: a DNS name.
func (l *loader) implicit(r *named) {
	l.addService(&rules.Service{Name: r.Service, Origin: r.Origin, Instances: r.service.dnsName(r.Service)})
}

// known is the service of that name, nil without one.
func (l *loader) known(name string) *rules.Service {
	if s := l.byName[name]; s != nil {
		return s
	}
	if stackName, serviceName, ok := strings.Cut(name, "/"); ok {
		for _, s := range l.stacks {
			c := s.services[strings.ToLower(serviceName)]
			if c != nil && strings.EqualFold(stackName, s.name) && c.isTarget() {
				return l.member(c)
			}
		}
	}
	return nil
}
