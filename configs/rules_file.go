package configs

import (
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"

	"arzur.net/lb/rules"
)

// rulesFile reads our own vocabulary.
func (l *loader) rulesFile(top value) {
	l.ruleKeys(top, l.sections())
}

// fragmentFile reads what may stand outside of files: rules and services.
func (l *loader) fragmentFile(top value) {
	known := l.sections()
	for key := range known {
		known[key] = func(v value) { v.fail("settings stand in a file; here port_rules and services alone count") }
	}
	l.ruleKeys(top, known)
}

// ruleKeys reads the rules and services among the known keys.
func (l *loader) ruleKeys(top value, known fields) {
	var lists []value
	compat := rules.OrderDefault
	known["services"] = l.declare
	known["port_rules"] = func(v value) { lists = append(lists, v) }
	known["compat"] = into(&compat, readCompat)
	for key, what := range later {
		known[key] = func(v value) { v.fail("%s are not supported yet; remove the key", what) }
	}
	inner := maps.Clone(known)
	known["lb_config"] = func(v value) { v.object(inner) }
	top.object(known)
	for _, list := range lists {
		for _, item := range list.items() {
			r := item.portRule(compat == rules.OrderRancher)
			r.Order = compat
			if r.port.node == nil && item.node.Kind == yaml.MappingNode && !item.means("source_port") {
				item.fail("source_port is missing; want 1 to 65535")
			}
			r.unsupportedTargets(func(v value, _ bool) { v.fail("is not supported yet; name a service") })
			l.rules = append(l.rules, r.each()...)
		}
	}
}

// readCompat reads whose order of rules and kind of path is meant.
var readCompat = keyword(map[string]rules.Order{"default": rules.OrderDefault, "rancher": rules.OrderRancher})

// sections are the keys that any file may hold, and all but certs only one of them each.
func (l *loader) sections() fields {
	c := &l.config
	known := fields{
		"defaults":   func(v value) { v.defaults(&c.Defaults, l.read) },
		"log":        func(v value) { v.log(&c.Log) },
		"access_log": func(v value) { v.accessLog(&c.AccessLog) },
		"admin":      func(v value) { v.admin(&c.Admin) },
		"sources":    func(v value) { v.sources(&c.Sources) },
		"trusted_proxies": func(v value) {
			for _, item := range v.items() {
				c.TrustedProxies = append(c.TrustedProxies, item.prefix())
			}
		},
		"default_cert": func(v value) { c.DefaultCert = v.certificate(false) },
		"acme":         func(v value) { c.ACME = v.acme(l.read) },
		"tls":          func(v value) { v.serverTLS(&c.TLS, &c.ClientCert, l.read) },
	}
	for key, read := range known {
		known[key] = func(v value) {
			if l.first(key, v) {
				read(v)
			}
		}
	}
	known["certs"] = func(v value) { c.Certs = append(c.Certs, v.certificates()...) }
	return known
}

// first says whether what, found at v, has not been found before.
func (l *loader) first(what string, v value) bool {
	if before, there := l.once[what]; there {
		v.fail("already set at %s; keep one", before)
		return false
	}
	l.once[what] = v.origin()
	return true
}

// read is a fileReader that counts the file among those to watch.
func (l *loader) read(v value, name string) []byte {
	if l.fragment {
		v.fail("files can be named in a file alone")
		return nil
	}
	path, data := v.readFile(name)
	if !slices.Contains(l.config.Files, path) {
		l.config.Files = append(l.config.Files, path)
	}
	return data
}

// declare reads a services section.
func (l *loader) declare(v value) {
	l.declared = true
	for _, m := range v.members() {
		if m.key == "" {
			m.fail("a service needs a name")
		} else if l.first("service "+m.key, m.value) {
			l.addService(m.service(m.key, l.read))
		}
	}
}
