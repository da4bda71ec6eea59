package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// manager is a token that may do everything, of agents with ACLs.
const manager = "11111111-1111-1111-1111-111111111111"

// startGuarded runs an agent that shows nothing without a token.
func startGuarded(t *testing.T) *agent {
	t.Helper()
	a := startAgent(t, "-hcl", fmt.Sprintf(
		`acl { enabled = true default_policy = "deny" token_ttl = "100ms" tokens { initial_management = %q agent = %[1]q } }`, manager))
	a.token = manager
	return a
}

// tokenFor makes a token known that may do what the rules say. Its accessor is
// the same but for the first digit.
func (a *agent) tokenFor(digit int, rules string) (token string) {
	a.t.Helper()
	name := fmt.Sprint("policy", digit)
	a.put("/v1/acl/policy", object{"Name": name, "Rules": rules})
	rest := fmt.Sprintf("%07d-0000-0000-0000-000000000000", digit)
	a.put("/v1/acl/token", object{"SecretID": "a" + rest, "AccessorID": "b" + rest, "Policies": []object{{"Name": name}}})
	return "a" + rest
}

const readEverything = `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" } key_prefix "" { policy = "read" }`

func TestConsul_TokenRevokedAndReplaced(t *testing.T) {
	a := startGuarded(t)
	port, admin := freePort(t), freePort(t)
	tag := fmt.Sprint("lb.source_port=", port)
	server, _ := checkedServer(t, "server")
	register := func(id string) { t.Helper(); a.register("blog", id, server, nil, tag) }
	register("one")
	file := write(t, "token", a.tokenFor(2, readEverything)+"\n")
	p := start(t, "-config", write(t, "rules.yml", fmt.Sprintf(
		"sources: {consul: {address: %q, token_file: %q, kv: lb/rules}}\nadmin: {address: %q}\n", a.address, file, local(admin))))
	verbose := func() string { t.Helper(); return curl(t, "http://"+local(admin)+"/healthz?verbose") }
	require.Equal(t, "200 server /", visit(t, port))
	require.Contains(t, verbose(), "[+] source consul\n")

	stays := func(reason string) {
		t.Helper()
		p.await("consul does not answer", reason)
		require.Equal(t, "200 server /", visit(t, port))
		require.Contains(t, verbose(), reason)
	}
	recovers := func(token string) {
		t.Helper()
		write(t, file, token)
		p.await("consul answers again")
		require.Equal(t, "200 server /", visit(t, port))
	}
	a.revoke(2)
	register("two") // ends the queries that wait
	stays("ACL not found")
	recovers(a.tokenFor(3, readEverything))

	write(t, file, a.tokenFor(4, ""))
	register("three")
	stays("the token may no longer read it")
	recovers(a.tokenFor(5, readEverything))

	write(t, file, "")
	register("four")
	stays("token_file: " + file + " is empty")
	recovers(a.tokenFor(6, readEverything))

	require.NoError(t, os.Remove(file))
	register("five")
	stays("no such file")
	recovers(a.tokenFor(7, readEverything))
}

// revoke takes back the token that tokenFor made.
func (a *agent) revoke(digit int) {
	a.t.Helper()
	curl(a.t, "-f", "-X", "DELETE", "-H", "X-Consul-Token: "+a.token, fmt.Sprintf("http://%s/v1/acl/token/b%07d-0000-0000-0000-000000000000", a.address, digit))
}

func TestConsul_TokenOfTheEnvironment(t *testing.T) {
	a := startGuarded(t)
	port := freePort(t)
	server, _ := checkedServer(t, "server")
	a.register("blog", "blog", server, nil, fmt.Sprint("lb.source_port=", port))
	token := a.tokenFor(2, readEverything)
	serves := func(consul string, env ...string) {
		t.Helper()
		p := startWith(t, env, consul)
		require.Equal(t, "200 server /", visit(t, port))
		require.NoError(t, p.Process.Kill())
		p.exit()
	}
	serves(fmt.Sprintf("address: %q, token: %s", a.address, token))
	serves("", "CONSUL_HTTP_ADDR="+a.address, "CONSUL_HTTP_TOKEN="+token)
	serves("", "CONSUL_HTTP_ADDR=http://"+a.address, "CONSUL_HTTP_TOKEN_FILE="+write(t, "token", token))
	serves("token: "+token, "CONSUL_HTTP_ADDR="+a.address, "CONSUL_HTTP_TOKEN=other", "CONSUL_HTTP_TOKEN_FILE=/nowhere")
}

// startWith runs lb with these keys of sources.consul in this environment.
func startWith(t *testing.T, env []string, consul string) *process {
	t.Helper()
	cmd := exec.Command(binary, "-log-format", "json", "-admin", "off", "-config", write(t, "rules.yml", "sources: {consul: {"+consul+"}}\n"))
	cmd.Env = append(os.Environ(), env...)
	p := launchCmd(t, cmd)
	p.await(`"serving"`)
	p.stderr.rewind()
	return p
}

func TestConsul_TLS(t *testing.T) {
	consul, err := consulPath()
	require.NoError(t, err)
	dir := t.TempDir()
	for _, args := range [][]string{{"ca", "create"}, {"cert", "create", "-server"}, {"cert", "create", "-client"}} {
		cmd := exec.Command(needFile(t, consul), append([]string{"tls"}, args...)...)
		cmd.Dir = dir
		r := finish(t, cmd)
		require.Zero(t, r.code, r.stdout, r.stderr)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	ca, cert, key := at("consul-agent-ca.pem"), at("dc1-client-consul-0.pem"), at("dc1-client-consul-0-key.pem")
	secure := freePort(t)
	a := startAgent(t, "-hcl", fmt.Sprintf(`ports { https = %d } tls { https { verify_incoming = true ca_file = %q cert_file = %q key_file = %q } }`,
		secure, ca, at("dc1-server-consul-0.pem"), at("dc1-server-consul-0-key.pem")))
	port := freePort(t)
	server, _ := checkedServer(t, "server")
	a.register("blog", "blog", server, nil, fmt.Sprint("lb.source_port=", port))
	serves := func(consul string, env ...string) {
		t.Helper()
		p := startWith(t, env, consul)
		require.Equal(t, "200 server /", visit(t, port))
		require.NoError(t, p.Process.Kill())
		p.exit()
	}
	files := fmt.Sprintf("tls: {ca: %q, cert: %q, key: %q", ca, cert, key)
	serves(fmt.Sprintf("address: %q, scheme: https, %s}", local(secure), files))
	serves(fmt.Sprintf("address: %q, %s, server_name: server.dc1.consul}", "https://"+local(secure), files))
	serves(fmt.Sprintf("address: %q, tls: {cert: %q, key: %q, insecure_skip_verify: true}", "https://"+local(secure), cert, key))
	address := "CONSUL_HTTP_ADDR=" + local(secure)
	serves("", address, "CONSUL_HTTP_SSL=true", "CONSUL_CACERT="+ca, "CONSUL_CLIENT_CERT="+cert, "CONSUL_CLIENT_KEY="+key)
	serves("", address, "CONSUL_HTTP_SSL=true", "CONSUL_HTTP_SSL_VERIFY=false", "CONSUL_CLIENT_CERT="+cert, "CONSUL_CLIENT_KEY="+key)
	only := t.TempDir()
	require.NoError(t, os.Symlink(ca, filepath.Join(only, "ca.pem")))
	serves("", address, "CONSUL_HTTP_SSL=1", "CONSUL_CAPATH="+only, "CONSUL_CLIENT_CERT="+cert, "CONSUL_CLIENT_KEY="+key, "CONSUL_TLS_SERVER_NAME=localhost")

	refuses := func(reason, consul string) {
		t.Helper()
		startWith(t, nil, fmt.Sprintf("address: %q, %s", "https://"+local(secure), consul)).await("consul does not answer", reason)
	}
	refuses("", fmt.Sprintf("tls: {ca: %q}", ca)) // net/http knows the reason sometimes only
	refuses("certificate signed by unknown authority", fmt.Sprintf("tls: {cert: %q, key: %q}", cert, key))
	refuses("not other.example", files+", server_name: other.example}")
}

func TestConsul_UnixSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "lb") // short: a socket's path has 107 characters
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	socket := "unix://" + filepath.Join(dir, "s")
	a := startAgent(t, "-hcl", fmt.Sprintf("addresses { http = %q }", "127.0.0.1 "+socket))
	port := freePort(t)
	server, _ := checkedServer(t, "server")
	a.register("blog", "blog", server, nil, fmt.Sprint("lb.source_port=", port))
	for env, consul := range map[string]string{"CONSUL_HTTP_ADDR=" + socket: "", "CONSUL_HTTP_ADDR=": fmt.Sprintf("address: %q", socket)} {
		p := startWith(t, []string{env}, consul)
		require.Equal(t, "200 server /", visit(t, port))
		require.NoError(t, p.Process.Kill())
		p.exit()
	}
}

func TestConsul_NamespacesNeedEnterprise(t *testing.T) {
	a := startAgent(t)
	address := fmt.Sprintf("address: %q", a.address)
	startWith(t, nil, address+", namespace: team").await("consul does not answer", `Invalid query parameter: \"ns\"`, "Enterprise")
	startWith(t, nil, address+", partition: east").await("consul does not answer", `Invalid query parameter: \"partition\"`, "Enterprise")
	startWith(t, []string{"CONSUL_NAMESPACE=team"}, address).await("consul does not answer", `Invalid query parameter: \"ns\"`)
	startWith(t, []string{"CONSUL_PARTITION=east"}, address).await("consul does not answer", `Invalid query parameter: \"partition\"`)
}
