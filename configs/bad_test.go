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
