package rules

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// rewriting compiles one rule with the given rewrites and applies them.
func rewriting(t *testing.T, path string, edits ...Rewrite) (to Rewritten, ok bool) {
	t.Helper()
	table, problems := Compile(Input{
		Rules:    []Rule{{Port: 80, Service: "s", Rewrites: edits}},
		Services: []Service{{Name: "s"}},
	}, NoBackends{})
	require.Empty(t, problems)
	return table.Entries()[0].Rewrite([]byte(path))
}

func TestRewrite_EditsThePath(t *testing.T) {
	f := func(path, want, prefix, replaced string, edits ...Rewrite) {
		t.Helper()
		got, ok := rewriting(t, path, edits...)
		require.True(t, ok)
		require.Equal(t, []string{want, prefix, replaced}, []string{string(got.Path), string(got.Prefix), string(got.Replaced)})
	}
	strip := func(p ...string) Rewrite { return Rewrite{Kind: StripPrefixes, Prefixes: p} }
	f("/stat/", "/", "/stat/", "", strip("/stat/"))
	f("/stat/us", "/us", "/stat/", "", strip("/stat/"))
	f("/status", "/us", "/stat", "", strip("/stat"))
	f("/stat", "/", "/stat", "", strip("/mismatch", "/stat"))
	f("/other", "/other", "", "", strip("/stat"))
	f("/stat/a%2Fb", "/a%2Fb", "/stat", "", strip("/stat"))
	f("/c/api/123/test3", "/test3", "/c/api/123/", "", Rewrite{Kind: StripPrefixRegexp, Pattern: "/c/[a-z]+/[0-9]+/"})
	f("/x/c/1", "/x/c/1", "", "", Rewrite{Kind: StripPrefixRegexp, Pattern: "/c/[0-9]"})
	f("/b%2Fc", "/a/b%2Fc", "", "", Rewrite{Kind: AddPrefix, Replacement: "/a"})
	f("/old", "/new", "", "/old", Rewrite{Kind: ReplacePath, Replacement: "/new"})
	f("/whoami/and/whoami", "/who-am-i/and/who-am-i", "", "/whoami/and/whoami", Rewrite{Kind: ReplacePathRegexp, Pattern: "/whoami", Replacement: "/who-am-i"})
	f("/downloads/src/source.go", "/downloads/src-source.go", "", "/downloads/src/source.go",
		Rewrite{Kind: ReplacePathRegexp, Pattern: "^(?i)/downloads/([^/]+)/([^/]+)$", Replacement: "/downloads/$1-$2"})
	f("/one/2/four", "/zero/four", "/one/2", "", Rewrite{Kind: StripPrefixRegexp, Pattern: "/one/[0-9]+"}, Rewrite{Kind: AddPrefix, Replacement: "/zero"})
}

func TestRewrite_RefusesDotSegments(t *testing.T) {
	_, ok := rewriting(t, "/api../foo", Rewrite{Kind: StripPrefixes, Prefixes: []string{"/api"}})
	require.False(t, ok)
}

func TestCompile_RejectsRewritesThatCannotBe(t *testing.T) {
	f := func(want string, r Rule) {
		t.Helper()
		r.Port = 80
		_, problems := Compile(Input{Rules: []Rule{r}, Services: []Service{{Name: "s"}}}, NoBackends{})
		require.Len(t, problems, 1)
		require.Contains(t, problems[0].Reason, want)
	}
	f(`pattern "(": error parsing regexp`, Rule{Service: "s", Rewrites: []Rewrite{{Kind: StripPrefixRegexp, Pattern: "("}}})
	f(`strip prefix "x"`, Rule{Service: "s", Rewrites: []Rewrite{{Kind: StripPrefixes, Prefixes: []string{"x"}}}})
	f(`new path "a b"`, Rule{Service: "s", Rewrites: []Rewrite{{Kind: AddPrefix, Replacement: "a b"}}})
	f(`redirect: pattern "^(.*"`, Rule{Redirect: &Redirect{Pattern: "^(.*", Replacement: "$1"}})
	f("replacement is missing", Rule{Redirect: &Redirect{Pattern: "^(.*)"}})
}

func TestRule_AppendPath(t *testing.T) {
	f := func(r Rule, path, want string) {
		t.Helper()
		require.Equal(t, "x"+want, string(r.AppendPath([]byte("x"), []byte(path))))
	}
	f(Rule{}, "/a", "/a")
	f(Rule{StripPrefix: "/cdn"}, "/cdn/x", "/x")
	f(Rule{StripPrefix: "/cdn/"}, "/cdn", "/")
	f(Rule{StripPrefix: "/cdn"}, "/cdnx", "/cdnx")
	f(Rule{AddPrefix: "/v1"}, "/a", "/v1/a")
	f(Rule{AddPrefix: "/v1/"}, "/a", "/v1/a")
	f(Rule{StripPrefix: "/cdn", AddPrefix: "/v1"}, "/cdn", "/v1")
	f(Rule{StripPrefix: "/cdn", AddPrefix: "/v1", ReplacePath: "/h"}, "/cdn/x", "/h")
}
