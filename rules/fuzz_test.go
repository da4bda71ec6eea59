package rules

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzExpr holds the parser against Go's own, since the language is a part of
// Go's expressions, and the compiled expression against its index.
func FuzzExpr(f *testing.F) {
	var cases []traefikCase
	data, err := os.ReadFile("testdata/traefik_rules.json")
	require.NoError(f, err)
	require.NoError(f, json.Unmarshal(data, &cases))
	for _, c := range cases {
		f.Add(c.Input.Rule, "example.com/css?q=nginx")
	}
	f.Fuzz(func(t *testing.T, expr, url string) {
		tree, err := parseExpr(expr, matcherNames)
		theirs, theirErr := parser.ParseExpr(expr)
		if err != nil {
			require.NotEmpty(t, inRule(expr, err).Error())
			return
		}
		// Go ends a statement at some line ends, drops "\r" inside backquotes and takes no byte order mark.
		if !strings.ContainsAny(expr, "\r\n\ufeff") {
			require.NoError(t, theirErr)
			require.Equal(t, goTree(t, theirs), tree.String())
		}
		again, err := parseExpr(tree.String(), matcherNames)
		require.NoError(t, err)
		require.Equal(t, tree.String(), again.String())

		c, err := newCondition(tree)
		if err != nil {
			require.Regexp(t, `^rule: column \d+: `, inRule(expr, err).Error())
			return
		}
		table, problems := compile(Rule{Port: 80, Expr: expr, Service: "blog"})
		for _, p := range problems {
			require.False(t, p.Fatal, p.Reason)
		}
		r := request(url)
		found := on80(table).Lookup(r) != nil
		require.Equal(t, found, table.Explain(Listen{Port: 80, Protocol: HTTP}, r)[0].Why == "")
		require.Equal(t, c.holds(r), found, "alternatives %v", table.entries[0].match.alternatives)
	})
}

// goTree spells Go's syntax tree as node.String does.
func goTree(t *testing.T, e ast.Expr) string {
	switch e := e.(type) {
	case *ast.ParenExpr:
		return goTree(t, e.X)
	case *ast.UnaryExpr:
		require.Equal(t, token.NOT, e.Op)
		return "!" + goTree(t, e.X)
	case *ast.BinaryExpr:
		return "(" + goTree(t, e.X) + " " + e.Op.String() + " " + goTree(t, e.Y) + ")"
	case *ast.CallExpr:
		p := exprParser{known: matcherNames}
		n := &node{name: p.lookup(e.Fun.(*ast.Ident).Name)}
		for _, a := range e.Args {
			value, err := strconv.Unquote(a.(*ast.BasicLit).Value)
			require.NoError(t, err)
			n.args = append(n.args, arg{value: value})
		}
		return n.String()
	}
	t.Fatalf("our parser took a %T", e)
	return ""
}

// FuzzCleanPath: what is clean stays, has no dot segments, and is left alone
// unless there is something to do.
func FuzzCleanPath(f *testing.F) {
	for _, s := range []string{"/a/../b", "/%2e%2E/x", "/a//./", "/%2f%zz%", "*", "//..", "/.../..x/."} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, path []byte) {
		sent := bytes.Clone(path)
		clean, dots := CleanPath(nil, path)
		require.Equal(t, sent, path, "the original was changed")
		require.False(t, bytes.HasPrefix(clean, []byte("/")) && hasDots(clean))
		if !dots {
			require.Equal(t, routingPath(nil, path), routingPath(nil, clean))
		}
		again, dots := CleanPath(nil, clean)
		require.Equal(t, string(clean), string(again))
		require.False(t, dots)
	})
}
