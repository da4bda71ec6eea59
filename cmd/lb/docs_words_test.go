package main

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/admin"
)

// The words that the code knows and the words that the documents explain are the
// same. Those of the code are taken from its source: most stand in tables there.

// words is a set; where a word has something to it, such as a status, that is the value.
type words map[string]string

func (w words) sorted() []string { return slices.Sorted(maps.Keys(w)) }

// inSource calls see for every node of the Go files that match, tests apart.
func inSource(t *testing.T, pattern string, see func(ast.Node)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, pattern))
	require.NoError(t, err)
	require.NotEmpty(t, files, pattern)
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			see(n)
			return true
		})
	}
}

// literal is a string or number as it stands in the source.
func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok {
		return "", false
	}
	if s, err := strconv.Unquote(l.Value); err == nil {
		return s, true
	}
	return l.Value, true
}

// literals are those of a list, of a mapping its keys.
func literals(list []ast.Expr) words {
	found := words{}
	for _, e := range list {
		if pair, ok := e.(*ast.KeyValueExpr); ok {
			e = pair.Key
		}
		if s, ok := literal(e); ok {
			found[s] = ""
		}
	}
	return found
}

func name(e ast.Expr) string {
	if id, ok := e.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}

// configWords are the keys of configuration files, and the words that may stand
// as values.
func configWords(t *testing.T) (keys, values words) {
	keys, values = words{}, words{}
	inSource(t, "configs/*.go", func(n ast.Node) {
		switch n := n.(type) {
		case *ast.CompositeLit: // fields{"key": ...}, and the tables of what has no effect yet
			m, isMap := n.Type.(*ast.MapType)
			if name(n.Type) == "fields" || isMap && name(m.Key) == "string" && name(m.Value) == "string" {
				maps.Copy(keys, literals(n.Elts))
			}
		case *ast.AssignStmt: // known["key"] = ...
			if at, ok := n.Lhs[0].(*ast.IndexExpr); ok && name(at.X) == "known" {
				maps.Copy(keys, literals([]ast.Expr{at.Index}))
			}
		case *ast.ValueSpec:
			if list, ok := firstOf(n.Values).(*ast.CompositeLit); ok && n.Names[0].Name == "foreignKeys" {
				maps.Copy(keys, literals(list.Elts))
			}
		case *ast.CallExpr:
			table, ok := firstOf(n.Args).(*ast.CompositeLit)
			switch {
			case name(n.Fun) == "oneOf":
				maps.Copy(values, literals(n.Args))
			case name(n.Fun) == "keyword" && ok:
				maps.Copy(values, literals(table.Elts))
			}
		}
	})
	return keys, values
}

func firstOf(list []ast.Expr) ast.Expr {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

func TestDocs_NameEveryConfigKey(t *testing.T) {
	keys, values := configWords(t)
	require.Greater(t, len(keys), 80)
	require.Greater(t, len(values), 20)
	text := read(t, "docs/rules.md") + read(t, "docs/consul.md")
	for _, key := range keys.sorted() {
		require.Regexp(t, "`(?:[a-z_]+\\.)?"+key+"`", text, "docs/rules.md does not explain the key")
	}
	for _, word := range values.sorted() {
		require.Contains(t, text, "`"+word+"`", "docs/rules.md does not name the word")
	}
	for _, row := range rows(text, "key") {
		key := code(row[0])
		require.Contains(t, keys, key[strings.LastIndexByte(key, '.')+1:], "docs/rules.md explains what is no key")
	}
}

// failureWords are the words of proxy/outcome.go with their statuses.
func failureWords(t *testing.T) words {
	found := words{}
	inSource(t, "proxy/outcome.go", func(n ast.Node) {
		list, ok := n.(*ast.CompositeLit)
		if !ok || len(list.Elts) != 3 {
			return
		}
		if word, ok := literal(list.Elts[1]); ok {
			found[word], _ = literal(list.Elts[0])
		}
	})
	statuses := words{} // of what the codec refuses
	inSource(t, "proxy/http1/reject.go", func(n ast.Node) {
		if call, ok := n.(*ast.CallExpr); ok && name(call.Fun) == "reject" {
			status, _ := literal(call.Args[0])
			statuses[status] = ""
		}
	})
	require.Contains(t, found, "bad_request")
	found["bad_request"] = strings.Join(statuses.sorted(), ", ")
	return found
}

func TestDocs_NameEveryFailure(t *testing.T) {
	failures := failureWords(t)
	require.Greater(t, len(failures), 15)
	for _, document := range []string{"docs/operations.md", "docs/metrics.md"} {
		explained := words{}
		for _, row := range rows(read(t, document), "reason") {
			word := code(row[0])
			explained[word] = ""
			first, _, _ := strings.Cut(failures[word], ",")
			require.Contains(t, row[1], first, "%s: status of %s", document, word)
		}
		require.Equal(t, failures.sorted(), explained.sorted(), document)
	}
	for _, row := range rows(read(t, "docs/operations.md"), "reason") {
		if code(row[0]) == "bad_request" {
			require.Equal(t, failures["bad_request"], row[1])
		}
	}
}

// explained are the code spans in the first column of a document's tables.
func explained(t *testing.T, document, head string) words {
	found := words{}
	for _, row := range rows(read(t, document), head) {
		for _, c := range codes(row[0]) {
			found[c] = ""
		}
	}
	return found
}

// matches are what the first group of pattern finds in the Go files of glob, tests apart.
func matches(t *testing.T, glob, pattern string) words {
	found := words{}
	files, err := filepath.Glob(filepath.Join(root, glob))
	require.NoError(t, err)
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
			found[strings.TrimSuffix(m[1], "{$}")] = ""
		}
	}
	return found
}

func TestDocs_NameEveryMetric(t *testing.T) {
	metrics := matches(t, "proxy/metrics.go", `"(lb_[a-z_]+)"`)
	maps.Copy(metrics, matches(t, "admin/*.go", `"(lb_[a-z_]+)"`))
	maps.Copy(metrics, matches(t, "certs/*.go", `"(lb_[a-z_]+)"`))
	require.Greater(t, len(metrics), 20)
	require.Equal(t, metrics.sorted(), explained(t, "docs/metrics.md", "name").sorted())
	for path, text := range documents(t) {
		for _, c := range codes(prose(text)) {
			if metric, _, _ := strings.Cut(c, "{"); strings.HasPrefix(metric, "lb_") && metric != "lb_config" {
				metric = regexp.MustCompile(`^lb_[a-z_]+`).FindString(metric)
				require.Contains(t, metrics, metric, path)
			}
		}
	}
}

func TestDocs_NameEveryAccessLogField(t *testing.T) {
	fields := matches(t, "proxy/accesslog*.go", `[{,]"([a-z_]+)":`)
	require.Greater(t, len(fields), 15)
	text := section(t, read(t, "docs/metrics.md"), "## Access log")
	named := words{}
	for _, row := range rows(text, "key") {
		for _, c := range codes(row[0]) {
			named[c] = ""
		}
	}
	require.Equal(t, fields.sorted(), named.sorted())
}

func TestDocs_NameEveryAdminPath(t *testing.T) {
	paths := matches(t, "admin/server.go", `mux\.Handle(?:Func)?\("([^"]+)"`)
	require.Greater(t, len(paths), 8)
	named := words{}
	for c := range explained(t, "docs/operations.md", "request") {
		named[c] = ""
	}
	require.Equal(t, paths.sorted(), named.sorted())
	for path := range paths {
		_, path, _ = strings.Cut(path, " ")
		require.Contains(t, read(t, "README.md"), path)
	}
}

func TestDocs_NameEveryFlagAndCommand(t *testing.T) {
	var f flags
	var set flag.FlagSet
	f.defineConfig(&set)
	f.defineRun(&set)
	defineQuestion(&set, new(admin.Question))
	defined := words{}
	set.VisitAll(func(f *flag.Flag) { defined["-"+f.Name] = "" })
	named := words{}
	for c := range explained(t, "docs/operations.md", "flag") {
		name, _, _ := strings.Cut(c, " ")
		named[name] = ""
	}
	require.Equal(t, defined.sorted(), named.sorted())

	named = words{}
	for c := range explained(t, "docs/operations.md", "command") {
		if word := strings.Fields(c)[1]; word != "-config" {
			named[word] = ""
		}
	}
	require.Equal(t, slices.Sorted(maps.Keys(commands())), named.sorted())
}

func TestDocs_NameEveryDependency(t *testing.T) {
	_, direct, _ := strings.Cut(read(t, "go.mod"), "require (")
	direct, _, _ = strings.Cut(direct, "\n)")
	required := words{}
	for _, m := range regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(direct, -1) {
		required[m[1]] = ""
	}
	require.Greater(t, len(required), 5)
	require.Equal(t, required.sorted(), explained(t, "CONTRIBUTING.md", "module").sorted())
	for _, m := range regexp.MustCompile(`(?m)^\t\S+/(\w+)$`).FindAllStringSubmatch(read(t, "tools/lint/go.mod"), -1) {
		require.Contains(t, read(t, "CONTRIBUTING.md"), "`"+m[1]+"`", "tools/lint has a tool that is not explained")
	}
}

func TestDocs_NameEveryMatcher(t *testing.T) {
	matchers := words{}
	inSource(t, "rules/condition.go", func(n ast.Node) {
		if v, ok := n.(*ast.ValueSpec); ok && v.Names[0].Name == "matcherNames" {
			maps.Copy(matchers, literals(v.Values[0].(*ast.CompositeLit).Elts))
		}
	})
	require.Greater(t, len(matchers), 5)
	named := words{}
	for c := range explained(t, "docs/rules.md", "matcher") {
		name, _, _ := strings.Cut(c, "(")
		named[name] = ""
	}
	require.Equal(t, matchers.sorted(), named.sorted())
}

// An error is found in the log by one key, whoever wrote the line.
func TestLog_ErrorsStandUnderOneKey(t *testing.T) {
	for _, dir := range []string{"admin", "certs", "cmd/lb", "discovery", "health", "proxy", "proxy/loop"} {
		inSource(t, dir+"/*.go", func(n ast.Node) {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return
			}
			f, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || name(f.X) != "zap" {
				return
			}
			require.NotEqual(t, "NamedError", f.Sel.Name, dir)
			if key, ok := literal(firstOf(call.Args)); ok {
				require.NotContains(t, []string{"err", "cause", "failure"}, key, dir)
			}
		})
	}
}
