package discovery

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// fakeContainer has a name, and everything else if it is not the usual.
type fakeContainer struct {
	id         string
	name       string // where it is not the one that the test uses
	created    int
	labels     map[string]string
	state      string // "running"
	health     string
	mode       string            // "web"
	networks   map[string]string // name -> IPv4 or IPv6 address; nil: web
	gateway    string
	ports      map[string][][2]string // "80/tcp" -> host address and port
	exposed    []string               // known to the image alone
	stopSignal string
	stopTime   int
}

func (e *fakeEngine) list(filters string) []object {
	list := []object{}
	for _, name := range slices.Sorted(maps.Keys(e.containers)) {
		c := e.containers[name]
		var f struct{ ID map[string]bool }
		if filters != "" {
			if err := json.Unmarshal([]byte(filters), &f); err != nil {
				panic(err)
			}
		}
		matches := len(f.ID) == 0
		for id := range f.ID {
			matches = matches || strings.HasPrefix(c.id, id)
		}
		if matches {
			list = append(list, c.summary(name))
		}
	}
	return list
}

func (e *fakeEngine) byID(id string) *fakeContainer { return e.containers[e.nameOf(id)] }

func (e *fakeEngine) nameOf(id string) string {
	for name, c := range e.containers {
		if c.id == id {
			return name
		}
	}
	return ""
}

func (c *fakeContainer) summary(name string) object {
	status := "Up 2 minutes"
	switch c.health {
	case "":
	case "starting":
		status += " (health: starting)"
	default:
		status += " (" + c.health + ")"
	}
	ports := []object{}
	for port, bindings := range c.ports {
		number, proto, _ := strings.Cut(port, "/")
		p := object{"PrivatePort": json.Number(number), "Type": proto}
		if len(bindings) == 0 {
			ports = append(ports, p)
		}
		for _, b := range bindings {
			bound := maps.Clone(p)
			bound["IP"], bound["PublicPort"] = b[0], json.Number(b[1])
			ports = append(ports, bound)
		}
	}
	return object{
		"Id": c.id, "Names": []string{"/" + cmp.Or(c.name, name)}, "Created": c.created, "Labels": c.labels, "State": cmp.Or(c.state, "running"),
		"Status": status, "HostConfig": object{"NetworkMode": cmp.Or(c.mode, "web")},
		"NetworkSettings": object{"Networks": c.endpoints()}, "Ports": ports,
	}
}

func (c *fakeContainer) endpoints() object {
	all := object{}
	for name, address := range c.networks {
		end := object{"NetworkID": "id-" + name, "IPAddress": address, "GlobalIPv6Address": "", "Gateway": c.gateway, "MacAddress": ""}
		if strings.Contains(address, ":") {
			end["IPAddress"], end["GlobalIPv6Address"] = "", address
		}
		all[name] = end
	}
	return all
}

func (c *fakeContainer) inspection(name string) object {
	state := object{"Status": cmp.Or(c.state, "running")}
	if c.health != "" {
		state["Health"] = object{"Status": c.health}
	}
	ports, exposed := object{}, object{}
	for port, bindings := range c.ports {
		var list []object
		for _, b := range bindings {
			list = append(list, object{"HostIp": b[0], "HostPort": b[1]})
		}
		ports[port] = list
	}
	for _, port := range c.exposed {
		exposed[port] = object{}
	}
	config := object{"Labels": c.labels, "ExposedPorts": exposed, "StopSignal": c.stopSignal}
	if c.stopTime != 0 {
		config["StopTimeout"] = c.stopTime
	}
	return object{
		"Id": c.id, "Name": "/" + cmp.Or(c.name, name), "Created": time.Unix(int64(c.created), 123456789).UTC().Format(time.RFC3339Nano),
		"State": state, "Config": config, "HostConfig": object{"NetworkMode": cmp.Or(c.mode, "web")},
		"NetworkSettings": object{"Networks": c.endpoints(), "Ports": ports},
	}
}

// idOf is the ID of a container, as long as real ones.
func idOf(name string) string { return fmt.Sprintf("%064x", name)[:64] }

// set makes a container of that name, or another one of it; without anything said
// it runs in the network web and exposes port 80. No event tells of it.
func (e *fakeEngine) set(name string, c fakeContainer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c.id == "" {
		c.id = idOf(name)
	}
	if c.networks == nil && c.mode == "" {
		c.networks = map[string]string{"web": fmt.Sprint("10.0.0.", len(name)+int(name[len(name)-1]))}
	}
	if c.ports == nil && c.mode == "" {
		c.ports = map[string][][2]string{"80/tcp": nil}
	}
	e.containers[name] = &c
}

// turn changes one that there is.
func (e *fakeEngine) turn(name string, change func(c *fakeContainer)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := *e.containers[name]
	change(&c)
	e.containers[name] = &c
}
