package main

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"arzur.net/lb/certs"
	"arzur.net/lb/configs"
	"arzur.net/lb/rules"
)

// cachePatience is how long the first listeners wait for the certificates that a
// shared cache has.
const cachePatience = 5 * time.Second

// newACME makes what gets certificates by ACME, as the configuration has it; nil
// if it has nothing of it.
func newACME(c *configs.Config, store *certs.Store, log *zap.Logger) (*certs.ACME, error) {
	a := c.ACME
	if a == nil {
		return nil, nil
	}
	cache, err := acmeCache(c)
	if err != nil {
		return nil, fmt.Errorf("%s: acme: %w", a.Origin, err)
	}
	config := certs.ACMEConfig{
		Email: a.Email, Directory: a.Directory, CA: a.CA, RenewBefore: a.RenewBefore, KeyType: a.KeyType, Profile: a.Profile,
		Cache: cache, Store: store, Log: log,
	}
	if a.KeyID != "" {
		config.EAB = &certs.EAB{KID: a.KeyID, Key: a.Key}
	}
	return certs.NewACME(config), nil
}

// acmeCache is a folder, or the Consul that is a source too, or would be.
func acmeCache(c *configs.Config) (certs.Cache, error) {
	prefix, inConsul := strings.CutPrefix(c.ACME.Cache, configs.ConsulCache)
	if !inConsul {
		return certs.NewFolder(c.ACME.Cache)
	}
	client, token, err := cmp.Or(c.Sources.Consul, configs.NewConsul()).Client()
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	return certs.NewConsul(client, prefix, token), nil
}

// acmeFor makes what gets certificates as config has it; nil for nothing. If it is
// the one in use, that is returned.
func (c *certificates) acmeFor(config *configs.Config, log *zap.Logger) (*certs.ACME, error) {
	if sameACME(c.orders, config.ACME) {
		return c.acme.Load(), nil
	}
	return newACME(config, &c.store, log)
}

// useACME puts a into use, for the names of t's rules, and ends the one before it.
func (c *certificates) useACME(a *certs.ACME, t *rules.Table, config *configs.Config) {
	old, stop := c.acme.Load(), c.stop
	if a != nil && a != old && old != nil {
		a.Adopt(old)
	}
	if a != nil {
		a.SetHosts(acmeHosts(t, config.ACME), challenges(t))
	}
	if a == old {
		return
	}
	c.acme.Store(a)
	c.orders, c.stop = config.ACME, nil
	if a != nil {
		c.load(a)
		c.stop = c.start(a)
	}
	if old != nil {
		stop()
	}
	if a == nil {
		old.Retire()
	}
}

// load puts the certificates into use that the cache has.
func (c *certificates) load(a *certs.ACME) {
	ctx, cancel := context.WithTimeout(context.Background(), cachePatience)
	defer cancel()
	a.Load(ctx)
}

// acmeHosts are the names for which ACME is asked: those that rules of protocols
// that need a certificate carry in full. A file that covers one goes before it.
func acmeHosts(t *rules.Table, a *configs.ACME) (names []string) {
	for _, e := range t.Entries() {
		names = append(names, acmeHostsOf(e, a)...)
	}
	return names
}

func acmeHostsOf(e *rules.Entry, a *configs.ACME) []string {
	if a == nil || !needsCertificate(e.Listen.Protocol) {
		return nil
	}
	return slices.DeleteFunc(e.Hosts(), func(host string) bool { return a.Hosts != nil && !slices.Contains(a.Hosts, host) })
}

func needsCertificate(protocol string) bool { return protocol == rules.HTTPS || protocol == rules.TLS }

// challenges are those that t's ports can answer, the likeliest to work first: a
// CA asks on the ports 80 and 443, and others can only be where these lead to.
func challenges(t *rules.Table) (kinds []string) {
	add := func(kind string, fits func(l rules.Listen) bool) {
		if !slices.Contains(kinds, kind) && slices.ContainsFunc(t.Ports(), fits) {
			kinds = append(kinds, kind)
		}
	}
	add(certs.HTTP01, func(l rules.Listen) bool { return l.Protocol == rules.HTTP && l.Port == 80 })
	add(certs.TLSALPN01, func(l rules.Listen) bool { return needsCertificate(l.Protocol) && l.Port == 443 })
	add(certs.HTTP01, func(l rules.Listen) bool { return l.Protocol == rules.HTTP })
	add(certs.TLSALPN01, func(l rules.Listen) bool { return needsCertificate(l.Protocol) })
	return kinds
}

// unordered says why nobody orders for a rule that asks for it; "" if somebody does.
func unordered(e *rules.Entry, a *configs.ACME) string {
	hosts := e.Hosts()
	switch refused := slices.DeleteFunc(hosts, func(h string) bool { return slices.Contains(acmeHostsOf(e, a), h) }); {
	case !e.Rule.ACME:
		return ""
	case a == nil:
		return "asks for a certificate by ACME, which is not set up; want acme: {cache: /var/lib/lb/acme}"
	case len(refused) > 0:
		return fmt.Sprintf("asks for a certificate by ACME for %s, which acme.hosts does not have", strings.Join(refused, ", "))
	}
	return ""
}

// sameACME says whether a and b differ in no more than the names.
func sameACME(a, b *configs.ACME) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	x.Hosts, x.Origin, y.Hosts, y.Origin = nil, "", nil, ""
	return reflect.DeepEqual(x, y)
}
