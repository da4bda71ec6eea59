package labels

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDefaultRule(t *testing.T) {
	s := &Subject{
		Name: "shop_blog_1", Service: "blog-shop",
		Labels: map[string]string{"domain": "example.com", "stack": "a/b/c"},
	}
	f := func(template, want string) {
		t.Helper()
		got, err := defaultExpr(s, &Options{DefaultRule: template, Domain: "ignored.org"})
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	f("Host(`{{ normalize .Name }}.x`)", "Host(`blog-shop.x`)")
	f("Host(`{{ normalize .ContainerName }}.x`)", "Host(`shop-blog-1.x`)")
	f("Host(`{{ .Name }}.{{ index .Labels \"domain\" }}`)", "Host(`blog-shop.example.com`)")
	f(`{{ trimSuffix "-shop" .Name }}`, "blog")
	f(`{{ trimPrefix "blog-" .Name | upper }}`, "SHOP")
	f(`{{ "ABC" | lower | replace "b" "-" }}`, "a-c")
	f(`{{ index .Labels "absent" | default "none" }}`, "none")
	f(`{{ index .Labels "domain" | default "none" }}`, "example.com")
	f(`{{ splitList "/" (index .Labels "stack") | first }}`, "a")
	f(`{{ splitList "/" (index .Labels "stack") | last }}`, "c")
	f(`{{ splitList "/" (index .Labels "stack") | join "." }}`, "a.b.c")
	f(`{{ if and (hasPrefix "blog" .Name) (hasSuffix "shop" .Name) (contains "g-s" .Name) }}yes{{ end }}`, "yes")
	f(`{{ if contains "x" .Name }}yes{{ end }}`, "")
	f(`{{ trimAll "b" .Name | trim }}|{{ nospace " a b " }}`, "log-shop|ab")
	f(`{{ trunc 4 .Name }}|{{ trunc -4 .Name }}|{{ trunc 99 .Name }}|{{ trunc -99 .Name }}`, "blog|shop|blog-shop|blog-shop")
	f(`{{ substr 1 3 .Name }}|{{ substr 5 -1 .Name }}|{{ substr -1 99 .Name }}|{{ substr 9 3 .Name }}`, "lo|shop|blog-shop|")
	f(`{{ quote .Name }}`, `"blog-shop"`)
	f(`{{ (split "-" .Name)._1 }}`, "shop")
	f(`{{ list .Name "x" | join "." }}`, "blog-shop.x")
	f(`{{ regexReplaceAll "_[0-9]+$" .ContainerName "" }}|{{ regexFind "^[a-z]+" .Name }}|{{ regexMatch "^blog" .Name }}`, "shop_blog|blog|true")
	f(`{{ get .Labels "domain" }}|{{ hasKey .Labels "absent" }}|{{ empty (get .Labels "absent") }}`, "example.com|false|true")
	f(`{{ coalesce (get .Labels "absent") (get .Labels "domain") "x" }}|{{ coalesce "" }}`, "example.com|")
	f(`{{ hasKey .Labels "domain" | ternary "yes" "no" }}|{{ false | ternary "yes" "no" }}`, "yes|no")
}

func TestDefaultRule_Domain(t *testing.T) {
	f := func(s *Subject, want string) {
		t.Helper()
		o := DefaultOptions
		o.Domain = "docker.localhost"
		got, err := defaultExpr(s, &o)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	f(&Subject{Name: "cdn", Labels: map[string]string{"traefik.domain": "example.com"}}, "Host(`cdn.example.com`)")
	f(&Subject{Name: "running_cdn", Service: "running_cdn"}, "Host(`running-cdn.docker.localhost`)")
	f(&Subject{Name: "shop_blog_1", Service: "blog-shop", Project: "shop", Member: "blog"}, "Host(`blog.shop.docker.localhost`)")
}

func TestDefaultRule_Errors(t *testing.T) {
	f := func(template, want string) {
		t.Helper()
		o := DefaultOptions
		o.DefaultRule = template
		require.ErrorContains(t, o.Validate(), want)
		w := Decode(&Subject{Name: "a", Service: "a", Origin: "container a"}, &o)
		require.Empty(t, w.Rules)
		require.Len(t, w.Problems, 1)
		require.Contains(t, w.Problems[0].Reason, want)
		require.True(t, w.Problems[0].Fatal)
	}
	f("Host(`{{ .Nmae }}`)", "can't evaluate field Nmae")
	f("Host(`{{ nomralize .Name }}`)", `function "nomralize" not defined`)
	f("Host({{ .Name", "unclosed action")
	f("{{ regexFind `(` .Name }}", "missing closing )")
	f("{{ regexReplaceAll `(` .Name `` }}", "missing closing )")
	f("{{ env `HOME` }}", `function "env" not defined`)
}
