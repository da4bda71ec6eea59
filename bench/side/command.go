//go:build linux

package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"

	"golang.org/x/sys/unix"
)

// The configurations do the same job with the same means: one rule of port and
// hostname, three backends in turn, connections kept on both sides, the usual
// forwarding headers, no logs. Each peer is tuned where that helps it here:
// reuseport and an idle pool as large as the load for nginx, http-reuse always
// for HAProxy, no limit on requests per connection for either. With TLS all have
// the same certificate, TLS 1.2 and 1.3, and resume sessions: by tickets, and
// nginx and HAProxy by their caches as well.

const lbText = `port_rules:
- source_port: {{.Listen.Port}}
  address: {{.Listen.Addr}}
  hostname: {{.Hostname}}
  service: web
{{with .Secure}}  protocol: https
default_cert: {cert: {{.Cert}}, key: {{.Key}}}
{{end}}services:
  web:
    servers: [{{range $i, $b := .Backends}}{{if $i}}, {{end}}"{{$b}}"{{end}}]
`

var (
	lbConfig      = template.Must(template.New("lb").Parse(lbText))
	lbCallsConfig = template.Must(template.New("lb calls").Parse(lbText + "defaults: {io_uring: false}\n"))
)

var nginxConfig = template.Must(template.New("nginx").Parse(`daemon off;
worker_processes {{.Threads}};
worker_rlimit_nofile {{.Files}};
pid {{.Dir}}/nginx.pid;
error_log stderr crit;
events { worker_connections {{.Files}}; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {{.Dir}}/nginx-body;
  proxy_temp_path {{.Dir}}/nginx-proxy;
  fastcgi_temp_path {{.Dir}}/nginx-fastcgi;
  uwsgi_temp_path {{.Dir}}/nginx-uwsgi;
  scgi_temp_path {{.Dir}}/nginx-scgi;
  upstream web {
    {{range .Backends}}server {{.}};
    {{end}}keepalive {{.Keepalive}};
    keepalive_requests 1000000000;
  }
  {{with .Secure}}ssl_certificate {{.Cert}};
  ssl_certificate_key {{.Key}};
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_cache shared:tls:20m;
  {{end}}server {
    listen {{.Listen}} reuseport default_server{{if .Secure}} ssl{{end}};
    return 404;
  }
  server {
    listen {{.Listen}}{{if .Secure}} ssl{{end}};
    server_name {{.Hostname}};
    location / {
      proxy_pass http://web;
      proxy_http_version 1.1;
      proxy_max_temp_file_size 0;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
    }
  }
}
`))

var haproxyConfig = template.Must(template.New("haproxy").Parse(`global
  nbthread {{.Threads}}
  maxconn {{.MaxConnections}}
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  option http-keep-alive
  option forwardfor
  http-reuse always
  timeout connect 2s
  timeout client 75s
  timeout server 60s
  timeout http-keep-alive 75s
frontend port
  bind {{.Listen}}{{with .Secure}} ssl crt {{.Both}}{{end}}
  http-request set-header X-Forwarded-Proto {{if .Secure}}https{{else}}http{{end}}
  use_backend web if { hdr(host) -i {{.Hostname}} }
backend web
  balance roundrobin
{{range $i, $b := .Backends}}  server web{{$i}} {{$b}}
{{end}}`))

// configure writes what a template makes of s to name in s.dir and returns its path.
func (s site) configure(name string, t *template.Template, listen netip.AddrPort) (string, error) {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return "", fmt.Errorf("read limit of open files: %w", err)
	}
	open := min(files.Max, 1<<16) // both set memory aside for each, used or not
	module, _ := streamModule()
	var b strings.Builder
	err := t.Execute(&b, map[string]any{
		"Dir":          s.dir,
		"Listen":       listen,
		"Hostname":     hostname,
		"Backends":     s.backends,
		"Threads":      s.threads,
		"Keepalive":    max(64, s.connections),
		"Files":        open,
		"Secure":       s.secure,
		"StreamModule": module,
		// HAProxy needs two files for each, and stops keeping idle connections to
		// servers when a quarter of them is in use: a tight limit would slow it down.
		"MaxConnections": (open - 200) / 2,
	})
	if err != nil {
		return "", fmt.Errorf("fill in %s: %w", name, err)
	}
	path := filepath.Join(s.dir, name)
	return path, os.WriteFile(path, []byte(b.String()), 0o644)
}

// either is the template for what s is about.
func (s site) either(http, streams *template.Template) *template.Template {
	if s.stream {
		return streams
	}
	return http
}

func lbCommand(s site, listen netip.AddrPort) (*exec.Cmd, error) {
	return lbWith(s, "lb.yml", s.either(lbConfig, lbStreams), listen)
}

// lbCallsCommand is lb where there is no io_uring.
func lbCallsCommand(s site, listen netip.AddrPort) (*exec.Cmd, error) {
	return lbWith(s, "lb-calls.yml", lbCallsConfig, listen)
}

func lbWith(s site, name string, config *template.Template, listen netip.AddrPort) (*exec.Cmd, error) {
	path, err := s.configure(name, config, listen)
	cmd := exec.Command(s.lb, "-config", path, "-admin", "off", "-log-level", "warn")
	cmd.Env = s.goEnv()
	return cmd, err
}

func nginxCommand(s site, listen netip.AddrPort) (*exec.Cmd, error) {
	path, err := s.configure("nginx.conf", s.either(nginxConfig, nginxStreams), listen)
	return exec.Command("nginx", "-p", s.dir, "-e", "stderr", "-c", path), err
}

func haproxyCommand(s site, listen netip.AddrPort) (*exec.Cmd, error) {
	path, err := s.configure("haproxy.cfg", s.either(haproxyConfig, haproxyStreams), listen)
	return exec.Command("haproxy", "-db", "-f", path), err
}

func fasthttpCommand(s site, listen netip.AddrPort) (*exec.Cmd, error) {
	cmd := exec.Command(filepath.Join(s.dir, "fasthttpproxy"), "-listen", listen.String(), "-host", hostname, "-to", s.join())
	cmd.Env = s.goEnv()
	return cmd, nil
}

func floorCommand(s site, listen netip.AddrPort) (*exec.Cmd, error) {
	cmd := exec.Command(filepath.Join(s.dir, "floor"), "-listen", listen.String(), "-to", s.join())
	cmd.Env = s.goEnv()
	return cmd, nil
}
