package labels

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"arzur.net/lb/rules"
)

// traefik3 is what the Traefik 2 and 3 labels of one Subject say, taken apart by
// the names of routers, services and middlewares.
type traefik3 struct {
	routers     map[string]*element
	services    map[string]*element
	middlewares map[string]*element
	others      map[string]*element // of TCP, UDP and TLS, by the start of their labels
	strays      []fault             // labels that are about none of these
	http        bool                // some label is about HTTP
}

// elementKinds are the groups that a Subject can have elements of.
var elementKinds = map[string]fields{
	"http.routers":     httpRouterFields,
	"http.services":    httpServiceFields,
	"http.middlewares": httpMiddlewareFields,
	"tcp.routers":      tcpRouterFields,
	"tcp.services":     tcpServiceFields,
	"tcp.middlewares":  tcpMiddlewareFields,
	"udp.routers":      udpRouterFields,
	"udp.services":     udpServiceFields,
	"tls.stores":       tlsStoreFields,
}

// isTraefik3 says whether a label belongs to this dialect.
func isTraefik3(key string) bool {
	rest, found := strings.CutPrefix(key, "traefik.")
	word, _, _ := strings.Cut(rest, ".")
	switch strings.ToLower(word) {
	case "http", "tcp", "udp", "tls":
		return found
	}
	return false
}

// onlyOtherProtocols: who asks for TCP or UDP and not for HTTP gets no default rule.
func onlyOtherProtocols(s *Subject) bool {
	other := false
	for key := range s.Labels {
		word, _, _ := strings.Cut(strings.TrimPrefix(key, "traefik."), ".")
		switch strings.ToLower(word) {
		case "http":
			if isTraefik3(key) {
				return false
			}
		case "tcp", "udp":
			other = other || isTraefik3(key)
		}
	}
	return other
}

// parseTraefik3 takes the labels apart: traefik.<protocol>.<group>.<name>.<path>.
// Only the first word and the name are case-sensitive.
func parseTraefik3(s *Subject) *traefik3 {
	t := &traefik3{
		routers: make(map[string]*element), services: make(map[string]*element),
		middlewares: make(map[string]*element), others: make(map[string]*element),
	}
	for _, key := range s.sortedKeys() {
		if isTraefik3(key) {
			t.add(s, key)
		}
	}
	return t
}

func (t *traefik3) add(s *Subject, key string) {
	words := strings.SplitN(key, ".", 5)
	group := strings.ToLower(strings.Join(words[1:min(3, len(words))], "."))
	t.http = t.http || strings.HasPrefix(group, "http")
	known := elementKinds[group]
	if known == nil {
		reason := "unknown label" + didYouMean(group, slices.Sorted(maps.Keys(elementKinds)))
		t.strays = append(t.strays, fault{label: key, reason: reason})
		return
	}
	if len(words) < 4 || words[3] == "" {
		t.strays = append(t.strays, fault{label: key, reason: "it names none of the " + group[strings.IndexByte(group, '.')+1:]})
		return
	}
	path := ""
	if len(words) == 5 {
		path = words[4]
	}
	if path == "" && strings.HasPrefix(group, "http.") {
		t.strays = append(t.strays, fault{label: key, reason: fmt.Sprintf("it says nothing about %q", words[3])})
		return
	}
	t.element(group, words[3], s).add(key, path, known)
}

func (t *traefik3) element(group, name string, s *Subject) *element {
	of := t.others
	switch group {
	case "http.routers":
		of = t.routers
	case "http.services":
		of = t.services
	case "http.middlewares":
		of = t.middlewares
	default:
		name = group + "." + name
	}
	if of[name] == nil {
		of[name] = newElement(name, s)
	}
	return of[name]
}

// elements are those of TCP or UDP in a group, by name.
func (t *traefik3) elements(network, group string) map[string]*element {
	found := make(map[string]*element)
	for key, e := range t.others {
		if name, ok := strings.CutPrefix(key, network+"."+group+"."); ok {
			found[name] = e
		}
	}
	return found
}

// traefik3Decoder turns a Subject's elements into rules and groups.
type traefik3Decoder struct {
	*traefik3
	s        *Subject
	o        *Options
	w        *Wants
	own      map[string]*service3 // services of this Subject
	fallback string               // the service of routers that name none, "" if there are several
}

// decodeTraefik3 adds to w what the labels of Traefik 2 and 3 ask for. Where Traefik
// would drop everything that a Subject says because of one label, the rest counts
// as far as that is safe.
func decodeTraefik3(s *Subject, o *Options, w *Wants) {
	d := &traefik3Decoder{traefik3: parseTraefik3(s), s: s, o: o, w: w, own: make(map[string]*service3)}
	d.reportOthers()
	if d.http {
		d.addHTTP()
	}
	d.addStreams(rules.TCP)
	d.addStreams(rules.UDP)
	d.reportStrays()
}

func (d *traefik3Decoder) addHTTP() {
	d.reportMiddlewares()
	d.reportShared()
	d.addServices()
	for _, name := range sortedNames(d.routers) {
		d.addRouter(d.routers[name])
	}
	// After a mistake a router may be what is missing, and with it its middlewares.
	if len(d.routers) == 0 && len(d.w.Rules) == 0 && len(d.strays) == 0 && d.fallback != "" {
		d.addDefaultRouter()
	}
	d.reportUnrouted()
}

// reportUnrouted tells of services that nobody has a router for. With one alone
// there is a router by default.
func (d *traefik3Decoder) reportUnrouted() {
	if len(d.routers) > 0 || len(d.services) < 2 || d.o.Shared == nil {
		return
	}
	for _, name := range sortedNames(d.services) {
		if label := d.services[name].anyLabel(); !d.o.Shared.routed[name] && label != "" {
			d.w.warn(d.s, label, "no router names service %q, and with several services none comes by itself; want traefik.http.routers.%s.service=%s and a rule", name, name, name)
		}
	}
}

// reportStrays: a label of which not even the group is known may have been any router.
func (d *traefik3Decoder) reportStrays() {
	for _, f := range d.strays {
		if mayProtect(f.label) {
			d.w.refuseAll(d.s, f.label, f.reason)
		} else {
			d.w.reject(d.s, f.label, "", "%s", f.reason)
		}
	}
}

// reportOthers tells of certificates that labels ask for, and of middlewares.
func (d *traefik3Decoder) reportOthers() {
	for _, name := range sortedNames(d.others) {
		e := d.others[name]
		label := e.anyLabel()
		switch group, _, _ := strings.Cut(name, "."); {
		case label == "":
		case group == "tls":
			d.report(e, nil)
			d.w.warn(d.s, label, "which certificates there are the configuration says alone: certs, default_cert, acme")
		case strings.HasPrefix(name, "tcp.middlewares."):
			d.report(e, nil)
			d.w.warn(d.s, label, "not supported yet; routers that use it serve nothing")
		}
	}
}

// report tells of the labels of e that cannot be used, but for one that somebody
// else tells of.
func (d *traefik3Decoder) report(e *element, but *fault) {
	for i := range e.faults {
		if f := &e.faults[i]; f != but {
			d.w.warn(d.s, f.label, "%s", f.reason)
		}
	}
}

// reportUnread tells of the fields of e that are known, but do nothing yet.
func (d *traefik3Decoder) reportUnread(e *element) {
	for _, v := range e.unread() {
		d.w.warn(d.s, v.label, "%s is known, but not supported yet; the rest works without it", v.field.name)
	}
}
