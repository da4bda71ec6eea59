package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "arzur.net/lb/"

// rooms says which rooms each room may import, and why that matters.
var rooms = map[string]struct {
	may []string
	why string
}{
	"health":           {nil, "the state of an address is everybody's, and so knows nobody"},
	"rules/labels":     {[]string{"health", "rules"}, "labels become rules wherever they come from"},
	"rules":            {[]string{"health"}, "what the same input compiles to must not depend on where it comes from or what runs"},
	"discovery":        {[]string{"health", "rules", "rules/labels"}, "discovery and proxy never meet: a Table is all that passes between them"},
	"certs":            {[]string{"rules"}, "a certificate is found by a name, whoever asks and over whatever connection"},
	"configs":          {[]string{"health", "rules", "discovery", "certs"}, "what an operator writes is decoded into the parts' own types"},
	"proxy":            {[]string{"health", "rules", "proxy/hello", "proxy/http1", "proxy/loop", "proxy/proxyproto"}, "the hot path never calls back into discovery or configs"},
	"proxy/hello":      {nil, "what decides where a connection goes can be fuzzed, and held against crypto/tls"},
	"proxy/http1":      {nil, "a codec that knows no socket can be fuzzed, and held against others"},
	"proxy/loop":       {nil, "a loop that knows no HTTP can carry HTTP/2 and tunnels too"},
	"proxy/proxyproto": {nil, "a codec that knows no socket can be fuzzed"},
	"admin":            {[]string{"health", "rules", "proxy", "certs"}, "it shows what is, and steers nothing"},
	"cmd/lb":           {[]string{"health", "rules", "discovery", "configs", "proxy", "proxy/http1", "proxy/loop", "admin", "certs"}, "the wiring is the only place that knows everyone"},
}

// outside are rooms that may use nothing from outside the standard library, but
// for these.
var outside = map[string][]string{
	"proxy/hello":      nil,
	"proxy/proxyproto": nil,
	"proxy/http1":      nil,
	"proxy/loop":       {"golang.org/x/sys/unix"},
	"rules":            {"golang.org/x/net/idna"},
}

// pure are rooms where the same input gives the same output: no goroutine, no
// clock, none of these packages.
var pure = map[string][]string{
	"rules":            {"context", "io", "log", "log/slog", "math/rand", "math/rand/v2", "net", "os", "sync"},
	"proxy/http1":      {"context", "io", "log", "log/slog", "math/rand", "math/rand/v2", "net", "os", "sync", "sync/atomic", "time"},
	"proxy/hello":      {"context", "io", "log", "log/slog", "math/rand", "math/rand/v2", "net", "os", "sync", "sync/atomic", "time"},
	"proxy/proxyproto": {"context", "io", "log", "log/slog", "math/rand", "math/rand/v2", "net", "os", "sync", "sync/atomic", "time"},
}

// source is a parsed file.
type source struct {
	*ast.File
	name string
	room string
}

// sources are the files of the program, tests apart.
func sources(t *testing.T) []source {
	t.Helper()
	root := filepath.Join("..", "..")
	var all []source
	require.NoError(t, filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if err == nil && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2) {
				return fs.SkipDir
			}
			return err
		}
		if filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		all = append(all, source{f, relative, path.Dir(filepath.ToSlash(relative))})
		return err
	}))
	require.NotEmpty(t, all)
	return all
}

func (s *source) imports(t *testing.T) (paths []string) {
	t.Helper()
	for _, i := range s.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		require.NoError(t, err)
		paths = append(paths, p)
	}
	return paths
}

func TestDeps_EachRoomImportsWhatItMay(t *testing.T) {
	for _, s := range sources(t) {
		for _, imported := range s.imports(t) {
			to, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			if strings.HasPrefix(s.room, "bench") || strings.HasPrefix(s.room, "tools") {
				require.NotEqual(t, "cmd/lb", to, "%s: nobody imports the program", s.name)
				continue
			}
			// A folder inside a room is part of it, unless it has a line of its own.
			room, known := rooms[s.room]
			if !known {
				room, known = rooms[path.Dir(s.room)]
			}
			require.True(t, known, "%s: room %q has no line in rooms; say what it may import, and why", s.name, s.room)
			inside := path.Dir(to) == s.room || path.Dir(s.room) == to && to != "proxy"
			require.True(t, inside || slices.Contains(room.may, to) || slices.Contains(room.may, path.Dir(to)),
				"%s may not import %s: %s", s.name, imported, room.why)
		}
	}
}

func TestDeps_SomeRoomsDoWithoutOthersCode(t *testing.T) {
	for _, s := range sources(t) {
		allowed, restricted := outside[s.room]
		if !restricted {
			continue
		}
		for _, imported := range s.imports(t) {
			first, _, _ := strings.Cut(imported, "/")
			foreign := strings.Contains(first, ".") && !strings.HasPrefix(imported, module)
			require.True(t, !foreign || slices.Contains(allowed, imported), "%s imports %s", s.name, imported)
		}
	}
}

func TestDeps_PureRoomsHaveNoGoroutineAndNoClock(t *testing.T) {
	for _, s := range sources(t) {
		banned, isPure := pure[s.room]
		if !isPure {
			continue
		}
		for _, imported := range s.imports(t) {
			require.NotContains(t, banned, imported, s.name)
		}
		ast.Inspect(s.File, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				require.Fail(t, "a goroutine", s.name)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" {
					require.NotContains(t, []string{"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Sleep", "Tick"}, n.Sel.Name, s.name)
				}
			}
			return true
		})
	}
}
