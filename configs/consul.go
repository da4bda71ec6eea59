package configs

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	"arzur.net/lb/discovery"
	"arzur.net/lb/rules"
)

// NewConsul is what an empty consul section means.
func NewConsul() *discovery.ConsulConfig {
	c := discovery.DefaultConsul
	return &c
}

func (v value) consul() *discovery.ConsulConfig {
	c := NewConsul()
	before := len(v.doc.mistakes)
	v.object(fields{
		"address":            into(&c.Address, value.text),
		"scheme":             into(&c.Scheme, oneOf("http", "https")),
		"token":              into(&c.Token, value.text),
		"token_file":         into(&c.TokenFile, value.fileName),
		"datacenter":         into(&c.Datacenter, value.text),
		"namespace":          into(&c.Namespace, value.text),
		"partition":          into(&c.Partition, value.text),
		"tls":                func(v value) { v.consulTLS(&c.TLS) },
		"tag_prefix":         into(&c.TagPrefix, value.text),
		"filter":             into(&c.Filter, value.text),
		"stale":              into(&c.Stale, value.boolean),
		"require":            into(&c.Require, oneOf("passing", "warning")),
		"tagged_address":     into(&c.TaggedAddress, value.text),
		"kv":                 into(&c.KV, value.text),
		"cache":              into(&c.Cache, value.fileName),
		"connections":        into(&c.Connections, within(1, 1<<16)),
		"register":           func(v value) { c.Register = v.register() },
		"exposed_by_default": into(&c.Labels.ExposedByDefault, value.boolean),
		"constraints":        into(&c.Labels.Constraints, value.text),
		"default_rule":       into(&c.Labels.DefaultRule, value.text),
		"domain":             into(&c.Labels.Domain, value.text),
		"entry_points":       into(&c.Labels.EntryPoints, value.entryPoints),
	})
	if len(v.doc.mistakes) > before {
		return c
	}
	if err := c.Validate(); err != nil {
		v.fail("%v", err)
	}
	return c
}

func (v value) consulTLS(t *discovery.ConsulTLS) {
	v.object(fields{
		"ca":                   into(&t.CA, value.fileName),
		"cert":                 into(&t.Cert, value.fileName),
		"key":                  into(&t.Key, value.fileName),
		"server_name":          into(&t.ServerName, value.text),
		"insecure_skip_verify": into(&t.SkipVerify, value.boolean),
	})
}

// register reads how the program appears in Consul.
func (v value) register() *discovery.ConsulMyself {
	m := &discovery.ConsulMyself{}
	v.object(fields{
		"name":             into(&m.Name, value.text),
		"address":          into(&m.Address, value.text),
		"port":             into(&m.Port, value.port),
		"tags":             into(&m.Tags, value.texts),
		"interval":         into(&m.Interval, value.duration),
		"deregister_after": into(&m.Deregister, value.duration),
	})
	if m.Deregister != 0 && m.Deregister < time.Minute {
		v.fail("deregister_after is %s; Consul takes no less than 1m", m.Deregister)
	}
	return m
}

func (v value) texts() (list []string) {
	for _, item := range v.items() {
		list = append(list, item.text())
	}
	return list
}

// discovered begin the names of services that Sources look for.
var discovered = []string{discovery.ConsulPrefix, discovery.DNSPrefix, discovery.SRVPrefix}

func isDiscovered(service string) bool {
	return slices.ContainsFunc(discovered, func(prefix string) bool { return strings.HasPrefix(service, prefix) })
}

// ParseFragment reads a rules file from a key of Consul's KV store. Settings are
// the program's, not a fragment's: they may stand in files alone.
func ParseFragment(key string, data []byte) discovery.Fragment {
	name := "consul kv " + key
	l := newLoader("")
	l.fragment = true
	l.document(name, data)
	c, err := l.finish()
	if err == nil {
		return discovery.Fragment{Rules: c.Rules, Services: c.Services, Problems: c.Problems}
	}
	var f discovery.Fragment
	for _, err := range separate(err) {
		origin, reason, _ := strings.Cut(err.Error(), ": ")
		f.Problems = append(f.Problems, rules.Problem{Origin: cmp.Or(origin, name), Reason: reason, Fatal: true})
	}
	return f
}

// separate are the errors that finish has joined.
func separate(err error) []error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	return []error{err}
}
