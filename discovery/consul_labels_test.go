package discovery

import (
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"
)

func TestConsul_LabelsOfTagsAndMeta(t *testing.T) {
	f := func(want map[string]string, meta map[string]string, tags ...string) {
		t.Helper()
		e := &api.ServiceEntry{Node: &api.Node{Datacenter: "dc1"}, Service: &api.AgentService{Tags: tags, Meta: meta}}
		require.Equal(t, want, DefaultConsul.labelsOf(e))
	}
	f(map[string]string{"lb.path": "/a", "v1": ""}, nil, " lb.path = /a ", "v1")
	f(map[string]string{"lb.blog.path": "/a"}, map[string]string{"lb-blog-path": "/a"})
	f(map[string]string{"urlprefix-/a strip=/a": ""}, nil, " urlprefix-/a strip=/a ")
	f(map[string]string{"urlprefix-a.net/ host=b": "", "urlprefix-/c": ""}, map[string]string{"urlprefix-1": "a.net/ host=b", "urlprefix-2": "/c"})
	f(map[string]string{"urlprefix-dc1.a.net/dc1/$x host=$DC": ""}, nil, "urlprefix-$DC.a.net/${DC}/$x host=$DC")
	f(map[string]string{"urlprefix-/dc1": ""}, map[string]string{"urlprefix-": "/$DC"})
}

func TestConsul_TagsInUpperCaseAreReported(t *testing.T) {
	f := func(want string, tags ...string) {
		t.Helper()
		var got string
		for _, p := range DefaultConsul.misspelt(map[string][]string{"blog": tags}) {
			got += p.Origin + ": " + p.Reason + "\n"
		}
		require.Equal(t, want, got)
	}
	f("", "lb.Hostname=a", "traefik.enable=true", "urlprefix-/A", "LB", "V1.2", "", "Traefik", "\u212a\u212a", "\u212aB.a")
	f(`consul service blog: tag "LB.hostname=A" is not read; did you mean "lb.hostname=A"? It is written in lower case
consul service blog: tag "Traefik.enable=true" is not read; did you mean "traefik.enable=true"? It is written in lower case
consul service blog: tag "UrlPrefix-a/B" is not read; did you mean "urlprefix-a/B"? It is written in lower case
`, "LB.hostname=A", "Traefik.enable=true", "UrlPrefix-a/B")

	fake := newFakeConsul()
	fake.services["blog"] = []*api.ServiceEntry{consulEntry("blog", 1, "v1")}
	withConsul(t, &Consul{Config: DefaultConsul}, fake, func(t *testing.T, last func() string) {
		require.Empty(t, last())
		fake.change(func() { fake.services["blog"][0] = consulEntry("blog", 1, "LB.path=/") })
		pass(time.Second)
		require.Contains(t, last(), `tag "LB.path=/" is not read`)
		fake.change(func() { fake.services["blog"][0] = consulEntry("blog", 1, "v2") })
		pass(time.Second)
		require.Empty(t, last())
	})
}

func TestConsul_CanaryName(t *testing.T) {
	f := func(want string, labels map[string]string) {
		t.Helper()
		require.Equal(t, want, canaryName("Test", labels))
	}
	f("", nil)
	f("", map[string]string{canaryLabel: "false"})
	f("", map[string]string{canaryLabel: "perhaps"})
	// As in Traefik's own tests.
	f("Test-97077516270503695", map[string]string{canaryLabel: "true", "traefik.consulcatalog.connect": "true", "v2": ""})
	f("Test-17573747155436217342", map[string]string{canaryLabel: "true", "traefik.tcp.routers.test-canary.rule": "HostSNI(`canary.foobar`)"})
}
