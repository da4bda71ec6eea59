package labels

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// keysRead are the keys that a function of package configs knows: those of
// fields{"key": ...} and known["key"] = ...
func keysRead(t *testing.T, file, function string) (keys []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), "../../configs/"+file, nil, 0)
	require.NoError(t, err)
	take := func(e ast.Expr) {
		if l, ok := e.(*ast.BasicLit); ok {
			key, err := strconv.Unquote(l.Value)
			require.NoError(t, err)
			keys = append(keys, key)
		}
	}
	is := func(e ast.Expr, name string) bool {
		id, ok := e.(*ast.Ident)
		return ok && id.Name == name
	}
	see := func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit:
			for _, e := range n.Elts {
				if pair, ok := e.(*ast.KeyValueExpr); ok && is(n.Type, "fields") {
					take(pair.Key)
				}
			}
			return !is(n.Type, "fields") // what is inside are keys of its keys
		case *ast.AssignStmt:
			if at, ok := n.Lhs[0].(*ast.IndexExpr); ok && is(at.X, "known") {
				take(at.Index)
			}
		}
		return true
	}
	for _, d := range parsed.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == function {
			ast.Inspect(f.Body, see)
		}
	}
	require.NotEmpty(t, keys, function)
	return keys
}

// Every key of a rule and of a service in a rules file is a label, but for those
// that have a reason not to be.
func TestOwn_KeysOfARulesFileAreLabels(t *testing.T) {
	f := func(file, function, prefix string, labels []string, otherwise map[string]string) {
		t.Helper()
		var missing []string
		for _, key := range keysRead(t, file, function) {
			key = prefix + key
			if !slices.ContainsFunc(labels, func(l string) bool { return l == key || strings.HasPrefix(l, key+".") }) {
				missing = append(missing, key)
			}
		}
		require.ElementsMatch(t, slices.Collect(maps.Keys(otherwise)), missing, "keys of %s without a label", function)
	}
	const file = "a file of the machine that lb runs on, which is no business of a container"
	ofRule := slices.Concat(ownRuleNames, ownRuleMaps)
	f("port_rules.go", "portRule", "", ofRule, nil)
	f("port_rules.go", "redirect", "redirect.", ofRule, nil)
	f("edits.go", "headerEdit", "request_headers.", ofRule, nil)
	f("edits.go", "headerEdit", "response_headers.", ofRule, nil)
	f("services.go", "service", "", ownServiceNames, map[string]string{"servers": "they are the containers"})
	f("tls.go", "transport", "", ownServiceNames, nil)
	f("tls.go", "serviceTLS", "tls.", ownServiceNames, map[string]string{"tls.ca": file, "tls.cert": file, "tls.key": file})
	f("services.go", "healthCheck", "health_check.", ownServiceNames, nil)
}
