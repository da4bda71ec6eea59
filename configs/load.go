package configs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

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
	rules    []*named          // until all services are known
	services []*rules.Service
	byName   map[string]*rules.Service
	declared bool // there is a services section, so names are checked against it
	stacks   []*stack
	fragment bool // rules and services alone; no file is read
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
	data, err := readBounded(path)
	if err != nil {
		l.fail("%s: %w", path, cause(err))
		return
	}
	l.document(path, data)
}

// mostBytes is what half a million rules take, and less than a machine has.
const mostBytes = 64 << 20

// readBounded reads a file that may turn out to be a device, or a disk image.
func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, mostBytes+1))
	if err == nil && len(data) > mostBytes {
		err = fmt.Errorf("more than %d MiB; is that a rules file?", mostBytes>>20)
	}
	return data, err
}

// finish looks the services up and hands the Config over.
func (l *loader) finish() (*Config, error) {
	for _, s := range l.stacks {
		l.assemble(s)
	}
	for _, r := range l.rules {
		if l.target(r) {
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
