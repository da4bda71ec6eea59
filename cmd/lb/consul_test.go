package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// consulPath is where scripts/deps puts Consul.
var consulPath = sync.OnceValues(func() (string, error) { return toolPath("consul", "github.com/hashicorp/consul") })

// toolPath is where scripts/deps puts a program of tools/NAME.
func toolPath(name, module string) (string, error) {
	version, err := exec.Command("go", "list", "-C", filepath.Join("..", "..", "tools", name), "-m", "-f", "{{.Version}}", module).Output()
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "lb-test", name+"-"+strings.TrimSpace(string(version)), name), err
}

// agent is a running Consul.
type agent struct {
	*process
	address string // of its HTTP API
	server  string // where servers talk with each other
	lan     string // where others join
	token   string // for put
	args    []string
}

// newAgent is one that is yet to run, and all of whose ports are its own.
func newAgent(t *testing.T, args ...string) *agent {
	t.Helper()
	http, server, lan := freePort(t), freePort(t), freePort(t)
	ports := fmt.Sprintf("ports { http = %d, server = %d, serf_lan = %d, serf_wan = -1, dns = -1, grpc = -1, grpc_tls = -1 } disable_update_check = true", http, server, lan)
	return &agent{
		address: local(http), server: local(server), lan: local(lan),
		args: append([]string{"agent", "-server", "-bind", "127.0.0.1", "-log-level", "info", "-hcl", ports}, args...),
	}
}

// startAgent runs a development agent, which keeps everything in memory.
func startAgent(t *testing.T, args ...string) *agent {
	t.Helper()
	a := newAgent(t, append([]string{"-dev"}, args...)...)
	a.launch(t)
	a.await("Synced node info")
	return a
}

func (a *agent) launch(t *testing.T) {
	t.Helper()
	path, err := consulPath()
	require.NoError(t, err)
	a.process = launch(t, needFile(t, path), a.args...)
}

// await waits for a line of the agent's log, which is on its stdout.
func (a *agent) await(parts ...string) { a.t.Helper(); a.stdout.await(a.t, parts...) }

// put sends v, or nothing, and wants the agent to agree.
func (a *agent) put(path string, v any) {
	a.t.Helper()
	var body bytes.Buffer
	if text, plain := v.(string); plain {
		body.WriteString(text)
	} else if v != nil {
		require.NoError(a.t, json.NewEncoder(&body).Encode(v))
	}
	r, err := http.NewRequest(http.MethodPut, "http://"+a.address+path, &body)
	require.NoError(a.t, err)
	r.Header.Set("X-Consul-Token", a.token)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(a.t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(a.t, err)
	require.Equal(a.t, 200, answer.StatusCode, "%s: %s", path, text)
}

// object is JSON to be.
type object = map[string]any

// register makes an instance known that is at 127.0.0.1:port.
func (a *agent) register(service, id string, port int, more object, tags ...string) {
	a.t.Helper()
	o := object{"Name": service, "ID": id, "Address": "127.0.0.1", "Port": port, "Tags": tags}
	for key, value := range more {
		o[key] = value
	}
	a.put("/v1/agent/service/register", o)
}

// checked is an HTTP check that Consul makes; a second is its shortest interval.
func checked(port int) object {
	return object{"Check": object{"HTTP": "http://" + local(port) + "/health", "Interval": "1s", "Timeout": "5s", "Status": "passing"}}
}

// checkedServer answers with its name, and its health check while well is set.
func checkedServer(t *testing.T, name string) (port int, well *atomic.Bool) {
	t.Helper()
	well = &atomic.Bool{}
	well.Store(true)
	address := testServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" && !well.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
		fmt.Fprintln(w, name, r.URL.Path)
	}))
	_, err := fmt.Sscanf(address, "127.0.0.1:%d", &port)
	require.NoError(t, err)
	return port, well
}

// askHost is what the host answers on a port.
func askHost(t *testing.T, port int, host, path string) string {
	t.Helper()
	return strings.TrimSpace(curl(t, "-H", "Host: "+host, "http://"+local(port)+path))
}

// serversOf is the end of a line that says which servers a rule has.
func serversOf(servers ...string) string {
	quoted := make([]string, len(servers))
	for i, s := range servers {
		quoted[i] = `"` + s + `"`
	}
	return `"servers":[` + strings.Join(quoted, ",") + "]"
}

func TestConsul_InstancesComeAndGo(t *testing.T) {
	a := startAgent(t)
	port := freePort(t)
	tag := fmt.Sprint("lb.source_port=", port)
	one, _ := checkedServer(t, "one")
	two, _ := checkedServer(t, "two")
	three, well := checkedServer(t, "three")
	for i, at := range []int{one, two, three} {
		a.register("blog", fmt.Sprint("blog-", i+1), at, checked(at), tag)
	}
	p := start(t, "-admin", "off", "-config", write(t, "rules.yml", fmt.Sprintf("sources: {consul: {address: %q}}", a.address)))
	got := map[string]int{}
	for range 6 {
		got[visit(t, port)]++
	}
	require.Equal(t, map[string]int{"200 one /": 2, "200 two /": 2, "200 three /": 2}, got)

	changed := func(servers ...string) { t.Helper(); p.await("rule changed", serversOf(servers...)) }
	well.Store(false)
	changed(local(one), local(two))
	well.Store(true)
	changed(local(one), local(two), local(three))
	a.put("/v1/agent/service/deregister/blog-3", nil)
	changed(local(one), local(two))
	a.register("blog", "blog-2", two, object{"Weights": object{"Passing": 3, "Warning": 1}}, tag)
	changed(local(one), local(two)+" weight 3")
	for _, path := range []string{"/v1/agent/service/maintenance/blog-2", "/v1/agent/maintenance"} {
		a.put(path+"?enable=true", nil)
		if strings.Contains(path, "service") {
			changed(local(one))
		} else {
			changed()
			require.Equal(t, "503", curl(t, "-o", "/dev/null", "-w", "%{http_code}", "http://"+local(port)))
		}
		a.put(path+"?enable=false", nil)
		changed(local(one), local(two)+" weight 3")
	}
	a.put("/v1/agent/service/deregister/blog-1", nil)
	changed(local(two))
	a.put("/v1/agent/service/deregister/blog-2", nil)
	p.await("rule removed")
}

func TestConsul_TagsMetaAndKV(t *testing.T) {
	a := startAgent(t)
	port := freePort(t)
	server, _ := checkedServer(t, "server")
	a.register("own", "own", server, nil, "lb.hostname=own.example", "lb.strip_prefix=/old", "lb.path=/old")
	a.register("three", "three", server, nil, "traefik.enable=true", "traefik.http.routers.r.rule=Host(`traefik.example`)")
	a.register("fabio", "fabio", server, nil, "urlprefix-fabio.example/shop strip=/shop", "urlprefix-other.example/")
	a.register("meta", "meta", server, object{"Meta": object{"lb-hostname": "meta.example"}}, "lb")
	a.register("none", "none", server, nil, "v1")
	a.put("/v1/kv/lb/rules/good", fmt.Sprintf("port_rules: [{source_port: %d, hostname: kv.example, service: \"consul:none?tag=v1\"}]", port))
	a.put("/v1/kv/lb/rules/bad", "port_rulez: []")
	p := start(t, "-admin", "off", "-config", write(t, "rules.yml", fmt.Sprintf(`sources: {consul: {address: %q, kv: lb/rules, entry_points: {web: %d}}}
port_rules:
- {source_port: %d, hostname: file.example, service: "consul:none"}
- {source_port: %d, hostname: nobody.example, service: "consul:nobody"}
`, a.address, port, port, port)))
	require.Equal(t, "server /a", askHost(t, port, "own.example", "/old/a"))
	require.Equal(t, "server /b", askHost(t, port, "traefik.example", "/b"))
	require.Equal(t, "server /cart", askHost(t, port, "fabio.example", "/shop/cart"))
	require.Equal(t, "server /x", askHost(t, port, "other.example", "/x"))
	require.Equal(t, "server /c", askHost(t, port, "meta.example", "/c"))
	require.Equal(t, "server /d", askHost(t, port, "kv.example", "/d"))
	require.Equal(t, "server /e", askHost(t, port, "file.example", "/e"))
	require.Contains(t, askHost(t, port, "nobody.example", "/"), "503")
	require.Contains(t, askHost(t, port, "none", "/"), "404")
	p.stderr.rewind()
	p.await("rejected", "consul kv lb/rules/bad:1", "port_rulez: unknown key")

	a.put("/v1/kv/lb/rules/good", fmt.Sprintf("port_rules: [{source_port: %d, hostname: edited.example, service: consul:none}]", port))
	p.await("rule added", "edited.example")
	require.Equal(t, "server /f", askHost(t, port, "edited.example", "/f"))
	require.Contains(t, askHost(t, port, "kv.example", "/"), "404")
}

func TestConsul_GoneAtTheStartAndLater(t *testing.T) {
	a := startAgent(t)
	port, admin := freePort(t), freePort(t)
	server, _ := checkedServer(t, "server")
	require.NoError(t, a.Process.Kill())
	a.exit()
	p := start(t, "-config", write(t, "rules.yml", fmt.Sprintf(`sources: {consul: {address: %q, register: {}}}
admin: {address: %q}
port_rules: [{source_port: %d, service: "consul:blog"}, {source_port: %d, hostname: file.example, service: file}]
services: {file: {servers: [%q]}}
`, a.address, local(admin), port, port, local(server))))
	require.Equal(t, "server /", askHost(t, port, "file.example", "/"))
	require.Contains(t, askHost(t, port, "blog.example", "/"), "503")
	verbose := func() string { t.Helper(); return curl(t, "http://"+local(admin)+"/healthz?verbose") }
	require.Regexp(t, `\[!\] source consul: .*connection refused`, verbose())
	require.Contains(t, curl(t, "http://"+local(admin)+"/metrics"), `lb_source_up{source="consul"} 0`)

	a.launch(t)
	a.await("Synced node info")
	a.register("blog", "blog", server, nil)
	p.await("rule changed", serversOf(local(server)))
	require.Equal(t, "server /", askHost(t, port, "blog.example", "/"))
	p.stderr.rewind()
	p.await("consul answers again")
	a.await("Synced service", "service=lb-")

	require.NoError(t, a.Process.Kill())
	p.await("consul does not answer")
	require.Equal(t, "server /", askHost(t, port, "blog.example", "/"), "what Consul said last stays")
	require.Contains(t, verbose(), "[!] source consul: what it said")
	require.NotContains(t, curl(t, "http://"+local(admin)+"/metrics"), `lb_source_age_seconds{source="consul"} 0`+"\n")
}
