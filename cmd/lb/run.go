package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"arzur.net/lb/admin"
	"arzur.net/lb/configs"
	"arzur.net/lb/discovery"
	"arzur.net/lb/health"
	"arzur.net/lb/proxy"
	"arzur.net/lb/rules"
)

const noConfig = `lb: no -config, so nothing to serve.

  lb -config rules.yml    serves what rules.yml says, for example:

    port_rules:
    - {source_port: 8000, hostname: arzur.net, service: blog}
    services:
      blog: {servers: ["10.0.0.1:80", "10.0.0.2:80"]}

  lb -docker              serves what the labels of containers say
  lb -consul              serves what the tags of services in Consul say
  lb demo                 needs no file
  lb help                 lists the rest
`

// run serves until a signal ends it.
func run(args []string) int {
	var f flags
	var set flag.FlagSet
	f.defineConfig(&set)
	f.defineRun(&set)
	if err := cmp.Or(parse(&set, args), f.check()); errors.Is(err, errHelp) {
		return help(os.Stdout)
	} else if err != nil {
		return usage("%v", err)
	}
	if len(f.configs) == 0 && !f.discovers() {
		fmt.Fprint(os.Stderr, noConfig)
		return exitUsage
	}
	return serve(&f, f.load)
}

// server is the running program. Its methods belong to the goroutine of run,
// but for those of which it is said.
type server struct {
	flags  *flags
	log    *zap.Logger
	level  zap.AtomicLevel
	loops  int
	source *discovery.File
	dns    *discovery.DNS
	read   func() (*loaded, error)
	first  *loaded // until source has taken it
	held   bool    // systemd holds the sockets too
	next   *successor

	registry *health.Registry
	checker  *health.Checker
	certs    *certificates
	proxy    *proxy.Proxy

	background sync.WaitGroup // ends with the context of run

	views    chan view
	failures chan error                     // reloads that were rejected
	latest   atomic.Pointer[configs.Config] // as of the last good load

	outages   outages
	config    *configs.Config // in use
	view      view            // likewise
	partial   bool            // a listener of it could not be opened
	access    *proxy.AccessLog
	admin     *admin.Server
	named     map[*health.Backend]bool
	rules     book
	known     map[string]bool                 // problems that were logged
	problems  atomic.Pointer[[]rules.Problem] // for the admin listener
	draining  atomic.Bool
	succeeded atomic.Bool // a successor serves
}

// view is what Merge hands on.
type view struct {
	rules.Input
	problems []rules.Problem
}

// serve runs the program on what read returns. An error before it serves goes
// to stderr as it is; later ones are logged.
func serve(f *flags, read func() (*loaded, error)) int {
	// The signals of an impatient operator must not kill a program that starts.
	signals := make(chan os.Signal, 16)
	signal.Ignore(syscall.SIGPIPE) // that the reader of a log has gone is no reason to end
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2)
	in, err := inherit()
	if err != nil {
		return bad(err)
	}
	first, err := read()
	if err != nil {
		return bad(err)
	}
	s, err := newServer(f, read, first)
	if err != nil {
		return bad(err)
	}
	if err := s.proxy.Inherit(in.sockets); err != nil {
		return bad(err)
	}
	if in.tickets != nil {
		if err := s.certs.server.SetTicketKeys(in.tickets); err != nil {
			s.log.Warn("clients cannot resume their sessions", zap.Error(err))
		}
	}
	if s.held = in.held; s.held {
		s.proxy.Shared()
	}
	return s.run(signals, in)
}

// newServer makes the parts.
func newServer(f *flags, read func() (*loaded, error), first *loaded) (*server, error) {
	s := &server{
		flags:    f,
		read:     read,
		first:    first,
		level:    zap.NewAtomicLevelAt(f.level(first.Log.Level)),
		loops:    cmp.Or(first.Defaults.Loops, runtime.GOMAXPROCS(0)),
		registry: health.NewRegistry(),
		views:    make(chan view),
		failures: make(chan error),
	}
	s.log = newLogger(cmp.Or(f.logFormat, first.Log.Format), s.level)
	s.checker = health.NewChecker(s.log)
	s.certs = newCertificates(s.log)
	s.dns = discovery.NewDNS(first.Sources.DNS)
	s.source = &discovery.File{Paths: f.configs, Load: s.load}
	if d := first.Sources.Docker; d != nil {
		if err := d.CheckEnvironment(); err != nil {
			return nil, err
		}
	}
	var err error
	s.proxy, err = proxy.New(proxy.Config{Loops: s.loops, Seed: rand.Uint64(), NoRing: !first.Defaults.IOUring, Log: s.log})
	// One more than there are Loops, so that checks, the admin listener and the
	// log get to run while every Loop is busy.
	runtime.GOMAXPROCS(s.loops + 1)
	spareGC()
	return s, err
}

// run serves until a signal ends it, or until a successor serves.
func (s *server) run(signals <-chan os.Signal, in inheritance) int {
	ctx, stop := context.WithCancel(context.Background())
	s.source.OnReload = func(err error) { s.rejected(ctx, err) }
	resolver := &discovery.Resolver{Interval: s.first.Defaults.DNSInterval}
	sources := s.sources()
	defer s.background.Wait()
	defer stop()
	s.background.Go(func() { s.checker.Run(ctx) })
	s.certs.run(ctx, &s.background, s.log)
	s.background.Go(func() {
		_ = discovery.Merge(ctx, sources, resolver, s.log, func(in rules.Input, problems []rules.Problem) {
			select {
			case s.views <- view{in, problems}:
			case <-ctx.Done():
			}
		}) // ends with ctx, and with its error
	})

	s.proxy.Start()
	defer func() {
		s.proxy.Stop()
		s.closeAccessLog(s.access)
	}()
	v := <-s.views
	if in.ready >= 0 {
		var err error
		if v, err = s.hear(v); err != nil {
			return bad(fmt.Errorf("hand-over: %w", err))
		}
		v = s.warmUp(v)
	}
	if err := s.apply(v); err != nil {
		return bad(err)
	}
	s.proxy.Reloaded(true)
	s.proxy.CloseUnused()
	// Not earlier: until now a predecessor has answered there, as one that serves.
	if err := s.startAdmin(in.admin); err != nil {
		return bad(err)
	}
	defer s.stopAdmin()
	if err := in.sayReady(); err != nil {
		return bad(fmt.Errorf("hand-over: %w", err)) // it would not let go
	}
	notify(fmt.Sprintf("READY=1\nMAINPID=%d", os.Getpid()))
	if len(s.rules) == 0 {
		s.log.Info("no rule yet, so nothing is listened on; listeners come with the first rules")
	}
	s.log.Info("serving", zap.String("version", versionName()), zap.Int("loops", s.loops), zap.Int("pid", os.Getpid()))
	last := s.loop(signals)
	stop()
	return s.drain(last, signals)
}

// sweepEvery is how often Backends are looked for that nobody names any more;
// they are kept for health.RetireAfter, so being exact gains nothing.
const sweepEvery = 15 * time.Second

// handedOver is the "signal" that ends loop when a successor serves.
const handedOver = syscall.SIGUSR2

// loop does what is asked of the program until it is to end, and says by what.
func (s *server) loop(signals <-chan os.Signal) os.Signal {
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	glance := time.NewTicker(ejectionsEvery)
	defer glance.Stop()
	var out ejections
	var takeover chan error // of the successor under way
	for {
		select {
		case v := <-s.views:
			s.reload(v)
		case err := <-s.failures:
			s.logRejected(err)
		case <-glance.C:
			out = out.log(s.proxy.Table().Backends(), s.log)
		case <-sweep.C:
			s.retryListeners()
			s.proxy.Retire(s.registry.Sweep(health.Now(), func(b *health.Backend) bool { return s.named[b] }))
		case err := <-takeover:
			takeover = nil
			if err == nil {
				s.succeeded.Store(true)
				return handedOver
			}
			s.log.Error("hand-over failed; this process keeps serving", zap.Error(err))
		case sig := <-signals:
			switch sig {
			case syscall.SIGHUP:
				notify(reloadingState())
				s.source.Reload()
			case syscall.SIGUSR1:
				s.reopenAccessLog()
			case syscall.SIGUSR2:
				if takeover == nil {
					takeover = s.handOver()
				}
			default:
				if takeover != nil {
					_ = s.next.process.Signal(sig) // it is to end too; if it has ended, so be it
				}
				return sig
			}
		}
	}
}
