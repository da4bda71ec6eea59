// Package admin answers what operators and monitoring ask: health, metrics, the
// rules in use and what became of the others. It has a listener of its own, so
// that it neither slows the data path down nor is slowed down by it.
package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"arzur.net/lb/certs"
	"arzur.net/lb/health"
	"arzur.net/lb/proxy"
	"arzur.net/lb/rules"
)

// Config is what a Server shows and where.
type Config struct {
	Addr     string       // host:port; no host means all addresses
	Listener net.Listener // used instead of opening Addr, if not nil: one that came with the process

	Proxy    *proxy.Proxy
	Registry *health.Registry
	Problems func() []rules.Problem // of the configuration in use; nil: none
	Sources  func() []Source        // those besides files; nil: none
	Certs    *certs.Store           // nil: none
	ACME     func() *certs.ACME     // the one in use, nil for none; nil: none at all
	Ready    func() (bool, string)  // whether to send traffic here, else why not; nil: always
	Version  string
	Log      *zap.Logger
	Level    zap.AtomicLevel // of Log, changed by /api/log-level
}

// Source is something that announces rules, and how it is.
type Source struct {
	Name    string
	Failure string        // why it is not heard of now; "": it is well
	Age     time.Duration // of what it last said, while it is not heard of
}

// Server is the admin listener.
type Server struct {
	Config
	guard   guard
	started time.Time
	lst     net.Listener
	http    http.Server
	ended   chan struct{} // closed when serving has ended
}

// New makes a Server that does not listen yet.
func New(c Config) *Server {
	s := &Server{Config: c, guard: newGuard(c.Addr), started: time.Now(), ended: make(chan struct{})}
	s.http = http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second, // the metrics of many rules, to a slow reader
		IdleTimeout:       2 * time.Minute,  // longer than the usual scrape interval
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          stdLog(c.Log, zap.DebugLevel), // clients that talk nonsense
	}
	return s
}

// Start listens and serves in the background until Stop.
func (s *Server) Start() error {
	s.lst = s.Listener
	if s.lst == nil {
		l, err := net.Listen("tcp", s.Config.Addr)
		if err != nil {
			return listenError(s.Config.Addr, err)
		}
		s.lst = l
	}
	go func() { // ends with Stop, which waits for it
		defer close(s.ended)
		if err := s.http.Serve(s.lst); !errors.Is(err, http.ErrServerClosed) {
			s.Log.Error("serve admin", zap.String("address", s.Config.Addr), zap.Error(err))
		}
	}()
	return nil
}

// listenError says what to do about an address that cannot be had.
func listenError(addr string, err error) error {
	hint := "choose another address with -admin host:port, or -admin off"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("admin: %s is in use; %s", addr, hint)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("admin: no permission to listen on %s; %s", addr, hint)
	}
	return fmt.Errorf("admin: %w; %s", err, hint)
}

// Addr is the address that the started Server listens on.
func (s *Server) Addr() string { return s.lst.Addr().String() }

// File is a copy of the listening socket, for a new process to take over.
func (s *Server) File() (*os.File, error) {
	l, ok := s.lst.(*net.TCPListener)
	if !ok {
		return nil, fmt.Errorf("admin: a %T has no file", s.lst)
	}
	return l.File()
}

// Stop stops listening and waits for the requests under way until ctx ends, then
// cuts them.
func (s *Server) Stop(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("admin: %w", err), s.http.Close())
	}
	<-s.ended
	return err
}

// index is the page at /.
const index = `lb admin

/healthz           whether to send traffic here; ?verbose lists the parts
/metrics           for Prometheus
/api/rules         the rules, in the order in which they are tried
/api/services      the choices behind them
/api/backends      the servers: up, down or ejected, and why
/api/certificates  the certificates, where they come from and when they end
/api/match         ?url=URL: which rule takes such a request, and why not another
/api/rejected      rules and certificates that are not in force, and warnings
/api/log-level     PUT or POST ?level=debug|info|warn|error changes it
/api/version
`

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, index)
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, fmt.Sprintf("%s is not here, but this is:\n\n%s", r.URL.Path, index), http.StatusNotFound)
	})
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.Handle("GET /metrics", s.metrics())
	mux.HandleFunc("GET /api/rules", s.rules)
	mux.HandleFunc("GET /api/services", s.services)
	mux.HandleFunc("GET /api/backends", s.backends)
	mux.HandleFunc("GET /api/certificates", s.certificates)
	mux.HandleFunc("GET /api/match", s.match)
	mux.HandleFunc("GET /api/rejected", s.rejected)
	mux.HandleFunc("GET /api/version", s.version)
	mux.HandleFunc("GET /api/log-level", s.logLevel)
	mux.HandleFunc("PUT /api/log-level", s.setLogLevel)
	mux.HandleFunc("POST /api/log-level", s.setLogLevel)
	return s.guard.protect(mux)
}

// metrics has a registry of its own: what else in the process registers itself
// globally is not ours to show.
func (s *Server) metrics() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(
		s.Proxy.Collector(),
		sourceAges{s.Config.Sources},
		certificateExpiries{s.Certs},
		orders{s.Config.ACME},
		proxy.BuildInfo(s.Version),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{
		ErrorLog:            stdLog(s.Log, zap.ErrorLevel),
		ErrorHandling:       promhttp.ContinueOnError, // a part says more than nothing
		MaxRequestsInFlight: 4,
	})
}

// stdLog is for packages that log through the standard library.
func stdLog(l *zap.Logger, at zapcore.Level) *log.Logger {
	std, err := zap.NewStdLogAt(l, at)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return std
}
