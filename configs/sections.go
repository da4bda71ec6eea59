package configs

import (
	"errors"
	"io/fs"
	"math"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.uber.org/zap/zapcore"
)

// later names the keys of the vocabulary that have no effect yet.
var later = map[string]string{
	"stickiness_policy": "sticky sessions", "config": "HAProxy configuration",
}

// defaults reads the defaults section over d.
func (v value) defaults(d *Defaults, readFile fileReader) {
	before := len(v.doc.mistakes)
	v.object(fields{
		"connect_timeout":       into(&d.ConnectTimeout, value.duration),
		"response_timeout":      into(&d.ResponseTimeout, value.duration),
		"response_body_timeout": into(&d.ResponseBodyTimeout, value.duration),
		"header_timeout":        into(&d.HeaderTimeout, value.duration),
		"body_timeout":          into(&d.BodyTimeout, value.duration),
		"write_timeout":         into(&d.WriteTimeout, value.duration),
		"keepalive_timeout":     into(&d.KeepAliveTimeout, value.duration),
		"upstream_keepalive":    into(&d.UpstreamKeepAlive, value.duration),
		"handshake_timeout":     into(&d.HandshakeTimeout, value.duration),
		"udp_timeout":           into(&d.UDPTimeout, value.duration),
		"tunnel_timeout":        into(&d.TunnelTimeout, value.duration),
		"queue_timeout":         into(&d.QueueTimeout, value.duration),
		"total_timeout":         into(&d.TotalTimeout, value.durationOrOff),
		"drain_timeout":         into(&d.DrainTimeout, value.durationOrOff),
		"max_header_bytes":      into(&d.MaxHeaderBytes, sizeWithin(1<<10, 1<<20)),
		"max_target_bytes":      into(&d.MaxTargetBytes, sizeWithin(256, 1<<20)),
		"max_header_count":      into(&d.MaxHeaderCount, within(8, 10000)),
		"max_body_bytes":        into(&d.MaxBodyBytes, value.size),
		"max_connections":       into(&d.MaxConnections, within(0, math.MaxInt32)),
		"max_idle_per_server":   into(&d.MaxIdlePerServer, within(0, math.MaxInt32)),
		"queue_length":          into(&d.QueueLength, within(0, math.MaxInt32)),
		"retries":               into(&d.Retries, within(0, 100)),
		"retry_budget":          into(&d.RetryBudget, value.percent),
		"forwarded":             into(&d.Forwarded, value.boolean),
		"request_id":            into(&d.RequestID, value.boolean),
		"dns_interval":          into(&d.DNSInterval, value.duration),
		"loops":                 into(&d.Loops, within(0, 1024)),
		"io_uring":              into(&d.IOUring, value.boolean),
		"error_pages":           func(v value) { d.ErrorPages = v.errorPages(readFile) },
	})
	if d.MaxTargetBytes > d.MaxHeaderBytes && len(v.doc.mistakes) == before {
		v.fail("max_target_bytes (%d) is more than max_header_bytes (%d), which it is part of", d.MaxTargetBytes, d.MaxHeaderBytes)
	}
}

// percent reads "20%" or 20.
func (v value) percent() int {
	const want = "a percentage from 0% to 100%"
	s, ok := v.scalar(want)
	if !ok {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSuffix(s, "%"))
	if err != nil || n < 0 || n > 100 {
		v.fail("want %s, got %s", want, v.describe())
		return 0
	}
	return n
}

// errorPages reads {status: file}.
func (v value) errorPages(readFile fileReader) map[int][]byte {
	pages := map[int][]byte{}
	for _, m := range v.members() {
		status, err := strconv.Atoi(m.key)
		if err != nil || status < 400 || status > 599 {
			m.fail("want an error status from 400 to 599 as the key, got %q", m.key)
			continue
		}
		if name := m.text(); name != "" {
			pages[status] = readFile(m.value, name)
		}
	}
	return pages
}

// fileReader reads a file that v names, relative to the file v stands in.
type fileReader func(v value, name string) []byte

// mostInFile keeps error pages in the memory of every process small. Bundles of
// certificates are smaller.
const mostInFile = 1 << 20

// readFile is a fileReader that tells where the file was.
func (v value) readFile(name string) (path string, data []byte) {
	path = name
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(v.doc.name), path)
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		v.fail("%q: %v", path, cause(err))
	case !info.Mode().IsRegular():
		v.fail("%q is not a file", path)
	case info.Size() > mostInFile:
		v.fail("%q has %d bytes; want at most %d", path, info.Size(), mostInFile)
	default:
		if data, err = os.ReadFile(path); err != nil {
			v.fail("%q: %v", path, cause(err))
		}
	}
	return path, data
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// cause is an error of package os without the operation and the path, which the
// message has already.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func (v value) log(l *Log) {
	v.object(fields{
		"level": into(&l.Level, keyword(map[string]zapcore.Level{
			"debug": zapcore.DebugLevel, "info": zapcore.InfoLevel, "warn": zapcore.WarnLevel, "error": zapcore.ErrorLevel,
		})),
		"format": into(&l.Format, oneOf("auto", "console", "json")),
	})
}

// accessLog reads {path, format}, or "off".
func (v value) accessLog(a *AccessLog) {
	if s, plain := v.plain(); plain && isOff(s) {
		a.Path = ""
		return
	}
	v.object(fields{
		"path": func(v value) {
			if a.Path = v.text(); isOff(a.Path) {
				a.Path = ""
			}
		},
		"format": into(&a.Format, oneOf("json", "combined")),
	})
}

// admin reads {address: host:port}, or "off" in either place.
func (v value) admin(a *Admin) {
	if s, plain := v.plain(); plain && isOff(s) {
		a.Address = ""
		return
	}
	v.object(fields{"address": into(&a.Address, value.adminAddress)})
}

func (v value) adminAddress() string {
	s := v.text()
	if isOff(s) {
		return ""
	}
	host, port, err := net.SplitHostPort(s)
	_, numErr := strconv.ParseUint(port, 10, 16)
	if err != nil || numErr != nil || strings.ContainsAny(host, " /") {
		v.fail(`want host:port such as "127.0.0.1:8080", or "off", got %s`, v.describe())
		return ""
	}
	return s
}

// isOff says whether the word turns something off. YAML 1.1 took off for false,
// and both get written.
func isOff(s string) bool { return s == "off" || s == "false" }
