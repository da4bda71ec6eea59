package discovery

import (
	"cmp"
	"maps"
	"strings"

	"arzur.net/lb/rules/labels"
)

// caseRouting is what Traefik makes of a case.
type caseRouting struct{ HTTP, TCP, UDP caseNetwork }

type caseNetwork struct {
	Routers  map[string]struct{ Rule, Service string }
	Services map[string]struct {
		LoadBalancer *struct {
			Servers []struct{ URL, Address string }
		}
	}
}

// caseEntryPoints are those that cases name.
var caseEntryPoints = func() map[string]uint16 {
	points := maps.Clone(labels.DefaultOptions.EntryPoints)
	points["mydns"], points["udp"] = 53, 21116
	return points
}()

// lines are the routers and the servers. Of TCP and UDP the names of services have
// the network behind them, as here, and the servers http, which is no more than a
// word. A service without servers has a line without one.
func (r *caseRouting) lines() (routers, services []string) {
	for suffix, of := range map[string]*caseNetwork{"": &r.HTTP, "@tcp": &r.TCP, "@udp": &r.UDP} {
		for name, router := range of.Routers {
			routers = append(routers, name+": "+router.Rule+" -> "+router.Service+suffix)
		}
		for name, s := range of.Services {
			if s.LoadBalancer == nil || len(s.LoadBalancer.Servers) == 0 {
				services = append(services, name+suffix+": ")
				continue
			}
			for _, server := range s.LoadBalancer.Servers {
				services = append(services, name+suffix+": "+cmp.Or(strings.TrimSuffix(server.URL, "/"), "http://"+server.Address))
			}
		}
	}
	return routers, services
}
