//go:build linux

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The network is a namespace of its own, so that ports are free and what is done
// to it is done to nobody else.
const (
	hostname  = "arzur.net"
	httpPort  = 8000
	httpsPort = 8443
	tcpPort   = 8001
	sniPort   = 8444
	udpPort   = 8053
	adminPort = 8080

	plainPort  = 9000 // of servers
	securePort = 9443
)

// addresses are the servers'.
var addresses = []string{"127.0.0.11", "127.0.0.12", "127.0.0.13"}

// bed is lb between clients and three servers, for one experiment.
type bed struct {
	dir     string
	binary  string
	tls     *tls.Config
	lb      *process
	servers []*process
	cleanup []func()
}

// process is a program under way.
type process struct {
	*exec.Cmd
	mu    sync.Mutex
	said  bytes.Buffer
	ended chan struct{}
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.Write(b)
}

// says counts the lines of the log that hold text.
func (p *process) says(text string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Count(p.said.String(), text)
}

func run(cmd *exec.Cmd) *process {
	p := &process{Cmd: cmd, ended: make(chan struct{})}
	if cmd.Stderr == nil {
		cmd.Stderr = p
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	check(cmd.Start())
	go func() { // ends with the process
		_ = cmd.Wait()
		close(p.ended)
	}()
	return p
}

// kill ends the process without notice.
func (p *process) kill() {
	_ = p.Process.Kill()
	<-p.ended
}

func (p *process) signal(s syscall.Signal) { _ = p.Process.Signal(s) }

// check ends the experiment: something beside lb went wrong.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

func (b *bed) path(name string) string { return filepath.Join(b.dir, name) }

// later has f called at the end of the experiment, last come first served.
func (b *bed) later(f func()) { b.cleanup = append(b.cleanup, f) }

func (b *bed) close() {
	for i := len(b.cleanup) - 1; i >= 0; i-- {
		b.cleanup[i]()
	}
	for _, p := range append(b.servers, b.lb) {
		if p != nil {
			p.signal(syscall.SIGCONT)
			p.kill()
		}
	}
}

// startServers starts all three.
func (b *bed) startServers() {
	b.servers = make([]*process, len(addresses))
	for i := range addresses {
		b.startServer(i, "")
	}
}

// startServer starts server i, with a manner of its own unless that is "".
func (b *bed) startServer(i int, how string) {
	self, err := os.Executable()
	check(err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), asServer+"="+addresses[i], manner+"="+how, "LB_FAULTS_CERT="+b.path("cert.pem"), "LB_FAULTS_KEY="+b.path("key.pem"))
	b.servers[i] = run(cmd)
	awaitPort(addresses[i], plainPort)
	awaitPort(addresses[i], securePort)
}

func awaitPort(address string, port int) {
	await("a listener at "+address, func() bool {
		c, err := net.DialTimeout("tcp", fmt.Sprintf("%s:%d", address, port), time.Second)
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
}

// await waits until f is true.
func await(what string, f func() bool) time.Duration {
	began := time.Now()
	for !f() {
		if time.Since(began) > time.Minute {
			panic(errors.New("waited in vain for " + what))
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

// setting is what an experiment wants of the configuration.
type setting struct {
	service  string // keys of every service, "health_check: ..."
	defaults string
	rules    string // further rules
	top      string
	only     []int // servers that are named, nil: all
}

// healthy is the check that most experiments have.
const healthy = "health_check: {port: 9000, request_line: GET /health HTTP/1.0, interval: 500ms, response_timeout: 1s}"

func (b *bed) configure(s setting) {
	named := s.only
	if named == nil {
		named = []int{0, 1, 2}
	}
	list := func(port int) string {
		var at []string
		for _, i := range named {
			at = append(at, fmt.Sprintf("\"%s:%d\"", addresses[i], port))
		}
		return strings.Join(at, ", ")
	}
	service := func(port int) string {
		text := fmt.Sprintf("    servers: [%s]\n", list(port))
		if s.service != "" {
			text += "    " + s.service + "\n"
		}
		return text
	}
	text := fmt.Sprintf(`port_rules:
- {source_port: %d, address: 127.0.0.1, service: web}
- {source_port: %d, address: 127.0.0.1, protocol: https, service: web}
- {source_port: %d, address: 127.0.0.1, protocol: tcp, service: web}
- {source_port: %d, address: 127.0.0.1, protocol: sni, service: secure}
- {source_port: %d, address: 127.0.0.1, protocol: udp, service: web}
%sservices:
  web:
%s  secure:
%sdefaults: {%s}
default_cert: {cert: %s, key: %s}
admin: {address: "127.0.0.1:%d"}
%s`, httpPort, httpsPort, tcpPort, sniPort, udpPort, s.rules, service(plainPort), service(securePort),
		s.defaults, b.path("cert.pem"), b.path("key.pem"), adminPort, s.top)
	b.write("lb.yml", text)
}

// write replaces a file in one step.
func (b *bed) write(name, text string) {
	check(os.WriteFile(b.path(name)+".new", []byte(text), 0o644))
	check(os.Rename(b.path(name)+".new", b.path(name)))
}

// start starts lb with a setting and waits until it serves.
func (b *bed) start(s setting, env ...string) {
	b.configure(s)
	b.launch(exec.Command(b.binary, "-config", b.path("lb.yml"), "-log-format", "json"), env...)
}

func (b *bed) launch(cmd *exec.Cmd, env ...string) {
	cmd.Env = append(os.Environ(), env...)
	b.lb = run(cmd)
	await("lb", func() bool {
		select {
		case <-b.lb.ended:
			panic(fmt.Errorf("lb ended: %s", &b.lb.said))
		default:
		}
		return b.get(adminPort, "/healthz") != ""
	})
}

// reload has lb read its configuration, and waits until it has said what it makes of that.
func (b *bed) reload(answer string) {
	before := b.lb.says(answer)
	b.lb.signal(syscall.SIGHUP)
	await(answer, func() bool { return b.lb.says(answer) > before })
}

// get is the body of an answer, "" if there is none.
func (b *bed) get(port int, path string) string {
	return fetch(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
}

func fetch(url string) string {
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := c.Get(url)
	if err != nil {
		return ""
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(r.Body)
	return string(text)
}

// metric adds up the series that begin with name.
func (b *bed) metric(name string) (sum float64) {
	for line := range strings.Lines(b.get(adminPort, "/metrics")) {
		if rest, ok := strings.CutPrefix(line, name); ok && strings.ContainsRune(" {},", rune(rest[0])) {
			n, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 64)
			check(err)
			sum += n
		}
	}
	return sum
}

// usage is what lb takes of the machine.
type usage struct {
	rss        int // KiB
	files      int
	goroutines int
}

func (b *bed) usage() (u usage) {
	u.goroutines = int(b.metric("go_goroutines"))
	files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", b.lb.Process.Pid))
	u.files = len(files)
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.lb.Process.Pid))
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	_, _ = fmt.Sscan(rest, &u.rss)
	return u
}

func (u usage) String() string {
	return fmt.Sprintf("%.1f MiB, %d files, %d goroutines", float64(u.rss)/1024, u.files, u.goroutines)
}

// cpu is the time that lb has used.
func (b *bed) cpu() time.Duration {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", b.lb.Process.Pid))
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// iptables adds a rule for the time of the experiment, and returns how to end it earlier.
func (b *bed) iptables(args ...string) (end func()) {
	out, err := exec.Command("iptables", append([]string{"-w", "-I"}, args...)...).CombinedOutput()
	if err != nil {
		panic(fmt.Errorf("iptables: %w: %s", err, out))
	}
	end = sync.OnceFunc(func() { _ = exec.Command("iptables", append([]string{"-w", "-D"}, args...)...).Run() })
	b.later(end)
	return end
}

// identity writes a certificate.
func (b *bed) identity() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{hostname}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	check(err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	check(err)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	b.write("cert.pem", string(cert))
	b.write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	b.tls = &tls.Config{ServerName: hostname, RootCAs: roots}
}
