package configs

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zapcore"

	"arzur.net/lb/rules"
)

func parse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("rules.yml", []byte(text))
	require.NoError(t, err)
	return c
}

// write makes a folder of files, name and text by turns.
func write(t *testing.T, files ...string) string {
	t.Helper()
	folder := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		name := filepath.Join(folder, files[i])
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(files[i+1]), 0o644))
	}
	return folder
}

func TestParse_Rule(t *testing.T) {
	f := func(text string, want rules.Rule) {
		t.Helper()
		c := parse(t, "port_rules:\n- "+strings.ReplaceAll(text, "\n", "\n  "))
		require.Len(t, c.Rules, 1)
		want.Origin = "rules.yml:2"
		require.Equal(t, want, c.Rules[0])
	}
	three := 3
	f("source_port: 80\nservice: blog", rules.Rule{Port: 80, Service: "blog"})
	f(`{"source_port": "80", "target_port": "8080", "priority": "7", "service": blog}`,
		rules.Rule{Port: 80, TargetPort: 8080, Priority: 7, Service: "blog"})
	f("name: n\nsource_port: 80\naddress: 127.0.0.1\nprotocol: http\nhostname: '*.a.com'\npath: /x\nservice: s\nweight: 3\nbackend_name: b",
		rules.Rule{
			Name: "n", Port: 80, Address: netip.MustParseAddr("127.0.0.1"), Protocol: "http", Hostname: "*.a.com",
			Path: "/x", Service: "s", Weight: &three, BackendName: "b",
		})
	f("source_port: 80\nservice: s\npath: ^/a\npath_match: regexp", rules.Rule{Port: 80, Service: "s", Path: "^/a", PathMatch: rules.PathRegexp})
	f("source_port: 80\nservice: s\npath: /a\npath_match: exact", rules.Rule{Port: 80, Service: "s", Path: "/a", PathMatch: rules.PathExact})
	f("source_port: 80\nservice: s\npath: /a\npath_match: raw", rules.Rule{Port: 80, Service: "s", Path: "/a", PathMatch: rules.PathRaw})
	f("source_port: 80\nservice: s\npath:\nhostname: ''", rules.Rule{Port: 80, Service: "s"})
	f("source_port: 80\nservice: s\nstrip_prefix: /a\nadd_prefix: /b\nreplace_path: /c",
		rules.Rule{Port: 80, Service: "s", StripPrefix: "/a", AddPrefix: "/b", ReplacePath: "/c"})
	f("source_port: 80\nrule: Host(`a`)\nredirect: {scheme: https, host: a.com, port: 443, path: /x, code: 301}",
		rules.Rule{Port: 80, Expr: "Host(`a`)", Redirect: &rules.Redirect{Scheme: "https", Host: "a.com", Port: 443, Path: "/x", Code: 301}})
	f("source_port: 80\nservice: s\nrequest_headers: {set: {Host: a, X-B: 1}, add: {X-C: d}, remove: [Cookie]}\nresponse_headers: {remove: [Server]}",
		rules.Rule{
			Port: 80, Service: "s",
			RequestHeaders: rules.HeaderEdit{
				Set:    []rules.HeaderField{{Name: "Host", Value: "a"}, {Name: "X-B", Value: "1"}},
				Add:    []rules.HeaderField{{Name: "X-C", Value: "d"}},
				Remove: []string{"Cookie"},
			},
			ResponseHeaders: rules.HeaderEdit{Remove: []string{"Server"}},
		})
}

func TestParse_AnchorsAndMergeKeys(t *testing.T) {
	c := parse(t, `
x-common: &common {source_port: 82, service: blog}
port_rules:
- &first {source_port: 80, hostname: a.com, service: blog}
- {<<: *first, hostname: b.com}
- <<: [{source_port: 81}, *first]
  hostname: c.com
- *first
- {<<: *common, hostname: d.com}
`)
	require.Len(t, c.Rules, 5)
	f := func(i int, port uint16, hostname string) {
		t.Helper()
		require.Equal(t, port, c.Rules[i].Port)
		require.Equal(t, hostname, c.Rules[i].Hostname)
		require.Equal(t, "blog", c.Rules[i].Service)
	}
	f(0, 80, "a.com")
	f(1, 80, "b.com")
	f(2, 81, "c.com")
	f(3, 80, "a.com")
	f(4, 82, "d.com")
}

// A document in which every mapping merges the one before twice would grow
// without end if merges were followed each time.
func TestParse_MergesDoNotGrow(t *testing.T) {
	var b strings.Builder
	b.WriteString("x-0: &a0 {source_port: 80}\n")
	last := "a0"
	for i := range 40 {
		next := "a" + strings.Repeat("b", i+1)
		b.WriteString(next + ": &" + next + " {<<: [*" + last + ", *" + last + "]}\n")
		last = next
	}
	b.WriteString("port_rules: [*" + last + "]\n")
	_, err := Parse("rules.yml", []byte(b.String()))
	require.ErrorContains(t, err, "abbb: unknown key")
}

func TestParse_Service(t *testing.T) {
	f := func(text string, want rules.Service) {
		t.Helper()
		c := parse(t, "services:\n  "+strings.ReplaceAll(text, "\n", "\n  "))
		require.Len(t, c.Services, 1)
		want.Origin = "rules.yml:2"
		require.Equal(t, want, c.Services[0])
	}
	zero, two := 0, 2
	ip := netip.MustParseAddr
	f("blog: {}", rules.Service{Name: "blog", Instances: []rules.Instance{{Host: "blog"}}})
	f("blog:", rules.Service{Name: "blog", Instances: []rules.Instance{{Host: "blog"}}})
	f("web/blog: {}", rules.Service{Name: "web/blog", Instances: []rules.Instance{{Host: "blog.web"}}})
	f("blog:\n  servers: [10.0.0.1, '10.0.0.2:81', '[::1]:82', '::2', '[::3]', a_b.c, 'a.b:83', '::ffff:10.0.0.9']", rules.Service{
		Name: "blog",
		Instances: []rules.Instance{
			{Host: "10.0.0.1", Addr: ip("10.0.0.1")},
			{Host: "10.0.0.2", Addr: ip("10.0.0.2"), Port: 81},
			{Host: "::1", Addr: ip("::1"), Port: 82},
			{Host: "::2", Addr: ip("::2")},
			{Host: "::3", Addr: ip("::3")},
			{Host: "a_b.c"},
			{Host: "a.b", Port: 83},
			{Host: "::ffff:10.0.0.9", Addr: ip("10.0.0.9")},
		},
	})
	f("blog:\n  servers: [{weight: 0, backup: true, address: 'a.b:83'}]", rules.Service{
		Name:      "blog",
		Instances: []rules.Instance{{Host: "a.b", Port: 83, Weight: &zero, Backup: true}},
	})
	f("blog:\n  balance: round-robin\n  max_connections: 10\n  queue_length: 5\n  queue_timeout: 1s\n  connect_timeout: 250ms\n"+
		"  response_timeout: 1m30s\n  retries: 2\n  when_all_down: try\n  hold: 3s", rules.Service{
		Name: "blog", Instances: []rules.Instance{{Host: "blog"}}, Balance: "round-robin", MaxConnections: 10, QueueLength: 5,
		QueueTimeout: time.Second, ConnectTimeout: 250 * time.Millisecond, ResponseTimeout: 90 * time.Second,
		Retries: &two, WhenAllDown: rules.Try, Hold: new(3 * time.Second),
	})
}

func TestParse_HealthCheck(t *testing.T) {
	f := func(text string, interval, initializing time.Duration, initialDown bool) {
		t.Helper()
		c := parse(t, "services: {blog: {health_check: {"+text+"}}}")
		require.Equal(t, interval, c.Services[0].Check.Interval)
		require.Equal(t, initializing, c.Services[0].Check.Initializing)
		require.Equal(t, initialDown, c.Services[0].Check.InitialDown)
	}
	f("", 0, 0, false)
	f("interval: 10000, initializing_timeout: 1000", 10*time.Second, time.Second, false)
	f("interval: '10000', initialization_timeout: 1m", 10*time.Second, time.Minute, false)
	f("interval: 1m30s, initial: down", 90*time.Second, 0, true)
	f("interval: 500ms, initial: up, strategy: recreateOnQuorum, recreate_on_quorum_strategy_config: {quorum: 1}", 500*time.Millisecond, 0, false)
}

// A service that no file declares is a DNS name.
func TestParse_UndeclaredService(t *testing.T) {
	f := func(service, declared, host string) {
		t.Helper()
		c := parse(t, "port_rules: [{source_port: 80, service: "+service+"}, {source_port: 81, service: "+service+"}]\n"+declared)
		require.Equal(t, service, c.Rules[1].Service)
		s := c.Services[len(c.Services)-1]
		require.Equal(t, service, s.Name)
		require.Equal(t, "rules.yml:1", s.Origin)
		require.Equal(t, []rules.Instance{{Host: host}}, s.Instances)
	}
	f("blog", "", "blog")
	f("blog.internal", "", "blog.internal")
	f("web/blog", "", "blog.web")
	f("web/blog", "services: {db: {}}", "blog.web")
}

func TestParse_Sections(t *testing.T) {
	f := func(text string, change func(*Config)) {
		t.Helper()
		want := Default()
		change(&want)
		require.Equal(t, &want, parse(t, text))
		require.Equal(t, &want, parse(t, "lb_config:\n  "+strings.ReplaceAll(text, "\n", "\n  ")))
	}
	f("log: {level: debug, format: json}", func(c *Config) { c.Log = Log{zapcore.DebugLevel, "json"} })
	f("access_log: {path: /var/log/lb.log, format: combined}", func(c *Config) { c.AccessLog = AccessLog{"/var/log/lb.log", "combined"} })
	f("access_log: {path: off}", func(*Config) {})
	f("access_log: off", func(*Config) {})
	f("admin: off", func(c *Config) { c.Admin.Address = "" })
	f("admin: 'off'", func(c *Config) { c.Admin.Address = "" })
	f("admin: false", func(c *Config) { c.Admin.Address = "" })
	f("admin: {address: 'off'}", func(c *Config) { c.Admin.Address = "" })
	f("admin: {address: ':9000'}", func(c *Config) { c.Admin.Address = ":9000" })
	f("admin:", func(*Config) {})
	f("trusted_proxies: [10.1.2.3/8, 127.0.0.1, '::1']", func(c *Config) {
		c.TrustedProxies = []netip.Prefix{
			netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128"),
		}
	})
	f("defaults: {connect_timeout: 1s, total_timeout: 0, drain_timeout: 0s}", func(c *Config) {
		c.Defaults.ConnectTimeout, c.Defaults.DrainTimeout = time.Second, 0
	})
	f("defaults: {max_header_bytes: 64KiB, max_target_bytes: 2000, max_body_bytes: 1MB}", func(c *Config) {
		c.Defaults.MaxHeaderBytes, c.Defaults.MaxTargetBytes, c.Defaults.MaxBodyBytes = 64<<10, 2000, 1e6
	})
	f("defaults: {max_body_bytes: 3 GiB}", func(c *Config) { c.Defaults.MaxBodyBytes = 3 << 30 })
	f("defaults: {retries: 0, retry_budget: 50%, forwarded: true, request_id: true, loops: 2, io_uring: false}", func(c *Config) {
		c.Defaults.Retries, c.Defaults.RetryBudget, c.Defaults.Loops = 0, 50, 2
		c.Defaults.Forwarded, c.Defaults.RequestID, c.Defaults.IOUring = true, true, false
	})
}

func TestParse_CompatRancher(t *testing.T) {
	c := parse(t, "port_rules: [{source_port: 80, service: a, path: /x}, {source_port: 80, service: a, path: /y, path_match: prefix}]\ncompat: rancher")
	require.Equal(t, rules.OrderRancher, c.Rules[0].Order)
	require.Equal(t, rules.PathRaw, c.Rules[0].PathMatch)
	require.Equal(t, rules.PathPrefix, c.Rules[1].PathMatch)
}

// One run tells every mistake, from top to bottom.
func TestParse_AllMistakesAtOnce(t *testing.T) {
	_, err := Parse("rules.yml", []byte("port_rules:\n- {source_port: 0, pth: /}\n- {source_port: 1, service: b}\nlog: {level: x}\nservices: {a: {retries: x}}"))
	require.EqualError(t, err, strings.Join([]string{
		"rules.yml:2: port_rules[0].source_port: want a number from 1 to 65535, got number 0",
		`rules.yml:2: port_rules[0].pth: unknown key; did you mean "path"?`,
		`rules.yml:3: port_rules[1].service: unknown service "b"; services: {b: {}} would declare it as a DNS name; did you mean "a"?`,
		`rules.yml:4: log.level: want one of debug, error, info, warn, got text "x"`,
		`rules.yml:5: services.a.retries: want a number from 0 to 100, got text "x"`,
	}, "\n"))
}

func TestLoad_Folder(t *testing.T) {
	folder := write(t,
		"b.yml", "services: {blog: {}}",
		"a.yaml", "port_rules: [{source_port: 80, service: blog}]",
		".hidden.yml", "nonsense",
		"notes.txt", "nonsense",
		"sub.yml/c.yml", "nonsense",
		"..data/d.yml", "port_rules: [{source_port: 81, service: blog}]",
	)
	require.NoError(t, os.Symlink(filepath.Join("..data", "d.yml"), filepath.Join(folder, "d.yml")))
	c, err := Load([]string{folder, filepath.Join(folder, "b.yml")}, "")
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(folder, "a.yaml"), filepath.Join(folder, "b.yml"), filepath.Join(folder, "d.yml")}, c.Files)
	require.Len(t, c.Rules, 2)
	require.EqualValues(t, 81, c.Rules[1].Port)
	require.Len(t, c.Services, 1)
}

func TestLoad_WhatCannotBeRead(t *testing.T) {
	f := func(path, want string) {
		t.Helper()
		c, err := Load([]string{path}, "")
		require.Nil(t, c)
		require.EqualError(t, err, path+": "+want)
	}
	folder := write(t, "readme.txt", "", "empty.yml", "", "comment.yml", "# nothing\n", "null.yml", "---\n")
	f(filepath.Join(folder, "none.yml"), "no such file or directory")
	f(folder+"/readme.txt/x.yml", "not a directory")
	f(filepath.Join(folder, "empty.yml"), "the file is empty; want port_rules, services, ...")
	f(filepath.Join(folder, "comment.yml"), "the file is empty; want port_rules, services, ...")
	f(filepath.Join(folder, "null.yml"), "the file is empty; want port_rules, services, ...")
	f(write(t, "readme.txt", ""), "no *.yml or *.yaml file in this folder")
}

func TestLoad_Nothing(t *testing.T) {
	_, err := Load(nil, "")
	require.ErrorContains(t, err, "no configuration")
}

func TestLoad_SectionsStandOnceOverAllFiles(t *testing.T) {
	folder := write(t,
		"a.yml", "admin: {address: 'off'}\nservices: {blog: {}}",
		"b.yml", "services: {blog: {}}\nadmin: {address: 'off'}",
	)
	_, err := Load([]string{folder}, "")
	require.EqualError(t, err, folder+"/b.yml:1: services.blog: already set at "+folder+"/a.yml:2; keep one\n"+
		folder+"/b.yml:2: admin: already set at "+folder+"/a.yml:1; keep one")
}

func TestLoad_TooLargeForARulesFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "disk.yml")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Truncate(file, mostBytes+1)) // of which the disk has nothing
	_, err := Load([]string{file}, "")
	require.EqualError(t, err, file+": more than 64 MiB; is that a rules file?")
}
