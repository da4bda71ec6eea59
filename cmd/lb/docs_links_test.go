package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	link    = regexp.MustCompile(`\]\(([^)#]*)(?:#([^)]+))?\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	goFile  = regexp.MustCompile(`^[\w./-]+/[\w.-]+\.go$`)
	target  = regexp.MustCompile(`\bmake ([a-z-]+)`)
)

// anchors are the headings of a document as links name them.
func anchors(text string) words {
	found := words{}
	for _, h := range heading.FindAllStringSubmatch(prose(text), -1) {
		anchor := strings.ReplaceAll(strings.ToLower(h[1]), " ", "-")
		found[regexp.MustCompile(`[^\w-]`).ReplaceAllString(anchor, "")] = ""
	}
	return found
}

func TestDocs_LinksAndNamesLeadSomewhere(t *testing.T) {
	makefile := read(t, "Makefile")
	for path, text := range documents(t) {
		for _, l := range link.FindAllStringSubmatch(text, -1) {
			if strings.HasPrefix(l[1], "https://") {
				continue
			}
			to := path
			if l[1] != "" {
				to = filepath.Join(filepath.Dir(path), l[1])
			}
			require.FileExists(t, filepath.Join(root, to), "%s: %s", path, l[0])
			if l[2] != "" {
				require.Contains(t, anchors(read(t, to)), l[2], "%s: %s", path, l[0])
			}
		}
		spans := codes(prose(text))
		for _, c := range spans {
			if _, err := fs.Stat(os.DirFS(root), c); goFile.MatchString(c) && err != nil {
				require.FileExists(t, filepath.Join(root, filepath.Dir(path), c), path)
			}
		}
		for _, b := range blocksOf(path, text) {
			spans = append(spans, b.text)
		}
		for _, m := range target.FindAllStringSubmatch(strings.Join(spans, "\n"), -1) {
			require.Contains(t, makefile, "\n"+m[1]+":", "%s: %s", path, m[0])
		}
	}
}

// Measured numbers stand between two marks, row by row as in a file of
// bench/results, to which there is a link beside them.
func TestDocs_NumbersWereMeasured(t *testing.T) {
	for _, path := range []string{"README.md", "docs/engine.md"} {
		_, after, found := strings.Cut(read(t, path), "<!-- bench -->")
		table, _, closed := strings.Cut(after, "<!-- /bench -->")
		require.True(t, found && closed, "%s: no bench block", path)
		results := ""
		if l := link.FindStringSubmatch(table); l != nil {
			results = read(t, filepath.Join(filepath.Dir(path), l[1]))
		}
		for line := range strings.Lines(table) {
			if strings.HasPrefix(line, "| ") {
				require.Contains(t, results, line, path)
			}
		}
	}
}
