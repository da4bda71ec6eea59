package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules"
)

// Each testdata/*.bad.yml begins with a comment: what the error must contain.
func TestLoad_BadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yml")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 40)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".bad.yml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			first, _, _ := strings.Cut(string(text), "\n")
			want := strings.TrimPrefix(first, "# ")
			if strings.HasPrefix(want, ":") {
				want = file + want
			}
			got := mistakes(file)
			require.Contains(t, strings.Join(got, "\n"), want)
			require.Len(t, got, 1, "one mistake, one line")
		})
	}
}

// No part of a file can be read that ends in brackets, so that many lists in them
// are the worst that there is to search.
func TestSearch_IsBoundedInBytes(t *testing.T) {
	list := "  - hostnames: [\n" + strings.Repeat("      www.arzur.net,\n", 24) + "    ]\n"
	f := func(text string, atLeast, budget, want, parsed int) {
		t.Helper()
		s := search{left: budget}
		require.Equal(t, want, s.brokenAt([]byte(text), atLeast))
		require.Equal(t, parsed, budget-s.left)
	}
	good := "port_rules:\n" + strings.Repeat(list, 374)
	bad := "   - source_port: 8080\n"
	f(good+bad, 2, mostParsed, 9726, 2*len(good)+len(bad))
	f(good+bad+good, 2, mostParsed, 9726, 3*len(good)+len(bad))
	f(good+bad, 2, len(good), 2, 0)
	f(good+bad, 2, 2*len(good), 2, len(good)+len(bad))

	// What the parser does not name, 25 lines behind the last part that can be read.
	open := strings.TrimSuffix(list, "    ]\n") + "\x01\n"
	s := search{left: mostParsed}
	require.Equal(t, 9726, s.brokenAt([]byte(good+open), 0))
	require.GreaterOrEqual(t, s.left, 0)
	s.left = 10 * len(good)
	require.Zero(t, s.brokenAt([]byte(good+open), 0))
	require.GreaterOrEqual(t, s.left, 0)
}

func TestSearch_FindsTheFirstLineThatBreaks(t *testing.T) {
	f := func(text string, atLeast, want int) {
		t.Helper()
		s := search{left: mostParsed}
		require.Equal(t, want, s.brokenAt([]byte(text), atLeast))
	}
	f("@", 0, 1)
	f("a: 1\nb: *c\nd: 2\n", 0, 2)
	f("a:\n  - 1\n - 2", 1, 3)
	f("a:\n  - 1\n\n\n - 2\n", 1, 5)
	f("a: 1\n---\nb: [1,\n2\n", 4, 4)
	f("a: 1\nb: '"+strings.Repeat("long\n", 1000), 0, 2)
	f("a: "+strings.Repeat("x", 5000)+"\nb: @\n", 1, 2)
}

// mistakes is what a user is told about a file that does not work: by Load, or
// else by the rules themselves.
func mistakes(file string) []string {
	c, err := Load([]string{file}, "")
	if err != nil {
		return strings.Split(err.Error(), "\n")
	}
	var list []string
	_, problems := rules.Compile(rules.Input{Rules: c.Rules, Services: c.Services}, rules.NoBackends{})
	for _, p := range problems {
		if p.Fatal {
			list = append(list, p.Origin+": "+p.Reason)
		}
	}
	return list
}
