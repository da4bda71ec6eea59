package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConsul_RequestsAlreadySentFinish(t *testing.T) {
	a := startAgent(t)
	port := freePort(t)
	for _, leave := range []string{"deregister/blog", "maintenance/blog?enable=true"} {
		server := slowServer(t)
		var at int
		_, err := fmt.Sscanf(server.address, "127.0.0.1:%d", &at)
		require.NoError(t, err)
		a.register("blog", "blog", at, nil, fmt.Sprint("lb.source_port=", port))
		p := start(t, "-admin", "off", "-config", write(t, "rules.yml", fmt.Sprintf("sources: {consul: {address: %q}}", a.address)))
		answer := make(chan string, 1)
		go func() { // ends with the answer
			text, err := fetch(port)
			answer <- fmt.Sprint(text, err)
		}()
		<-server.asked
		a.put("/v1/agent/service/"+leave, nil)
		p.await(`"rule `) // changed or removed
		close(server.answer)
		require.Equal(t, "200 at last<nil>", <-answer)
		require.NoError(t, p.Process.Kill())
		p.exit()
	}
}

func TestConsul_Addresses(t *testing.T) {
	a := startAgent(t)
	port, server := freePort(t), testPort(t, "four")
	six := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "six") }))
	var err error
	six.Listener, err = net.Listen("tcp6", "[::1]:0")
	require.NoError(t, err)
	six.Start()
	t.Cleanup(six.Close)
	at6 := six.Listener.Addr().(*net.TCPAddr).Port
	a.register("node", "node", server, object{"Address": ""}, "lb.hostname=node.example")
	a.register("six", "six", at6, object{"Address": "::1"}, "lb.hostname=six.example")
	a.register("name", "name", server, object{"Address": "localhost"}, "lb.hostname=name.example")
	a.register("wide", "wide", 1, object{"Address": "127.0.0.9", "TaggedAddresses": object{
		"wan": object{"Address": "127.0.0.1", "Port": server}, "lan": object{"Address": "127.0.0.8", "Port": 2}}}, "lb.hostname=wide.example")
	run := func(more string) *process {
		return startWith(t, nil, fmt.Sprintf("address: %q, entry_points: {web: %d}%s", a.address, port, more))
	}
	p := run(", tagged_address: wan")
	for host, want := range map[string]string{"node": "four /", "six": "six", "name": "four /", "wide": "four /"} {
		require.Equal(t, want, askHost(t, port, host+".example", "/"), host)
	}
	require.NoError(t, p.Process.Kill())
	p.exit()
	p = run(", tagged_address: lan")
	p.await("rule added", "wide.example", serversOf("127.0.0.8:2"))
	require.NoError(t, p.Process.Kill())
	p.exit()
	run("").await("rule added", "wide.example", serversOf("127.0.0.9:1"))
}

func TestConsul_TagsOfFabioAreServed(t *testing.T) {
	a := startAgent(t)
	port := freePort(t)
	host := func(name string) (at int) {
		address := testServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, name, " ", r.Host, " ", r.URL.Path)
		}))
		_, err := fmt.Sscanf(address, "127.0.0.1:%d", &at)
		require.NoError(t, err)
		return at
	}
	one, two := host("one"), host("two")
	a.register("shop", "one", one, nil, "urlprefix-a.example/old strip=/old prepend=/new", "urlprefix-b.example/ host=dst",
		"urlprefix-c.example/ host=inner.example", "urlprefix-w.example/ weight=0.75", "urlprefix-*.glob.example/", "urlprefix-/any",
		"urlprefix-r.example/ redirect=301,https://www.$host$path", "urlprefix-s.example/ proto=htp", "urlprefix-t.example/x proto=tcp",
		"urlprefix-n.example", "urlprefix-$DC.example/")
	a.register("shop", "two", two, nil, "urlprefix-w.example/")
	p := startWith(t, nil, fmt.Sprintf("address: %q, entry_points: {web: %d}", a.address, port))
	f := func(host, path, want string) {
		t.Helper()
		require.Equal(t, want, askHost(t, port, host, path))
	}
	f("a.example", "/old/x", "one a.example /new/x")
	f("b.example", "/x", "one "+local(one)+" /x")
	f("c.example", "/x", "one inner.example /x")
	f("deep.glob.example", "/x", "one deep.glob.example /x")
	f("else.example", "/any/x", "one else.example /any/x")
	f("n.example", "/x", "one n.example /x")
	f("dc1.example", "/x", "one dc1.example /x")
	got := map[string]int{}
	for range 8 {
		got[askHost(t, port, "w.example", "/")]++
	}
	require.Equal(t, map[string]int{"one w.example /": 6, "two w.example /": 2}, got)
	require.Contains(t, curl(t, "-D-", "-o/dev/null", "-H", "Host: r.example", "http://"+local(port)+"/x?y=z"), "Location: https://www.r.example/x?y=z\r\n")
	for _, tag := range []string{"urlprefix-s.example/ proto=htp", "urlprefix-t.example/x proto=tcp"} {
		p.stderr.rewind()
		p.await("rejected", "consul service shop: tag "+tag)
	}
}

func TestConsul_KeysOfKVComeAndGo(t *testing.T) {
	a := startAgent(t)
	port := freePort(t)
	server := testPort(t, "server")
	rule := func(host string) string {
		return fmt.Sprintf(`{"port_rules": [{"source_port": %d, "hostname": %q, "service": "files"}]}`, port, host)
	}
	a.put("/v1/kv/lb/rules/one", rule("one.example"))
	p := startWith(t, nil, fmt.Sprintf("address: %q, kv: lb/rules}}\nservices: {files: {servers: [%q]}}\ndefaults: {loops: 1, error_pages: {", a.address, local(server)))
	require.Equal(t, "server /", askHost(t, port, "one.example", "/"))
	remove := func(key string) {
		t.Helper()
		curl(t, "-f", "-X", "DELETE", "http://"+a.address+"/v1/kv/"+key)
	}
	a.put("/v1/kv/lb/rules/two", rule("two.example"))
	p.await("rule added", "two.example")
	a.put("/v1/kv/lb/rules/one", "port_rules: [{source_port: 99999}]")
	p.await("rejected", "consul kv lb/rules/one:1", "the value before it stays in force")
	require.Equal(t, "server /", askHost(t, port, "one.example", "/"))
	require.Equal(t, "server /", askHost(t, port, "two.example", "/"))
	a.put("/v1/kv/lb/rules/settings", "defaults: {loops: 3}")
	p.await("rejected", "consul kv lb/rules/settings:1")
	remove("lb/rules/one")
	p.await("rule removed", "one.example")
	remove("lb/rules?recurse")
	p.await("rule removed", "two.example")
	a.put("/v1/kv/lb/rules/three", rule("three.example"))
	p.await("rule added", "three.example")
}

// TestConsul_AnswersThatAreNone stands between the agent and lb, and spoils answers.
func TestConsul_AnswersThatAreNone(t *testing.T) {
	a := startAgent(t)
	target := &url.URL{Scheme: "http", Host: a.address}
	through := httputil.NewSingleHostReverseProxy(target)
	var spoil atomic.Pointer[func(w http.ResponseWriter)]
	between := testServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s := spoil.Load(); s != nil {
			(*s)(w)
			return
		}
		through.ServeHTTP(w, r)
	}))
	port := freePort(t)
	server := testPort(t, "server")
	register := func(id string) { t.Helper(); a.register("blog", id, server, nil, fmt.Sprint("lb.source_port=", port)) }
	register("blog")
	p := startWith(t, nil, fmt.Sprintf("address: %q", between))
	require.Equal(t, "200 server /", visit(t, port))
	for n, spoiled := range []struct {
		reason string
		answer func(w http.ResponseWriter)
	}{
		{"overloaded", func(w http.ResponseWriter) { http.Error(w, "overloaded", http.StatusInternalServerError) }},
		{"invalid character", func(w http.ResponseWriter) { w.Header().Set("X-Consul-Index", "9"); _, _ = io.WriteString(w, "<html>") }},
		{"EOF", func(w http.ResponseWriter) {
			w.Header().Set("X-Consul-Index", "9")
			_, _ = io.WriteString(w, `{"blog": [`)
		}},
		{"knows no leader", func(w http.ResponseWriter) {
			w.Header().Set("X-Consul-Index", "many")
			_, _ = io.WriteString(w, `null`)
		}},
		{"EOF", func(http.ResponseWriter) { panic(http.ErrAbortHandler) }},
	} {
		spoil.Store(&spoiled.answer)
		register(fmt.Sprint("blog", n)) // ends the queries that wait
		p.await("consul does not answer", spoiled.reason)
		require.Equal(t, "200 server /", visit(t, port))
		spoil.Store(nil)
		p.await("consul answers again")
		require.Equal(t, "200 server /", visit(t, port))
	}
}

// TestConsul_ByTheFlagAlone: the environment says where.
func TestConsul_ByTheFlagAlone(t *testing.T) {
	a := startAgent(t)
	port := freePort(t)
	a.register("blog", "blog", testPort(t, "server"), nil, fmt.Sprint("lb.source_port=", port))
	cmd := exec.Command(binary, "-log-format", "json", "-admin", "off", "-consul")
	cmd.Env = append(os.Environ(), "CONSUL_HTTP_ADDR="+a.address)
	launchCmd(t, cmd).await(`"serving"`)
	require.Equal(t, "200 server /", visit(t, port))
}

// TestConsul_TheSampleWorks against an agent that knows what it names.
func TestConsul_TheSampleWorks(t *testing.T) {
	a := startAgent(t)
	port, admin := freePort(t), freePort(t)
	text, err := os.ReadFile("../../configs/consul/lb.yml")
	require.NoError(t, err)
	sample := strings.NewReplacer("127.0.0.1:8500", a.address, "web: 80 ", fmt.Sprintf("web: %d ", port), "source_port: 80,", fmt.Sprintf("source_port: %d,", port)).Replace(string(text))
	for _, id := range []string{"stable", "beta"} {
		a.register("blog", id, testPort(t, id), nil, id)
	}
	a.register("shop", "shop", testPort(t, "shop"), nil, "lb.hostname=shop.example")
	a.put("/v1/kv/lb/rules/more", fmt.Sprintf("port_rules: [{source_port: %d, hostname: more.example, service: \"consul:blog?tag=stable\"}]", port))
	p := start(t, "-admin", local(admin), "-config", write(t, "rules.yml", sample))
	require.Equal(t, "beta /", askHost(t, port, "beta.arzur.net", "/"))
	require.Equal(t, "shop /", askHost(t, port, "shop.example", "/"))
	require.Equal(t, "stable /", askHost(t, port, "more.example", "/"))
	p.stderr.rewind()
	p.await("rule added", `"match":"arzur.net"`, "servers")
	a.await("Synced service", "service=lb-")
}

// TestConsul_NamesThatAPathWouldChange: Consul takes any text for a name.
func TestConsul_NamesThatAPathWouldChange(t *testing.T) {
	a := startAgent(t)
	port := freePort(t)
	names := []string{"my blog", "my/blog", "blog%2F?x=#1", "blög"}
	for i, name := range names {
		a.register(name, fmt.Sprint("blog-", i), testPort(t, name), nil, fmt.Sprintf("lb.hostname=%d.example", i), fmt.Sprint("lb.source_port=", port))
	}
	startWith(t, nil, fmt.Sprintf("address: %q", a.address))
	for i, name := range names {
		require.Equal(t, name+" /", askHost(t, port, fmt.Sprint(i, ".example"), "/"))
	}
}
