package configs

import (
	"strings"

	"arzur.net/lb/rules"
)

// target makes r name a service of the Config. It is false when the rule is
// left out.
func (l *loader) target(r *named) bool {
	if r.Service == "" {
		return true // a redirect; else rules has a word for it
	}
	if r.stack != nil {
		return l.stackTarget(r)
	}
	if l.declared && !isDiscovered(r.Service) && !strings.Contains(r.Service, "/") && l.byName[r.Service] == nil {
		r.service.fail("unknown service %q; services: {%s: {}} would declare it as a DNS name%s",
			r.Service, r.Service, didYouMean(r.Service, l.byName))
		return false
	}
	if l.fragment && isDiscovered(r.Service) {
		return true // the Source that the fragment comes from announces it, or Merge does
	}
	l.elsewhere(r)
	return true
}

// elsewhere looks a service up among all that any file has, and takes what is
// not there for a DNS name.
func (l *loader) elsewhere(r *named) {
	s := l.known(r.Service)
	if s == nil {
		s = &rules.Service{Name: r.Service, Origin: r.Origin, Instances: r.service.dnsName(r.Service)}
		l.addService(s)
	}
	r.Service = s.Name
}

// known is the service of that name, nil without one.
func (l *loader) known(name string) *rules.Service {
	if s := l.byName[name]; s != nil {
		return s
	}
	if stackName, serviceName, ok := strings.Cut(name, "/"); ok {
		for _, s := range l.stacks {
			c := s.services[strings.ToLower(serviceName)]
			if c != nil && strings.EqualFold(stackName, s.name) && c.isTarget() {
				return l.member(c)
			}
		}
	}
	return nil
}

// addService adds a service that no other has the name of.
func (l *loader) addService(s *rules.Service) {
	l.services = append(l.services, s)
	l.byName[s.Name] = s
}
