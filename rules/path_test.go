package rules

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPath_Takes(t *testing.T) {
	f := func(m PathMatch, pattern, path string, want bool) {
		t.Helper()
		p, err := parsePath(pattern, m)
		require.NoError(t, err)
		require.Equal(t, want, p.takes(routingPath(nil, []byte(path))))
	}
	f(PathPrefix, "", "/any", true)
	f(PathPrefix, "", "*", true)
	f(PathPrefix, "/", "/any", true)
	f(PathPrefix, "/", "*", true)
	f(PathPrefix, "/foo", "/foo", true)
	f(PathPrefix, "/foo", "/foo/", true)
	f(PathPrefix, "/foo", "/foo/bar", true)
	f(PathPrefix, "/foo", "/foobar", false)
	f(PathPrefix, "/foo", "/Foo", false)
	f(PathPrefix, "/foo", "/fo", false)
	f(PathPrefix, "/foo", "//foo", false)
	f(PathPrefix, "/foo/", "/foo", false)
	f(PathPrefix, "/foo/", "/foo/", true)
	f(PathPrefix, "/foo/", "/foo/bar", true)
	f(PathPrefix, "/foo bar", "/foo%20bar/x", true)
	f(PathPrefix, "/foo%20bar", "/foo%20bar/x", true)
	f(PathPrefix, "/foo/bar", "/foo%2Fbar", false)
	f(PathPrefix, "/foo%2fbar", "/foo%2Fbar", true)
	f(PathPrefix, "/foo%2Fbar", "/foo%2fbar", true)
	f(PathPrefix, "/foo", "/foo%2Fbar", false)
	f(PathPrefix, "/café", "/caf%C3%A9", true)
	f(PathPrefix, "/caf%c3%a9", "/café", true)
	f(PathPrefix, "/100%", "/100%", true)
	f(PathPrefix, "/100%", "/100%25/x", true)
	f(PathExact, "/foo", "/foo", true)
	f(PathExact, "/foo", "/foo/", false)
	f(PathExact, "/foo", "/%66oo", true)
	f(PathRegexp, `^/v\d+/`, "/v12/x", true)
	f(PathRegexp, `^/v\d+/`, "/x/v12/", false)
	f(PathRegexp, `\.php$`, "/a/b.php", true)
	f(PathRaw, "/Foo", "/foobar", true)
	f(PathRaw, "/foo", "/FOO/x", true)
	f(PathRaw, "/foo", "/fo", false)
}

func TestParsePath_Bad(t *testing.T) {
	f := func(m PathMatch, pattern, want string) {
		t.Helper()
		_, err := parsePath(pattern, m)
		require.EqualError(t, err, want)
	}
	f(PathPrefix, "api", `"api" has no leading slash; want "/api"`)
	f(PathExact, "api", `"api" has no leading slash; want "/api"`)
	f(PathRaw, "api", `"api" has no leading slash; want "/api"`)
	f(PathPrefix, "/api?x=1", `"/api?x=1" goes on after the path; want "/api"`)
	f(PathPrefix, "/api#x", `"/api#x" goes on after the path; want "/api"`)
	f(PathPrefix, "/a/../b", `"/a/../b" has dot segments, which requests are freed of; want "/b"`)
	f(PathPrefix, "/a/%2e%2e/b", `"/a/%2e%2e/b" has dot segments, which requests are freed of; want "/b"`)
	f(PathRegexp, "/(a|b", `bad regexp "/(a|b": column 1: missing closing ): "/(a|b"`)
	f(PathRegexp, "/a[z-a]", `bad regexp "/a[z-a]": column 4: invalid character class range: "z-a"`)
}

func TestCleanPath(t *testing.T) {
	buf := make([]byte, 0, 128)
	f := func(path, want string, wantDots bool) {
		t.Helper()
		clean, dots := CleanPath(buf, []byte(path))
		require.Equal(t, want, string(clean))
		require.Equal(t, wantDots, dots)
	}
	f("", "", false)
	f("*", "*", false)
	f("/", "/", false)
	f("/a/b", "/a/b", false)
	f("/.a/b./..c/...", "/.a/b./..c/...", false)
	f("//a//b", "//a//b", false)
	f("/.", "/", true)
	f("/..", "/", true)
	f("/a/.", "/a/", true)
	f("/a/..", "/", true)
	f("/a/./b", "/a/b", true)
	f("/a/../b", "/b", true)
	f("/a/b/../../c", "/c", true)
	f("/../../a", "/a", true)
	f("/a//../b", "/a/b", true)
	f("/public/../admin", "/admin", true)
	f("/public/%2e%2E/admin", "/admin", true)
	f("/public/.%2e/admin", "/admin", true)
	f("/public/%2e/x", "/public/x", true)
	f("/public/..%2fadmin", "/public/..%2Fadmin", false)
	f("/%7euser/%41%2d%2f%3f%20", "/~user/A-%2F%3F%20", false)
	f("/100%", "/100%25", false)
	f("/%zz%4", "/%25zz%254", false)
	f("/%%32%65%%32%65/x", "/%252e%252e/x", false)
	f("/%252e%252e/x", "/%252e%252e/x", false)

	require.Zero(t, testing.AllocsPerRun(100, func() { CleanPath(buf, []byte("/public/%2e%2e/admin")) }))
}

func TestPath_Covers(t *testing.T) {
	p := func(m PathMatch, pattern string) *path {
		p, err := parsePath(pattern, m)
		require.NoError(t, err)
		return &p
	}
	starts := func(text string) *path { return &path{kind: pathStarts, text: text} }
	f := func(a, b *path, want bool) {
		t.Helper()
		require.Equal(t, want, a.covers(b))
	}
	f(p(PathPrefix, ""), p(PathRegexp, "x"), true)
	f(p(PathPrefix, "/"), p(PathPrefix, ""), true)
	f(p(PathPrefix, "/"), p(PathRegexp, "x"), true)
	f(p(PathRaw, "/"), p(PathPrefix, ""), false)
	f(p(PathRaw, "/"), p(PathPrefix, "/"), false) // the segment prefix takes "*" as well
	f(p(PathRaw, "/"), starts("/"), true)
	f(p(PathPrefix, "/foo"), p(PathPrefix, "/foo"), true)
	f(p(PathPrefix, "/foo"), p(PathPrefix, "/foo/bar"), true)
	f(p(PathPrefix, "/foo"), p(PathPrefix, "/foobar"), false)
	f(p(PathPrefix, "/foo"), p(PathExact, "/foo"), true)
	f(p(PathPrefix, "/foo/"), p(PathExact, "/foo"), false)
	f(p(PathPrefix, "/foo/"), p(PathPrefix, "/foo"), false)
	f(p(PathPrefix, "/foo"), starts("/foo"), false)
	f(p(PathPrefix, "/foo"), starts("/foo/"), true)
	f(p(PathPrefix, "/foo"), starts("/foo/b"), true)
	f(p(PathPrefix, "/foo"), p(PathRaw, "/foo/b"), false)
	f(starts("/fo"), p(PathPrefix, "/foo"), true)
	f(starts("/foo"), p(PathExact, "/foobar"), true)
	f(starts("/foo"), starts("/fo"), false)
	f(p(PathRaw, "/FO"), p(PathPrefix, "/foo"), true)
	f(p(PathRaw, "/fo"), p(PathExact, "/FOO"), true)
	f(starts("/foo"), p(PathRaw, "/foo"), false)
	f(p(PathExact, "/a"), p(PathPrefix, "/a"), false)
	f(p(PathRegexp, "^/a"), p(PathRegexp, "^/a"), true)
	f(p(PathRegexp, "^/a"), p(PathExact, "/a"), false)
}
