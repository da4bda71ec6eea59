package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/configs"
	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// These tests hold what users read to what the program does. A fenced block says
// by its language what is done with it: yaml is loaded, console is run, sh and
// text are neither.

// root is the folder of the repository.
const root = "../.."

// documents are the texts for users, by their path from root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	paths := []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "bench/README.md"}
	found, err := filepath.Glob(root + "/docs/*.md")
	require.NoError(t, err)
	for _, path := range found {
		paths = append(paths, "docs/"+filepath.Base(path))
	}
	texts := map[string]string{}
	for _, path := range paths {
		texts[path] = read(t, path)
	}
	return texts
}

// read is a file of the repository.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(t, err)
	return string(text)
}

// block is one fenced block of a document.
type block struct {
	language string
	text     string
	at       string // "README.md:14", of its first line
}

// name is that of the file that a yaml block shows, "" if it does not say.
func (b *block) name() string {
	first, _, _ := strings.Cut(b.text, "\n")
	if name, ok := strings.CutPrefix(first, "# "); ok && fileName.MatchString(name) {
		return name
	}
	return ""
}

var fileName = regexp.MustCompile(`^[\w./-]+\.yml$`)

func blocksOf(path, text string) []block {
	var all []block
	var open *block
	n := 0
	for line := range strings.Lines(text) {
		n++
		language, fence := strings.CutPrefix(line, "```")
		switch {
		case !fence && open != nil:
			open.text += line
		case fence && open != nil:
			all = append(all, *open)
			open = nil
		case fence:
			open = &block{language: strings.TrimSpace(language), at: fmt.Sprintf("%s:%d", path, n+1)}
		}
	}
	return all
}

// prose is a document without its fenced blocks.
func prose(text string) string {
	var b strings.Builder
	fenced := false
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "```"):
			fenced = !fenced
		case !fenced:
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestDocs_YAMLBlocksAreGoodConfigurations(t *testing.T) {
	n := 0
	for path, text := range documents(t) {
		for _, b := range blocksOf(path, text) {
			if b.language != "yaml" {
				continue
			}
			n++
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(dir, os.DirFS(root+"/configs"))) // error pages, for one
			file := filepath.Join(dir, "docs", filepath.Base(b.name()))
			require.NoError(t, os.Mkdir(filepath.Dir(file), 0o755))
			if b.name() == "" {
				file = filepath.Join(dir, "block.yml")
			}
			require.NoError(t, os.WriteFile(file, []byte(b.text), 0o644))
			c, err := configs.Load([]string{file}, "")
			require.NoError(t, err, b.at)
			_, problems := rules.Compile(rules.Input{Rules: c.Rules, Services: c.Services}, rules.NoBackends{})
			require.Empty(t, problems, b.at)
		}
	}
	require.Greater(t, n, 10)
}

// section is the part of a document under a heading, up to the next of the same level.
func section(t *testing.T, text, heading string) string {
	t.Helper()
	_, after, found := strings.Cut("\n"+text, "\n"+heading+"\n")
	require.True(t, found, "no heading %q", heading)
	level, _, _ := strings.Cut(heading, " ")
	part, _, _ := strings.Cut(after, "\n"+level+" ")
	return part
}

// rows are the cells of those tables in text whose first column is called head.
func rows(text, head string) [][]string {
	var all [][]string
	above, body := "", false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case !strings.HasPrefix(line, "|"):
			body = false
		case strings.HasPrefix(line, "|---"):
			body = strings.HasPrefix(above, "| "+head+" |")
		case body:
			cells := strings.Split(strings.Trim(line, "|"), "|")
			for i, c := range cells {
				cells[i] = strings.TrimSpace(c)
			}
			all = append(all, cells)
		}
		above = line
	}
	return all
}

var codeSpan = regexp.MustCompile("``(.+?)``|`([^`\n]+)`")

// codes are the code spans in text.
func codes(text string) []string {
	var all []string
	for _, span := range codeSpan.FindAllStringSubmatch(text, -1) {
		all = append(all, span[1]+span[2])
	}
	return all
}

// code is the first code span of a cell, "" if there is none.
func code(cell string) string {
	if all := codes(cell); len(all) > 0 {
		return all[0]
	}
	return ""
}

// defaultsIn makes YAML members of a table of keys: those that have a default.
func defaultsIn(t *testing.T, heading, indent string) string {
	t.Helper()
	var b strings.Builder
	for _, row := range rows(section(t, read(t, "docs/rules.md"), heading), "key") {
		require.Len(t, row, 4, "%s: %v", heading, row)
		if value := code(row[2]); value != "" {
			fmt.Fprintf(&b, "%s%s: %s\n", indent, code(row[0]), value)
		}
	}
	require.NotEmpty(t, b.String())
	return b.String()
}

// The tables of docs/rules.md say key, type, default, meaning.
func TestDocs_DefaultsAreTheDefaults(t *testing.T) {
	c, err := configs.Parse("defaults", []byte("defaults:\n"+defaultsIn(t, "## defaults", "  ")))
	require.NoError(t, err)
	require.Equal(t, configs.DefaultDefaults, c.Defaults)
	require.NotContains(t, defaultsIn(t, "## defaults", ""), "error_pages")

	c, err = configs.Parse("check", []byte("services:\n  a:\n    health_check:\n"+defaultsIn(t, "## health_check", "      ")))
	require.NoError(t, err)
	require.Equal(t, health.DefaultCheck, *c.Services[0].Check)
}
