package configs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is accepted compiles or is rejected in words; nothing panics.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"*.yml", "rancher/*.yml", "testdata/*.yml"} {
		files, err := filepath.Glob(pattern)
		require.NoError(f, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(f, err)
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("fuzz.yml", text)
		require.Equal(t, err == nil, c != nil)
		if err != nil {
			return
		}
		names := map[string]bool{}
		for _, s := range c.Services {
			require.False(t, names[s.Name], "two services %q", s.Name)
			names[s.Name] = true
			require.True(t, len(s.Instances) > 0 || isDiscovered(s.Name), "no server of %q", s.Name)
			for _, i := range s.Instances {
				require.NotEmpty(t, i.Host)
			}
			require.NoError(t, s.Check.Validate())
		}
		for _, r := range c.Rules {
			require.NotZero(t, r.Port)
			require.True(t, r.Service == "" || names[r.Service], "rule without its service %q", r.Service)
		}
	})
}
