package configs

import (
	"cmp"
	"math"
	"path/filepath"

	"arzur.net/lb/discovery"
)

// Sources are what announces rules and services besides files.
type Sources struct {
	Docker *Docker                 // nil: none
	Consul *discovery.ConsulConfig // nil: none
	DNS    discovery.DNSConfig     // how names such as dns:blog.example are looked up
}

// Announce says whether rules may come from a Source besides files.
func (s *Sources) Announce() bool { return s.Docker != nil || s.Consul != nil }

// Docker is a Docker Engine whose labels count: those of its containers or, with
// Swarm, those of the services that it manages.
type Docker struct {
	discovery.DockerConfig
	Swarm bool
}

// NewDocker is what an empty docker section means.
func NewDocker() *Docker { return &Docker{DockerConfig: discovery.DefaultDockerConfig} }

// sources reads {docker: {...}}.
func (v value) sources(s *Sources) {
	known := fields{"docker": func(v value) { s.Docker = v.docker() }}
	known["consul"] = func(v value) { s.Consul = v.consul() }
	known["dns"] = func(v value) { v.dns(&s.DNS) }
	v.object(known)
}

func (v value) docker() *Docker {
	d := NewDocker()
	before := len(v.doc.mistakes)
	v.object(fields{
		"endpoint":            into(&d.Endpoint, value.text),
		"swarm":               into(&d.Swarm, value.boolean),
		"exposed_by_default":  into(&d.Labels.ExposedByDefault, value.boolean),
		"network":             into(&d.Network, value.text),
		"constraints":         into(&d.Labels.Constraints, value.text),
		"default_rule":        into(&d.Labels.DefaultRule, value.text),
		"default_rule_syntax": into(&d.Labels.RuleSyntax, value.text),
		"domain":              into(&d.Labels.Domain, value.text),
		"use_bind_port_ip":    into(&d.UseBindPortIP, value.boolean),
		"entry_points":        into(&d.Labels.EntryPoints, value.entryPoints),
		"tls":                 func(v value) { v.engineTLS(&d.TLS) },
	})
	if d.Labels.Domain != "" && d.Labels.DefaultRule == discovery.DefaultDockerConfig.Labels.DefaultRule {
		d.Labels.DefaultRule = "" // of the two the domain was asked for
	}
	if len(v.doc.mistakes) > before {
		return d
	}
	if err := d.Validate(); err != nil {
		v.fail("%v", err)
	}
	return d
}

// entryPoints reads {name: port} over the default names. Traefik 1 calls web and
// websecure http and https.
func (v value) entryPoints() map[string]uint16 {
	points := map[string]uint16{}
	for _, m := range v.members() {
		points[m.key] = uint16(within(1, math.MaxUint16)(m.value))
	}
	standard := discovery.DefaultDockerConfig.Labels.EntryPoints
	for _, names := range [][2]string{{"web", "http"}, {"websecure", "https"}} {
		port := cmp.Or(points[names[0]], points[names[1]], standard[names[0]])
		for _, name := range names {
			points[name] = cmp.Or(points[name], port)
		}
	}
	return points
}

// engineTLS reads what it takes to speak TLS with an Engine.
func (v value) engineTLS(t *discovery.EngineTLS) {
	v.object(fields{
		"ca":                   into(&t.CA, value.fileName),
		"cert":                 into(&t.Cert, value.fileName),
		"key":                  into(&t.Key, value.fileName),
		"insecure_skip_verify": into(&t.InsecureSkipVerify, value.boolean),
	})
}

// fileName reads the name of a file, relative to the file that v stands in.
func (v value) fileName() string {
	name := v.text()
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(v.doc.name), name)
}
