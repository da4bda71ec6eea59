package configs

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"arzur.net/lb/discovery"
	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// service reads services.<name>. Without servers it is the DNS name it bears.
func (v value) service(name string, readFile fileReader) *rules.Service {
	s := &rules.Service{Name: name, Origin: v.origin()}
	known := fields{
		"servers":          into(&s.Instances, value.servers),
		"balance":          into(&s.Balance, value.text),
		"health_check":     into(&s.Check, value.healthCheck),
		"max_connections":  into(&s.MaxConnections, within(0, math.MaxInt32)),
		"queue_length":     into(&s.QueueLength, within(0, math.MaxInt32)),
		"queue_timeout":    into(&s.QueueTimeout, value.duration),
		"connect_timeout":  into(&s.ConnectTimeout, value.duration),
		"response_timeout": into(&s.ResponseTimeout, value.duration),
		"hold":             into(&s.Hold, pointer(value.durationOrOff)),
		"retries":          into(&s.Retries, pointer(within(0, 100))),
		"when_all_down": into(&s.WhenAllDown, keyword(map[string]rules.WhenAllDown{
			"fail": rules.Fail, "try": rules.Try,
		})),
	}
	checkTransport := transport(s, known, readFile)
	v.object(known)
	checkTransport()
	if len(s.Instances) == 0 {
		s.Instances = v.dnsName(name)
	}
	return s
}

// dnsName is what a service without servers means: blog is the name blog,
// stack/blog the name blog.stack, consul:blog and dns:blog are found by a Source.
func (v value) dnsName(service string) []rules.Instance {
	host := service
	if isDiscovered(service) {
		v.checkDiscovered(service)
		return nil // a Source finds its instances
	}
	if stack, name, ok := strings.Cut(service, "/"); ok {
		host = name + "." + stack
	}
	if !discovery.IsDNSName(host) {
		v.fail("%q cannot be a DNS name; want name, stack/name, or a service with servers", service)
		return nil
	}
	return []rules.Instance{{Host: host}}
}

func (v value) servers() []rules.Instance {
	var list []rules.Instance
	for _, item := range v.items() {
		list = append(list, item.server())
	}
	return list
}

// server reads "host", "host:port", "[v6]:port" or {address, weight, backup}.
func (v value) server() rules.Instance {
	if _, plain := v.plain(); plain {
		return v.serverAddress()
	}
	var s rules.Instance
	before := len(v.doc.mistakes)
	v.object(fields{
		"address": func(v value) {
			a := v.serverAddress()
			s.Host, s.Addr, s.Port = a.Host, a.Addr, a.Port
		},
		"weight": into(&s.Weight, pointer(within(0, 256))),
		"backup": into(&s.Backup, value.boolean),
	})
	if s.Host == "" && len(v.doc.mistakes) == before {
		v.fail("address is missing")
	}
	return s
}

func (v value) serverAddress() rules.Instance {
	const want = "host, host:port or [IPv6]:port"
	s, ok := v.scalar(want)
	if !ok {
		return rules.Instance{}
	}
	host, port := s, ""
	// An IPv6 address alone is full of colons, and none of them is a port's.
	if _, err := netip.ParseAddr(s); err != nil {
		if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
			host, port = s[:i], s[i+1:]
		}
		if inner, bracketed := strings.CutPrefix(host, "["); bracketed && strings.HasSuffix(inner, "]") {
			host = strings.TrimSuffix(inner, "]")
		}
	}
	instance := rules.Instance{Host: host}
	a, err := netip.ParseAddr(host)
	switch {
	case err == nil && a.Zone() == "":
		instance.Addr = a.Unmap()
	case strings.Contains(s, "://"):
		v.fail("%q: want %s, without a scheme", s, want)
		return instance
	case !discovery.IsDNSName(host):
		v.fail("%q is neither an IP address nor a DNS name; want %s", s, want)
		return instance
	}
	if port != "" || strings.HasSuffix(s, ":") {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			v.fail("%q: want a port from 1 to 65535, got %q", s, port)
		}
		instance.Port = uint16(n)
	}
	return instance
}

// healthCheck reads Rancher's health_check and our additions to it.
func (v value) healthCheck() *health.Check {
	var c health.Check
	var initializing time.Duration
	before := len(v.doc.mistakes)
	v.object(fields{
		"port":                   into(&c.Port, value.port),
		"scheme":                 into(&c.Scheme, oneOf("http", "https")),
		"request_line":           into(&c.RequestLine, value.requestLine),
		"interval":               into(&c.Interval, value.milliseconds),
		"response_timeout":       into(&c.ResponseTimeout, value.milliseconds),
		"healthy_threshold":      into(&c.HealthyThreshold, within(1, 1000)),
		"unhealthy_threshold":    into(&c.UnhealthyThreshold, within(1, 1000)),
		"initializing_timeout":   into(&c.Initializing, value.milliseconds),
		"initialization_timeout": into(&initializing, value.milliseconds),
		"reinitializing_timeout": into(&c.Reinitializing, value.milliseconds),
		"strategy":               into(&c.Strategy, oneOf("none", "recreate", "recreateOnQuorum")),
		"expect_status":          into(&c.ExpectStatus, value.text),
		"hostname":               into(&c.Hostname, value.text),
		"initial": into(&c.InitialDown, keyword(map[string]bool{
			"up": false, "down": true,
		})),
		// What recreates containers is the orchestrator; the quorum is its business.
		"recreate_on_quorum_strategy_config": func(v value) {
			v.object(fields{"quorum": func(v value) { v.number(1, math.MaxInt32) }})
		},
	})
	switch {
	case initializing == 0:
	case c.Initializing != 0:
		v.fail("initializing_timeout and initialization_timeout are one setting; keep one")
	default:
		c.Initializing = initializing
	}
	// Validate looks at what was read, so it has nothing to say about what was not.
	if len(v.doc.mistakes) == before {
		if err := c.Validate(); err != nil {
			for line := range strings.Lines(err.Error()) {
				v.fail("%s", strings.TrimSpace(line))
			}
		}
	}
	return &c
}

func (v value) requestLine() string {
	s := v.text()
	if s != "" {
		if _, err := health.ParseRequestLine(s); err != nil {
			v.fail("%v", err)
		}
	}
	return s
}
