package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
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
			c, err := Load([]string{file}, "")
			require.Nil(t, c)
			require.ErrorContains(t, err, want)
			require.NotContains(t, err.Error(), "\n", "one mistake, one line")
		})
	}
}
