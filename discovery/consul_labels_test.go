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

// TestConsul_ACanaryGetsNoneOfTheOthersRequests: Nomad starts new versions so.
func TestConsul_ACanaryGetsNoneOfTheOthersRequests(t *testing.T) {
	f := newFakeConsul()
	f.services["blog"] = []*api.ServiceEntry{
		consulEntry("blog", 1, "traefik.http.routers.blog.rule=Host(`a`)"),
		consulEntry("blog", 2, "traefik.consulcatalog.canary=true", "traefik.http.routers.canary.rule=Host(`b`)"),
	}
	withConsul(t, &Consul{Config: DefaultConsul}, f, func(t *testing.T, last func() string) {
		canary := canaryName("blog", DefaultConsul.labelsOf(f.services["blog"][1]))
		require.Equal(t, "80 Host(`a`) -> blog\n80 Host(`b`) -> "+canary+"\nblog: 10.0.0.1:8080\n"+canary+": 10.0.0.2:8080\n", last())
	})
}

func TestConsul_TheServiceMeshStaysHidden(t *testing.T) {
	f := newFakeConsul()
	f.services["blog"] = []*api.ServiceEntry{consulEntry("blog", 1, "traefik.enable=true", "traefik.consulcatalog.connect=true")}
	withConsul(t, &Consul{Config: DefaultConsul}, f, func(t *testing.T, last func() string) {
		require.Equal(t, "!consul service blog: label traefik.consulcatalog.connect/: its servers belong to the service mesh, which lb takes no part in; it stays hidden\n", last())
	})
}

// TestConsul_InstancesWithoutAPortAreNotAskedOnOurOwn: lb may be on the same machine.
func TestConsul_InstancesWithoutAPortAreNotAskedOnOurOwn(t *testing.T) {
	f := newFakeConsul()
	first, second := consulEntry("blog", 1, blogTag), consulEntry("blog", 2, blogTag)
	first.Service.Port = 0
	f.services["blog"] = []*api.ServiceEntry{first, second}
	withConsul(t, &Consul{Config: DefaultConsul}, f, func(t *testing.T, last func() string) {
		require.Equal(t, blogRule+"blog: 10.0.0.2:8080\n"+
			"!consul service blog/: service \"blog\": 1 of 2 instances are registered without a port, and no label says one, such as lb.target_port=80\n", last())
		f.change(func() { second.Service.Port = 0 })
		pass(time.Second)
		require.Equal(t, "!consul service blog/: service \"blog\": 2 of 2 instances are registered without a port, and no label says one, such as lb.target_port=80\n", last())
		f.change(func() {
			first.Service.Tags = append(first.Service.Tags, "lb.target_port=81")
			second.Service.Tags = first.Service.Tags
		})
		pass(time.Second)
		require.Equal(t, blogRule+"blog: 10.0.0.1:81 10.0.0.2:81\n", last())
	})
}
