//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/template"
	"time"
)

// Streams are bytes and datagrams that contenders pass on as they come. The port
// is one of tcp, in front of the same three backends, and for those who can one of
// udp as well, where the backends say what they hear.

var lbStreams = template.Must(template.New("lb").Parse(`port_rules:
- {source_port: {{.Listen.Port}}, address: {{.Listen.Addr}}, protocol: tcp, service: web}
- {source_port: {{.Listen.Port}}, address: {{.Listen.Addr}}, protocol: udp, service: web}
defaults: {udp_timeout: 1s}
services:
  web:
    servers: [{{range $i, $b := .Backends}}{{if $i}}, {{end}}"{{$b}}"{{end}}]
`))

var nginxStreams = template.Must(template.New("nginx").Parse(`{{with .StreamModule}}load_module {{.}};
{{end}}daemon off;
worker_processes {{.Threads}};
worker_rlimit_nofile {{.Files}};
pid {{.Dir}}/nginx.pid;
error_log stderr crit;
events { worker_connections {{.Files}}; }
stream {
  upstream web {
    {{range .Backends}}server {{.}};
    {{end}}
  }
  server {
    listen {{.Listen}} reuseport;
    proxy_timeout 1h;
    proxy_pass web;
  }
  server {
    listen {{.Listen}} udp reuseport;
    proxy_timeout 1s;
    proxy_pass web;
  }
}
`))

var haproxyStreams = template.Must(template.New("haproxy").Parse(`global
  nbthread {{.Threads}}
  maxconn {{.MaxConnections}}
defaults
  mode tcp
  timeout connect 2s
  timeout client 1h
  timeout server 1h
listen port
  bind {{.Listen}}
  balance roundrobin
{{range $i, $b := .Backends}}  server web{{$i}} {{$b}}
{{end}}`))

// streamModule finds nginx's module for streams: the file to load, "" where it is
// built in, and whether there is one.
func streamModule() (path string, found bool) {
	for _, path := range []string{"/usr/lib/nginx/modules/ngx_stream_module.so", "/usr/lib64/nginx/modules/ngx_stream_module.so"} {
		if _, err := os.Stat(path); err == nil {
			return path, true
		}
	}
	said, err := exec.Command("nginx", "-V").CombinedOutput()
	return "", err == nil && slices.Contains(strings.Fields(string(said)), "--with-stream")
}

// streamers are those of contenders that pass streams on.
func streamers(contenders []contender) []contender {
	return slices.DeleteFunc(slices.Clone(contenders), func(c contender) bool {
		if !c.streams {
			return true
		}
		if c.name != "nginx" {
			return false
		}
		_, found := streamModule()
		if !found {
			fmt.Println("nginx has no module for streams (Debian's libnginx-mod-stream): left out of them")
		}
		return !found
	})
}

// measureStreams is measure for streams and datagrams.
func measureStreams(ctx context.Context, o options, s site, contenders []contender) (f figures, err error) {
	if contenders = streamers(contenders); len(contenders) == 0 {
		return f, nil
	}
	s.stream = true
	fmt.Println("\nstreams")
	o.paths = streamPaths
	if f.speed, err = measureSpeed(ctx, o, s, contenders); err != nil {
		return f, err
	}
	if f.opened, err = measurePrices(ctx, o, s, contenders, "connections", openings); err != nil {
		return f, err
	}
	if o.idle > 0 {
		if f.memory, err = measureMemory(ctx, o, s, contenders); err != nil {
			return f, err
		}
	}
	contenders = slices.DeleteFunc(contenders, func(c contender) bool { return !c.datagrams })
	f.datagrams, err = measurePrices(ctx, o, s, contenders, "datagrams", questions)
	return f, err
}

// streamPaths are what is asked for through tunnels: as little and as much as there is.
var streamPaths = []string{"/", "/1m"}

// openings are tunnels that are opened for one request each.
var openings = []kind{{"connections per CPU second", "connections", func(r running, ctx context.Context, d time.Duration) (float64, error) {
	return r.price(ctx, d, func(int, int) error {
		c, err := r.open()
		if err != nil {
			return err
		}
		return errors.Join(askOnce(c), c.Close())
	})
}}}

// questions are datagrams of 64 bytes that are answered by one: of clients that
// have a session, and of new ones.
var questions = []kind{
	{"answered datagrams per CPU second, of old clients", "old", func(r running, ctx context.Context, d time.Duration) (float64, error) {
		var sockets [visitors]net.Conn
		for i := range sockets {
			c, err := net.Dial("udp", r.addr.String())
			if err != nil {
				return 0, err
			}
			defer c.Close()
			sockets[i] = c
		}
		return r.price(ctx, d, func(client, _ int) error { return question(sockets[client]) })
	}},
	{"of new ones", "new", func(r running, ctx context.Context, d time.Duration) (float64, error) {
		return r.price(ctx, d, func(int, int) error {
			c, err := net.Dial("udp", r.addr.String())
			if err != nil {
				return err
			}
			return errors.Join(question(c), c.Close())
		})
	}},
}

// question sends a datagram and waits for the answer.
func question(c net.Conn) error {
	var b [64]byte
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write(b[:]); err != nil {
		return err
	}
	n, err := c.Read(b[:])
	if err == nil && n != len(b) {
		err = fmt.Errorf("answer of %d bytes, want %d", n, len(b))
	}
	return err
}
