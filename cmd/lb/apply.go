package main

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.uber.org/zap"

	"arzur.net/lb/configs"
	"arzur.net/lb/discovery"
	"arzur.net/lb/health"
	"arzur.net/lb/proxy"
	"arzur.net/lb/rules"
)

// load is the file Source's. It belongs to that goroutine, and never lets a
// configuration through that could not be put into use.
func (s *server) load() (discovery.Snapshot, []string, error) {
	l := s.first
	if s.first = nil; l == nil {
		var err error
		if l, err = s.read(); err != nil {
			return discovery.Snapshot{}, nil, err
		}
		if err := s.tryOut(l); err != nil {
			return discovery.Snapshot{}, nil, err
		}
	}
	s.latest.Store(l.Config)
	s.dns.Configure(l.Sources.DNS)
	return discovery.Snapshot{Rules: l.Rules, Services: l.Services, Warnings: l.Problems}, l.Files, nil
}

// tryOut finds out whether what is new in l can be opened. Putting it into use
// would show that too, but only after the Source has let go of what it
// announced before.
func (s *server) tryOut(l *loaded) error {
	if err := s.proxy.TryListen(l.table); err != nil {
		return located(err, l.table)
	}
	if !sameACME(l.ACME, s.latest.Load().ACME) {
		if _, err := newACME(l.Config, &s.certs.store, s.log); err != nil {
			return err
		}
	}
	if l.AccessLog.Path == "" || l.AccessLog == s.latest.Load().AccessLog {
		return nil
	}
	a, err := proxy.NewAccessLog(proxy.AccessLogConfig(l.AccessLog), s.log)
	if err != nil {
		return err
	}
	return a.Close()
}

// reload puts a later view into use.
func (s *server) reload(v view) {
	before := s.config
	if err := s.apply(v); err != nil {
		s.logRejected(err)
		return
	}
	if s.config == before {
		return // not the files have changed but what they lead to
	}
	s.logFixed(before)
	if s.flags.logLevel == "" && before.Log.Level != s.config.Log.Level {
		s.level.SetLevel(s.config.Log.Level)
	}
	s.proxy.Reloaded(true)
	s.log.Info("reloaded", zap.Int("rules", len(s.rules)), zap.Strings("files", s.config.Files))
	notify("READY=1")
}

// rejected hands the error of a load on. Any goroutine may call it.
func (s *server) rejected(ctx context.Context, err error) {
	if err == nil {
		return // what was loaded follows as a view
	}
	select {
	case s.failures <- err:
	case <-ctx.Done():
	}
}

func (s *server) logRejected(err error) {
	for line := range strings.Lines(err.Error()) {
		s.log.Error("reload rejected: old configuration keeps serving", zap.String("error", strings.TrimSpace(line)))
	}
	s.proxy.Reloaded(false)
	notify("READY=1") // after RELOADING=1; it is as ready as before
}

// apply puts a view into use. After an error all is as before.
func (s *server) apply(v view) error {
	config := s.latest.Load()
	access, err := s.accessLogFor(config.AccessLog)
	if err != nil {
		return err
	}
	if err := s.certs.use(config); err != nil {
		return s.undo(access, err)
	}
	acme, err := s.certs.acmeFor(config, s.log)
	if err != nil {
		return s.undo(access, err)
	}
	options := engineOptions(config, s.loops)
	options.TLS = s.certs.served
	if acme != nil {
		options.Challenge = acme.Challenge
	}
	whole := v
	table, rejected := s.compile(&v, config)
	if s.config == nil {
		s.certs.useACME(acme, table, config) // before the first client is there
	}
	var closed []rules.Problem // of listeners that cannot be opened
	for {
		err := s.proxy.Apply(table, options)
		if err == nil {
			break
		}
		out, some := s.leaveOut(&v, config, err)
		if !some {
			return s.undo(access, located(err, table))
		}
		closed = append(closed, out...)
		table, rejected = s.compile(&v, config)
	}
	s.certs.useACME(acme, table, config)
	s.view, s.partial = whole, len(closed) > 0
	s.useAccessLog(access)
	s.config = config
	s.checker.Set(checks(table))
	s.named = make(map[*health.Backend]bool, len(table.Backends()))
	for _, u := range table.Backends() {
		s.named[u.Backend] = true
	}
	s.rules = s.rules.logChanges(table, s.log)
	problems := slices.Concat(v.problems, closed, rejected, table.Doubts(), untrusted(table, config))
	s.known = logProblems(slices.Concat(problems, uncovered(table, &s.certs.store, config.ACME)), s.known, s.log)
	s.problems.Store(&problems)
	return nil
}

// undo lets go of what apply has opened before err, and returns err.
func (s *server) undo(access *proxy.AccessLog, err error) error {
	if access != s.access {
		s.closeAccessLog(access)
	}
	if s.config != nil {
		if err := s.certs.use(s.config); err != nil {
			panic("BUG: " + err.Error()) // it was in use before
		}
	}
	return err
}

// notInForce is all that is wrong now. Any goroutine may call it.
func (s *server) notInForce() []rules.Problem {
	return slices.Concat(*s.problems.Load(), s.certs.problems(), uncovered(s.proxy.Table(), &s.certs.store, s.latest.Load().ACME))
}

// checks are the Backends of t that are to be checked.
func checks(t *rules.Table) []health.Use {
	var uses []health.Use
	for _, u := range t.Backends() {
		if u.Check != nil {
			uses = append(uses, health.Use{Backend: u.Backend, Check: u.Check, Service: u.Services[0], Transport: u.Transport})
		}
	}
	return uses
}

// logFixed warns of settings that differ from before and count from the next start on.
func (s *server) logFixed(before *configs.Config) {
	warn := func(key string, was, is any) {
		if was != is {
			s.log.Warn("setting changes at the next start", zap.String("key", key), zap.String("value", fmt.Sprint(is)))
		}
	}
	a, b := before, s.config
	warn("admin.address", a.Admin.Address, b.Admin.Address)
	warn("log.format", a.Log.Format, b.Log.Format)
	warn("defaults.loops", a.Defaults.Loops, b.Defaults.Loops)
	warn("defaults.io_uring", a.Defaults.IOUring, b.Defaults.IOUring)
	warn("defaults.dns_interval", a.Defaults.DNSInterval, b.Defaults.DNSInterval)
	if !reflect.DeepEqual(a.Sources, b.Sources) { // the values may be secrets
		s.log.Warn("setting changes at the next start", zap.String("key", "sources"))
	}
}
