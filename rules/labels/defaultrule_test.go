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
}
