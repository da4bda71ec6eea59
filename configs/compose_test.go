package configs

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"arzur.net/lb/certs"
	"arzur.net/lb/rules"
)

// A stack of two services, and a load balancer with the given port_rules.
func stackOfTwo(t *testing.T, portRules string) *Config {
	t.Helper()
	folder := write(t,
		"st/docker-compose.yml", "version: '2'\nservices:\n  Web: {image: nginx}\n  db: {image: postgres}\n  lb: {image: rancher/lb-service-haproxy}\n",
		"st/rancher-compose.yml", "version: '2'\nservices:\n  lb:\n    lb_config:\n      port_rules:\n      - "+
			strings.ReplaceAll(portRules, "\n", "\n      - ")+"\n",
	)
	c, err := Load([]string{filepath.Join(folder, "st")}, "")
	require.NoError(t, err)
	return c
}

func TestCompose_ServiceReferences(t *testing.T) {
	f := func(reference, service, host string) {
		t.Helper()
		c := stackOfTwo(t, "{source_port: 80, service: "+reference+"}")
		require.Empty(t, c.Problems)
		require.Equal(t, service, c.Rules[0].Service)
		require.Len(t, c.Services, 1)
		require.Equal(t, service, c.Services[0].Name)
		require.Equal(t, []rules.Instance{{Host: host}}, c.Services[0].Instances)
	}
	f("db", "st/db", "db")
	f("web", "st/Web", "Web")
	f("WEB", "st/Web", "Web")
	f("st/db", "st/db", "db")
	f("ST/Db", "st/db", "db")
	f("other/api", "other/api", "api.other")
}

func TestCompose_RuleLeftOut(t *testing.T) {
	f := func(rule, want string) {
		t.Helper()
		c := stackOfTwo(t, "{source_port: 80, service: db}\n"+rule)
		require.Len(t, c.Rules, 1)
		require.Len(t, c.Problems, 1)
		require.True(t, c.Problems[0].Fatal)
		require.True(t, strings.HasSuffix(c.Problems[0].Origin, "rancher-compose.yml:7"), c.Problems[0].Origin)
		require.Equal(t, "services.lb.lb_config.port_rules[1]"+want, c.Problems[0].Reason)
	}
	f("{source_port: 80, service: wbe}", `.service: unknown service "wbe" in stack "st", the rule is left out; did you mean "Web"?`)
	f("{source_port: 80, service: cache}", `.service: unknown service "cache" in stack "st", the rule is left out`)
	f("{source_port: 80, service: st/cache}", `.service: unknown service "st/cache" in stack "st", the rule is left out`)
	f("{source_port: 80, service: st}", `.service: unknown service "st" in stack "st", the rule is left out`)
	f("{source_port: 80, service: lb}", `.service: "lb" is a load balancer itself; the rule is left out`)
	f("{source_port: 80, service: env/st/db}", `.service: "env/st/db" is in another environment, which is not supported yet; the rule is left out`)
	f("{source_port: 80, selector: tier=front}", `.selector: not supported yet; the rule is left out`)
	f("{source_port: 80, container: c1}", `.container: not supported yet; the rule is left out`)
	f("{source_port: 80, service: db, environment: e}", `.environment: not supported yet; the rule is left out`)
	f("{service: db}", `: source_port is missing; the rule is left out`)
}

func TestCompose_NameOfTheStackThatTheFolderHasNot(t *testing.T) {
	folder := write(t, "docker-compose.yml", "version: '2'\nservices: {blog: {}}\n", "rancher-compose.yml",
		"version: '2'\nservices: {lb: {lb_config: {port_rules: [{source_port: 80, service: rancher-blog}]}}}\n")
	f := func(stack, want string) {
		t.Helper()
		c, err := Load([]string{folder}, stack)
		require.NoError(t, err)
		require.Len(t, c.Problems, 1)
		require.Contains(t, c.Problems[0].Reason, want)
	}
	f("", "if that is the stack's own name, say so with -stack rancher-blog")
	f("rancher-blog", `taken as "blog"`)
	folder = filepath.Join(folder, "rancher-compose.yml")
	f("", "the stack's docker-compose.yml may know it, add it with -config")
}

func TestCompose_KeysOfTheOrchestratorAreNoMisspellings(t *testing.T) {
	var b strings.Builder
	for key := range strings.FieldsSeq(`build cap_add cap_drop cgroup_parent command container_name cpu_count cpu_percent
		cpu_quota cpu_shares cpus cpuset depends_on devices dns dns_opt dns_search domainname entrypoint env_file environment
		expose extends external_links extra_hosts group_add healthcheck init ipc isolation links log_driver log_opt logging
		mac_address mem_limit mem_reservation mem_swappiness memswap_limit network_mode networks oom_kill_disable oom_score_adj
		pid pids_limit platform ports privileged read_only restart runtime scale security_opt shm_size stdin_open
		stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits user userns_mode volume_driver volumes volumes_from
		working_dir disks drain_timeout environment_from memory metadata milli_cpu_reservation network_driver retain_ip
		scale_policy secrets service_schemas start_on_create storage_driver type update_strategy upgrade_strategy userdata vcpu`) {
		b.WriteString("    " + key + ": x\n")
	}
	c, err := Load([]string{write(t, "docker-compose.yml",
		"version: '2'\nservices:\n  lb: {lb_config: {port_rules: [{source_port: 80, service: web}]}}\n  web:\n"+b.String())}, "")
	require.NoError(t, err)
	require.Empty(t, c.Problems)
}

func TestCompose_KeyWithoutEffect(t *testing.T) {
	f := func(docker, rancher, want string) {
		t.Helper()
		folder := write(t,
			"docker-compose.yml", "version: '2'\nservices:\n  web:\n    image: nginx\n    "+docker+"\n",
			"rancher-compose.yml", "version: '2'\nservices:\n  web: {}\n  lb:\n    lb_config:\n      port_rules: [{source_port: 80, service: web}]\n      "+rancher+"\n",
		)
		c, err := Load([]string{folder}, "st")
		require.NoError(t, err)
		require.Len(t, c.Rules, 1)
		if want == "" {
			require.Empty(t, c.Problems)
			return
		}
		require.Len(t, c.Problems, 1)
		require.False(t, c.Problems[0].Fatal)
		require.Equal(t, want, strings.TrimPrefix(c.Problems[0].Origin, folder+"/")+": "+c.Problems[0].Reason)
	}
	f("", "", "")
	f("hostname: db1\n    healthcheck: {test: x}\n    scale: 2\n    ports: [80]\n    links: [db]\n    expose: [1]", "", "")
	f("labels: [a=b, io.rancher.lb_service.target=any]", "", "")
	stored := func(at string) string {
		return at + `: the certificate "a" is stored in Rancher and cannot be had from there yet; want {cert: file, key: file}, or the label io.rancher.lb_service.cert_dir`
	}
	f("labels: [io.rancher.lb_service.cert_dir=/certs]", "",
		"docker-compose.yml:5: services.web.labels[0]: label without effect: the service is no load balancer, it has no lb_config with a source_port")
	f("", "certs: [a]", stored("rancher-compose.yml:7: services.lb.lb_config.certs[0]"))
	f("", "default_cert: a", stored("rancher-compose.yml:7: services.lb.lb_config.default_cert"))
	f("", "config: |-\n        global\n          maxconn 1", "rancher-compose.yml:7: services.lb.lb_config.config: HAProxy configuration: not supported yet, without effect")
	f("", "stickiness_policy: {cookie: a}", "rancher-compose.yml:7: services.lb.lb_config.stickiness_policy: sticky sessions: not supported yet, without effect")
	f("labels:\n      role: web\n      io.rancher.loadbalancer.target.web: a.com", "",
		"docker-compose.yml:7: services.web.labels: label io.rancher.loadbalancer.target.web: not supported yet, without effect")
	f("labels: [io.rancher.lb_service.target=only-local]", "",
		"docker-compose.yml:5: services.web.labels[0]: label io.rancher.lb_service.target: not supported yet, without effect")
	f("drain_timeout_ms: 1000", "", "docker-compose.yml:5: services.web.drain_timeout_ms: draining on Rancher's word: not supported yet, without effect")
	f("health_chek: {port: 80}", "", `docker-compose.yml:5: services.web.health_chek: has no effect; did you mean "health_check"?`)
	f("hostnmae: a.net", "", `docker-compose.yml:5: services.web.hostnmae: has no effect; did you mean "hostname"?`)
	f("lables: {a: b}", "", `docker-compose.yml:5: services.web.lables: has no effect; did you mean "labels"?`)
	f("lb_config: {port_rules: [{hostname: a.com, target_port: 80}]}", "",
		"docker-compose.yml:5: services.web.lb_config: no port_rules with a source_port; only selector rules would use it, which are not supported yet")
}

func TestCompose_Protocols(t *testing.T) {
	folder := write(t, "docker-compose.yml", "version: '2'\nservices:\n  web: {}\n  lb:\n    lb_config:\n      port_rules:\n"+
		"      - {source_port: 80, service: web}\n      - {source_port: 81, service: web, protocol: tcp, hostname: ignored.com, path: /ignored}\n"+
		"      - {source_port: 82, service: web, protocol: sni, path: /x}\n      - {source_port: 81, service: web, protocol: http}\n")
	got := mistakes(folder)
	require.Len(t, got, 2)
	require.Contains(t, got[0], `docker-compose.yml:9: path: protocol sni is passed on as it comes`)
	require.Contains(t, got[1], `docker-compose.yml:10: protocol: "http", but rule "81 *" has "tcp" on the same port`)
}

// As Rancher has them, with everything that stands beside.
func TestCompose_CertificateLabels(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b.com", "a.com"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, name), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name, "fullchain.pem"), nil, 0o600))
	}
	folder := write(t,
		"docker-compose.yml", "version: '2'\nservices:\n  web: {}\n  lb:\n    image: rancher/lb-service-haproxy\n    labels:\n"+
			"      io.rancher.lb_service.cert_dir: /certs\n      io.rancher.lb_service.default_cert_dir: "+dir+"\n",
		"rancher-compose.yml", "version: '2'\nservices:\n  lb:\n    lb_config:\n      certs: [{dir: more}]\n"+
			"      port_rules: [{source_port: 443, protocol: https, service: web}]\n",
	)
	c, err := Load([]string{folder}, "st")
	require.NoError(t, err)
	origin := func(line int) string { return fmt.Sprintf("%s:%d", filepath.Join(folder, "docker-compose.yml"), line) }
	require.Equal(t, []certs.Files{{Dir: "/certs", Origin: origin(7)}}, c.Certs)
	require.Equal(t, &certs.Files{Cert: filepath.Join(dir, "a.com/fullchain.pem"), Key: filepath.Join(dir, "a.com/privkey.pem"), Origin: origin(8)}, c.DefaultCert)
	require.Len(t, c.Problems, 1)
	require.Equal(t, "services.lb.lb_config.certs: without effect: the label at "+origin(8)+" stands instead", c.Problems[0].Reason)
}

func TestCompose_CertificatesInFiles(t *testing.T) {
	folder := write(t, "docker-compose.yml", "version: '2'\nservices:\n  web: {}\n  lb:\n    lb_config:\n      certs: [{dir: more}]\n"+
		"      default_cert: {cert: /a.pem}\n      acme: {cache: acme}\n      port_rules: [{source_port: 443, protocol: https, service: web}]\n")
	c, err := Load([]string{folder}, "st")
	require.NoError(t, err)
	require.Empty(t, c.Problems)
	require.Equal(t, filepath.Join(folder, "more"), c.Certs[0].Dir)
	require.Equal(t, "/a.pem", c.DefaultCert.Cert)
	require.Equal(t, filepath.Join(folder, "acme"), c.ACME.Cache)
}

func TestCompose_Port42(t *testing.T) {
	c := stackOfTwo(t, "{source_port: 42, service: db}")
	require.Len(t, c.Rules, 1)
	require.Len(t, c.Problems, 1)
	require.Contains(t, c.Problems[0].Reason, "Rancher reserves port 42")
}

func TestCompose_SelectorBesideService(t *testing.T) {
	c := stackOfTwo(t, "{source_port: 80, service: db, selector: a=b}")
	require.Len(t, c.Rules, 1)
	require.Len(t, c.Problems, 1)
	require.Contains(t, c.Problems[0].Reason, "selector: not supported yet, without effect beside service")
}

func TestCompose_External(t *testing.T) {
	f := func(docker, rancher string, want ...string) {
		t.Helper()
		folder := write(t,
			"docker-compose.yml", "version: '2'\nservices:\n  ext: "+docker+"\n  lb: {image: rancher/lb-service-haproxy}",
			"rancher-compose.yml", "version: '2'\nservices:\n  ext: "+rancher+"\n  lb: {lb_config: {port_rules: [{source_port: 80, service: ext}]}}",
		)
		c, err := Load([]string{folder}, "st")
		require.NoError(t, err)
		require.Empty(t, c.Problems)
		var got []string
		for _, i := range c.Services[0].Instances {
			require.Equal(t, strings.HasPrefix(i.Host, "10."), i.Addr.IsValid())
			got = append(got, i.Host)
		}
		require.Equal(t, want, got)
	}
	f("{image: rancher/external-service}", "{external_ips: [10.0.0.1, 10.0.0.2]}", "10.0.0.1", "10.0.0.2")
	f("{image: rancher/external-service}", "{hostname: db.example.com, health_check: {port: 80}}", "db.example.com")
	f("{image: 'rancher/external-service:v1', hostname: db.example.com}", "{}", "db.example.com")
	f("{image: nginx, hostname: inside}", "{scale: 2}", "ext")
	f("{build: ., hostname: inside}", "{scale: 2}", "ext")
}

// The guess is made for the stack's own name and one possible service only.
func TestCompose_NoGuessAmongTwo(t *testing.T) {
	c := stackOfTwo(t, "{source_port: 80, service: st}")
	require.Empty(t, c.Rules)
	require.True(t, c.Problems[0].Fatal)
}

func TestCompose_Aliases(t *testing.T) {
	folder := write(t, "docker-compose.yml", `
version: "2"
services:
  web: {image: nginx}
  alias: {image: "rancher/dns-service:v1", links: [web]}
  old: {image: registry.local:5000/rancher/load-balancer-service:v1, links: [web]}
  lb: {lb_config: {port_rules: [{source_port: 80, service: alias}]}}
`)
	c, err := Load([]string{folder}, "st")
	require.NoError(t, err)
	require.Empty(t, c.Rules)
	require.Len(t, c.Problems, 2)
	require.Contains(t, c.Problems[0].Reason, "load balancers of the first kind (links and labels) are not supported yet")
	require.Contains(t, c.Problems[1].Reason, `"alias" is an alias, which is not supported yet`)
	require.True(t, c.Problems[0].Fatal && c.Problems[1].Fatal)
}

func TestCompose_NothingToRoute(t *testing.T) {
	c, err := Parse("docker-compose.yml", []byte("version: '2'\nservices: {web: {image: nginx}}"))
	require.NoError(t, err)
	require.Len(t, c.Problems, 1)
	require.Contains(t, c.Problems[0].Reason, "there is nothing to route")
}

func TestCompose_Version(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, err := Parse("docker-compose.yml", []byte(text))
		if want == "" {
			require.NoError(t, err)
			return
		}
		require.EqualError(t, err, "docker-compose.yml:1: "+want)
	}
	f("version: 2", "")
	f("version: '2.1'", "")
	f("services: {}", "version is missing; want version: '2', and services under services (files of version 1 are not read)")
	f("version: '20'", `version: want version '2', got text "20"`)
}

func TestCompose_TopLevelKeyWithoutEffect(t *testing.T) {
	c, err := Parse("docker-compose.yml", []byte("version: '2'\nvolumes: {}\nx-mine: 1\nport_rules: []"))
	require.NoError(t, err)
	require.Len(t, c.Problems, 1)
	require.Equal(t, "docker-compose.yml:4", c.Problems[0].Origin)
	require.Equal(t, "port_rules: has no effect in a compose file", c.Problems[0].Reason)
}

// Two folders are two stacks, and their services do not mix.
func TestCompose_TwoStacksAndARulesFile(t *testing.T) {
	stack := func(port string) string {
		return "version: '2'\nservices:\n  web: {health_check: {port: " + port + "}}\n  lb: {lb_config: {port_rules: [{source_port: " + port + ", service: web}]}}"
	}
	folder := write(t, "a/docker-compose.yml", stack("81"), "b/docker-compose.yml", stack("82"),
		"rules.yml", "port_rules: [{source_port: 80, service: A/web}, {source_port: 80, hostname: x, service: c/web}]")
	c, err := Load([]string{folder + "/a", folder + "/b", folder + "/rules.yml"}, "")
	require.NoError(t, err)
	got := map[uint16]string{}
	for _, r := range c.Rules {
		if r.Hostname == "" {
			got[r.Port] = r.Service
		}
	}
	require.Equal(t, map[uint16]string{80: "a/web", 81: "a/web", 82: "b/web"}, got)
	require.Len(t, c.Services, 3)
}

func TestCompose_TwoStacksOfOneName(t *testing.T) {
	text := "version: '2'\nservices: {web: {}, lb: {lb_config: {port_rules: [{source_port: 80, service: web}]}}}"
	folder := write(t, "a/st/docker-compose.yml", text, "b/ST/docker-compose.yml", text)
	_, err := Load([]string{folder + "/a/st", folder + "/b/ST"}, "")
	require.EqualError(t, err, folder+`/b/ST/docker-compose.yml: stack "ST" is also in `+folder+`/a/st; rename a folder, or make both one stack with -stack`)
}

// What an operator declares goes before what a stack says of itself.
func TestCompose_MemberDeclaredInRulesFile(t *testing.T) {
	folder := write(t,
		"st/docker-compose.yml", "version: '2'\nservices: {web: {}, lb: {lb_config: {port_rules: [{source_port: 80, service: web}]}}}",
		"st/rules.yml", "services: {st/web: {servers: [10.0.0.1]}}",
	)
	c, err := Load([]string{folder + "/st"}, "")
	require.NoError(t, err)
	require.Len(t, c.Services, 1)
	require.Equal(t, "10.0.0.1", c.Services[0].Instances[0].Host)
	require.Len(t, c.Problems, 1)
	require.Contains(t, c.Problems[0].Reason, `services.web: service "st/web" is declared at `+folder+"/st/rules.yml:1, which is used instead")
}

func TestCompose_OwnSections(t *testing.T) {
	c := stackOfTwo(t, "{source_port: 80, service: db, path: /x}")
	require.Equal(t, rules.OrderRancher, c.Rules[0].Order)
	require.Equal(t, rules.PathRaw, c.Rules[0].PathMatch)

	c, err := Parse("docker-compose.yml", []byte(`
version: '2'
services:
  web: {}
  lb:
    lb_config:
      port_rules: [{source_port: 80, service: web, path: /x}]
      compat: default
      admin: off
      trusted_proxies: [10.0.0.0/8]
`))
	require.NoError(t, err)
	require.Equal(t, rules.OrderDefault, c.Rules[0].Order)
	require.Equal(t, rules.PathPrefix, c.Rules[0].PathMatch)
	require.Empty(t, c.Admin.Address)
	require.Len(t, c.TrustedProxies, 1)
}

func TestCompose_SaidTwice(t *testing.T) {
	folder := write(t,
		"docker-compose.yml", "version: '2'\nservices:\n  web:\n    health_check: {port: 80}\n",
		"rancher-compose.yml", "version: '2'\nservices:\n  web:\n    health_check: {port: 80}\n",
	)
	_, err := Load([]string{folder}, "st")
	require.EqualError(t, err, folder+"/rancher-compose.yml:4: services.web.health_check: already set at "+folder+"/docker-compose.yml:4; keep one")
}

// rancherCase is one of testdata/rancher_cases.json: what Rancher's own tests
// put in, and what must come out.
type rancherCase struct {
	ID    string
	Name  string
	Input struct {
		Services  map[string]map[string]any
		PortRules []map[string]any `json:"port_rules"`
		PortRule  map[string]any   `json:"port_rule"`
	}
	Expectation map[string]any
}

// Where we answer otherwise than Rancher does, and why.
var rancherDifferences = map[string]string{
	"rancher-validate-004": "target_port defaults to source_port, as in our own files",
	"rancher-validate-008": "port 42 works, and is warned of",
	"compose-004":          "a load balancer of the first kind is a Fatal problem",
	"compose-008":          "a load balancer of the first kind is a Fatal problem",
	"compose-009":          "a load balancer of the first kind is a Fatal problem",
	"compose-010":          "a load balancer of the first kind is a Fatal problem",
}

func TestCompose_RancherCases(t *testing.T) {
	text, err := os.ReadFile("testdata/rancher_cases.json")
	require.NoError(t, err)
	var cases []rancherCase
	require.NoError(t, json.Unmarshal(text, &cases))
	require.Len(t, cases, 16)
	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			file := filepath.Join(write(t, "default/docker-compose.yml", c.compose(t)), "default", "docker-compose.yml")
			if c.Expectation["error"] != nil && rancherDifferences[c.ID] == "" {
				require.Len(t, mistakes(file), 1)
				return
			}
			got, err := Load([]string{file}, "")
			require.NoError(t, err)
			if rancherDifferences[c.ID] == "" {
				require.Empty(t, got.Problems)
				requireRules(t, got.Rules, c.portRules())
			}
			switch c.ID {
			case "rancher-validate-004":
				require.Zero(t, got.Rules[0].TargetPort)
			case "rancher-validate-008":
				require.False(t, got.Problems[0].Fatal)
			case "compose-004", "compose-008", "compose-009", "compose-010":
				require.True(t, got.Problems[len(got.Problems)-1].Fatal)
			}
		})
	}
}

// requireRules compares what a case's rules say with what was read.
func requireRules(t *testing.T, got []rules.Rule, want []map[string]any) {
	t.Helper()
	require.Len(t, got, len(want))
	for i, r := range got {
		f := func(key string, got, otherwise any) {
			t.Helper()
			if w, there := want[i][key]; there {
				otherwise = w
			}
			require.EqualValues(t, otherwise, got, key)
		}
		f("source_port", r.Port, 0)
		f("target_port", r.TargetPort, 0)
		f("protocol", r.Protocol, "")
		f("hostname", r.Hostname, "")
		f("path", r.Path, "")
		f("priority", r.Priority, 0)
		f("backend_name", r.BackendName, "")
		require.Equal(t, "default/"+strings.TrimPrefix(want[i]["service"].(string), "default/"), r.Service)
	}
}

// portRules are a case's rules in the spelling of files.
func (c *rancherCase) portRules() []map[string]any {
	if c.Input.PortRule == nil {
		for _, s := range c.Input.Services {
			if lb, ok := s["lb_config"].(map[string]any); ok {
				var list []map[string]any
				for _, r := range lb["port_rules"].([]any) {
					list = append(list, r.(map[string]any))
				}
				return list
			}
		}
		return c.Input.PortRules
	}
	spelt := map[string]string{"sourcePort": "source_port", "targetPort": "target_port", "serviceId": "service", "backendName": "backend_name"}
	rule := map[string]any{}
	for k, v := range c.Input.PortRule {
		if spelt[k] != "" {
			k = spelt[k]
		}
		rule[k] = v
	}
	return []map[string]any{rule}
}

// compose is a case as one file.
func (c *rancherCase) compose(t *testing.T) string {
	services := map[string]any{"X": map[string]any{}}
	withRules := false
	for name, s := range c.Input.Services {
		service := map[string]any{}
		for _, k := range []string{"image", "ports", "expose", "links", "labels", "lb_config", "hostname"} {
			if s[k] != nil {
				service[k] = s[k]
			}
		}
		withRules = withRules || s["image"] == "rancher/load-balancer-service" || s["lb_config"] != nil
		services[strings.TrimPrefix(name, "default/")] = service
	}
	if !withRules {
		services["the-lb"] = map[string]any{"lb_config": map[string]any{"port_rules": c.portRules()}}
	}
	text, err := yaml.Marshal(map[string]any{"version": "2", "services": services})
	require.NoError(t, err)
	return string(text)
}
