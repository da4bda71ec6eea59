package admin

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"arzur.net/lb/health"
	"arzur.net/lb/proxy"
	"arzur.net/lb/rules"
)

// desk is a Server and what it shows.
type desk struct {
	*Server
	t *testing.T
}

// newDesk starts a Server for an engine that has no rules yet.
func newDesk(t *testing.T, change func(*Config)) *desk {
	t.Helper()
	p, err := proxy.New(proxy.Config{Loops: 2, Log: zap.NewNop()})
	require.NoError(t, err)
	p.Start()
	t.Cleanup(p.Stop)
	c := Config{
		Addr:     "127.0.0.1:0",
		Proxy:    p,
		Registry: health.NewRegistry(),
		Version:  "v1.2.3",
		Log:      zap.NewNop(),
		Level:    zap.NewAtomicLevelAt(zapcore.InfoLevel),
	}
	if change != nil {
		change(&c)
	}
	d := &desk{New(c), t}
	require.NoError(t, d.Start())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, d.Stop(ctx))
	})
	return d
}

// use puts rules into use.
func (d *desk) use(in rules.Input) {
	d.t.Helper()
	table, problems := rules.Compile(in, d.Registry)
	require.Empty(d.t, problems)
	require.NoError(d.t, d.Proxy.Apply(table, &patient))
}

// patient are engine settings under which no test waits for a deadline.
var patient = proxy.Options{
	HeaderTimeout: time.Minute, BodyTimeout: time.Minute, ConnectTimeout: time.Minute, ResponseTimeout: time.Minute,
	ResponseBodyTimeout: time.Minute, WriteTimeout: time.Minute, KeepAliveTimeout: time.Minute, UpstreamKeepAlive: time.Minute,
	MaxIdle: 16,
}

// ask sends a request with any Host and returns status and body.
func (d *desk) ask(method, path string, change ...func(*http.Request)) (int, string) {
	d.t.Helper()
	r, err := http.NewRequestWithContext(d.t.Context(), method, "http://"+d.Addr()+path, nil)
	require.NoError(d.t, err)
	for _, f := range change {
		f(r)
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(d.t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(d.t, err)
	return resp.StatusCode, string(body)
}

// decode asks the API.
func (d *desk) decode(path string, to any) {
	d.t.Helper()
	status, body := d.ask("GET", path)
	require.Equal(d.t, 200, status, body)
	require.NoError(d.t, json.Unmarshal([]byte(body), to), body)
	require.Contains(d.t, body+"[]", "\n", "indented")
}

func TestServer_BeforeTheFirstRules(t *testing.T) {
	d := newDesk(t, nil)
	f := func(path, want string) {
		t.Helper()
		status, body := d.ask("GET", path)
		require.Equal(t, 200, status)
		require.Equal(t, want, strings.TrimSpace(body))
	}
	f("/healthz", "ok")
	f("/api/rules", "[]")
	f("/api/services", "[]")
	f("/api/backends", "[]")
	f("/api/rejected", "[]")
	f("/", strings.TrimSpace(index))
}

func TestServer_IndexNamesEveryEndpoint(t *testing.T) {
	d := newDesk(t, nil)
	for line := range strings.Lines(index) {
		if path, _, _ := strings.Cut(line, " "); strings.HasPrefix(path, "/") {
			want := 200
			if path == "/api/match" {
				want = 400 // without a URL
			}
			status, _ := d.ask("GET", strings.TrimSpace(path))
			require.Equal(t, want, status, path)
		}
	}
	status, body := d.ask("GET", "/api/status")
	require.Equal(t, 404, status)
	require.Contains(t, body, "/api/status is not here, but this is:\n\nlb admin\n")
}

func TestServer_OnlyGETUnlessSaid(t *testing.T) {
	d := newDesk(t, nil)
	for _, path := range []string{"/", "/healthz", "/metrics", "/api/rules", "/api/services", "/api/backends", "/api/certificates", "/api/match", "/api/rejected", "/api/version"} {
		status, _ := d.ask("POST", path)
		require.Equal(t, 405, status, path)
	}
	status, _ := d.ask("DELETE", "/api/log-level")
	require.Equal(t, 405, status)
	status, body := d.ask("HEAD", "/healthz")
	require.Equal(t, 200, status)
	require.Empty(t, body)
}

func TestServer_Metrics(t *testing.T) {
	d := newDesk(t, nil)
	status, body := d.ask("GET", "/metrics")
	require.Equal(t, 200, status)
	for _, want := range []string{"\nlb_loops 2\n", "\nlb_build_info{goversion=", `version="v1.2.3"`, "\ngo_goroutines ", "\nprocess_open_fds "} {
		require.Contains(t, body, want)
	}
}

func TestServer_OwnMetricsAreDocumented(t *testing.T) {
	docs, err := os.ReadFile("../docs/metrics.md")
	require.NoError(t, err)
	described := make(chan *prometheus.Desc, 8)
	sourceAges{}.Describe(described)
	certificateExpiries{}.Describe(described)
	close(described)
	for d := range described {
		_, name, _ := strings.Cut(d.String(), `fqName: "`)
		name, _, _ = strings.Cut(name, `"`)
		require.Contains(t, string(docs), "| `"+name+"` |")
	}
}

func TestServer_LogLevel(t *testing.T) {
	d := newDesk(t, nil)
	f := func(method, path string, want int, text string, level zapcore.Level) {
		t.Helper()
		status, body := d.ask(method, path)
		require.Equal(t, want, status, body)
		require.Contains(t, body, text)
		require.Equal(t, level, d.Level.Level())
	}
	f("GET", "/api/log-level", 200, `"info"`, zapcore.InfoLevel)
	f("PUT", "/api/log-level?level=debug", 200, `"debug"`, zapcore.DebugLevel)
	f("POST", "/api/log-level?level=error", 200, `"error"`, zapcore.ErrorLevel)
	f("PUT", "/api/log-level?level=loud", 400, `level "loud": want debug, info, warn or error`, zapcore.ErrorLevel)
	f("PUT", "/api/log-level", 400, `level ""`, zapcore.ErrorLevel)
	f("PUT", "/api/log-level?level=fatal", 400, "want debug", zapcore.ErrorLevel)

	status, body := d.ask("POST", "/api/log-level?level=debug", func(r *http.Request) { r.Header.Set("Origin", "http://elsewhere.example") })
	require.Equal(t, 403, status, "a page of another site asked: %s", body)
	require.Equal(t, zapcore.ErrorLevel, d.Level.Level())
}

func TestServer_RefusesForeignHost(t *testing.T) {
	d := newDesk(t, nil)
	f := func(host string, want int) {
		t.Helper()
		status, body := d.ask("GET", "/healthz", func(r *http.Request) { r.Host = host })
		require.Equal(t, want, status, "%s: %s", host, body)
	}
	f("127.0.0.1", 200)
	f("127.0.0.1:1", 200)
	f("[::1]:8080", 200)
	f("[::1]", 200)
	f("LocalHost:8080", 200)
	f("lb.localhost", 200)
	f("localhost.", 200)
	f("balancer:8080", 200)
	f("evil.example", 403)
	f("evil.example:8080", 403)
	f("127.0.0.1.evil.example", 403)
	f("localhost.evil.example.", 403)
	f("127.0.0.1.nip.io:8080", 403)
}

func TestGuard_KnowsTheConfiguredHost(t *testing.T) {
	g := newGuard("LB.example.org:8080")
	require.True(t, g.knows("lb.example.org"))
	require.True(t, g.knows("lb.EXAMPLE.org.:9"))
	require.False(t, g.knows("example.org"))
	require.True(t, g.knows(""), "HTTP/1.0, which no browser speaks")
}

func TestServer_AddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	p, err := proxy.New(proxy.Config{Loops: 1, Log: zap.NewNop()})
	require.NoError(t, err)
	f := func(addr, want string) {
		t.Helper()
		err := New(Config{Addr: addr, Proxy: p, Log: zap.NewNop()}).Start()
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "-admin off")
	}
	f(l.Addr().String(), "admin: "+l.Addr().String()+" is in use; choose another address")
	f("127.0.0.1", "missing port")
}

func TestServer_SocketIsTakenOver(t *testing.T) {
	old := newDesk(t, nil)
	file, err := old.File()
	require.NoError(t, err)
	l, err := net.FileListener(file)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	next := newDesk(t, func(c *Config) { c.Listener, c.Version = l, "next" })
	require.Equal(t, old.Addr(), next.Addr())
	require.NoError(t, old.Stop(t.Context()))
	_, body := next.ask("GET", "/api/version", func(r *http.Request) { r.Close = true })
	require.Contains(t, body, "next")
}

func TestServer_StopCutsWhatDoesNotEnd(t *testing.T) {
	entered, hold := make(chan struct{}), make(chan struct{})
	d := newDesk(t, func(c *Config) {
		c.Ready = func() (bool, string) {
			close(entered)
			<-hold
			return true, ""
		}
	})
	cut := make(chan error)
	go func() {
		resp, err := http.Get("http://" + d.Addr() + "/healthz")
		if err == nil {
			_ = resp.Body.Close()
		}
		cut <- err
	}()
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorContains(t, d.Stop(ctx), "admin: context canceled")
	require.Error(t, <-cut)
	close(hold)
}

// server starts a Backend and returns its address.
func server(t *testing.T) netip.AddrPort {
	s := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}
