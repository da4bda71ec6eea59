package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"arzur.net/lb/certs"
	"arzur.net/lb/configs"
	"arzur.net/lb/rules"
)

// certificates are those of the program, and what TLS clients get.
type certificates struct {
	store   certs.Store
	watcher *certs.Watcher
	server  *certs.Server
	acme    atomic.Pointer[certs.ACME] // nil: none
	orders  *configs.ACME              // as acme was made

	config *configs.Config        // in use
	served map[string]*tls.Config // of it, by protocol

	start func(a *certs.ACME) (stop func()) // a's Run; nil before run
	stop  func()                            // ends that of acme
}

func newCertificates(log *zap.Logger) *certificates {
	c := &certificates{}
	c.watcher = certs.NewWatcher(&c.store, log)
	c.server = certs.NewServer(&c.store)
	return c
}

// run keeps up with files, OCSP responders and time until ctx ends.
func (c *certificates) run(ctx context.Context, background *sync.WaitGroup, log *zap.Logger) {
	stapler := certs.Stapler{Store: &c.store, Log: log}
	background.Go(func() { c.watcher.Run(ctx) })
	background.Go(func() { stapler.Run(ctx) })
	background.Go(func() { c.store.WarnOfEndings(ctx, log) })
	c.start = func(a *certs.ACME) func() {
		own, stop := context.WithCancel(ctx)
		background.Go(func() { a.Run(own) })
		return stop
	}
}

// use loads the certificates of a configuration, unless it is in use already. It
// is called before its listeners are opened: their first client may be there at
// once.
func (c *certificates) use(config *configs.Config) error {
	if config == c.config {
		return nil
	}
	served, err := c.serverConfigs(&config.TLS)
	if err != nil {
		return err
	}
	c.watcher.Set(config.Certs, config.DefaultCert)
	c.config, c.served = config, served
	return nil
}

// serverConfigs are what TLS clients get, by the protocol of the port.
func (c *certificates) serverConfigs(settings *certs.Settings) (map[string]*tls.Config, error) {
	// A client that speaks nothing newer says so, and would be refused.
	https, err := c.server.Config(settings, "http/1.1", "http/1.0")
	if err != nil {
		return nil, err
	}
	raw, err := c.server.Config(settings)
	if err != nil {
		return nil, err
	}
	return map[string]*tls.Config{rules.HTTPS: https, rules.TLS: raw}, nil
}

// problems are those of the files now.
func (c *certificates) problems() []rules.Problem {
	return slices.Concat(c.watcher.Problems(), c.store.Endings())
}

// uncovered finds the rules whose clients are refused, or shown a certificate
// that is not for them.
func uncovered(t *rules.Table, store *certs.Store, acme *configs.ACME) (found []rules.Problem) {
	for _, e := range t.Entries() {
		if !needsCertificate(e.Listen.Protocol) {
			continue
		}
		if text := unordered(e, acme); text != "" {
			found = append(found, uncoveredProblem(e, text))
			continue
		}
		automatic := acmeHostsOf(e, acme) // these may take a while, and /api/certificates tells of them
		hosts := slices.DeleteFunc(e.Hosts(), func(h string) bool { return slices.Contains(automatic, h) })
		advice := "add one to certs, or get one with tls: acme"
		if name := filesAlone(e.Rule.Hostname); name != "" {
			hosts, advice = append(hosts, name), "add one to certs"
		}
		hosts = slices.DeleteFunc(hosts, store.Covers)
		switch {
		case len(hosts) > 0:
			found = append(found, uncoveredProblem(e, fmt.Sprintf("no certificate for %s; %s", strings.Join(hosts, ", "), advice)))
		case store.Empty() && len(automatic) == 0:
			found = append(found, uncoveredProblem(e, "there is no certificate, so that every client is refused; add one to certs"))
		}
	}
	return found
}

// filesAlone is the name of a host that ACME has no certificates for, a star or an
// address, as a certificate has it; "": it is another.
func filesAlone(host string) string {
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return a.String()
	}
	if strings.HasPrefix(host, "*.") {
		return host
	}
	return ""
}

func uncoveredProblem(e *rules.Entry, reason string) rules.Problem {
	return rules.Problem{Origin: e.Rule.Origin, Rule: e.Rule.Title(), Reason: reason}
}

// checkCertificates is what problems and uncovered will find once l is in use.
func checkCertificates(l *loaded) []rules.Problem {
	c := newCertificates(zap.NewNop())
	c.watcher.Set(l.Certs, l.DefaultCert)
	return slices.Concat(c.problems(), uncovered(l.table, &c.store, l.ACME))
}
