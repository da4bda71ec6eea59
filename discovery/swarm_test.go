package discovery

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// fakeTask is a task as the manager shows it; what is not set is as usual.
type fakeTask struct {
	id, service, node string
	slot              int
	state, desired    string
	created           int
	networks          map[string]string // name -> address; nil: front
	hostPort          int               // published for port 80 in host mode
	container         string            // its ID
}

func (k fakeTask) object() object {
	if k.networks == nil {
		k.networks = map[string]string{"front": fmt.Sprint("10.0.1.", k.slot, "/24")}
	}
	var attachments []object
	for _, name := range slices.Sorted(maps.Keys(k.networks)) {
		a := object{"Network": object{"ID": "id-" + name, "Spec": object{"Name": name, "Ingress": name == "ingress"}}}
		if address := k.networks[name]; address != "" {
			a["Addresses"] = []string{address}
		}
		attachments = append(attachments, a)
	}
	status := object{"State": cmp.Or(k.state, "running")}
	if k.container != "" {
		status["ContainerStatus"] = object{"ContainerID": k.container}
	}
	if k.hostPort != 0 {
		status["PortStatus"] = object{"Ports": []object{{"TargetPort": 80, "PublishedPort": k.hostPort, "PublishMode": "host"}}}
	}
	return object{
		"ID": cmp.Or(k.id, fmt.Sprint(k.service, ".", k.slot)), "ServiceID": k.service, "NodeID": cmp.Or(k.node, "node-1"), "Slot": k.slot,
		"CreatedAt": time.Unix(int64(k.created), 0).UTC(), "Status": status, "DesiredState": cmp.Or(k.desired, "running"),
		"NetworksAttachments": attachments,
	}
}

func (e *fakeEngine) setTasks(tasks ...fakeTask) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tasks = []object{}
	for _, k := range tasks {
		e.tasks = append(e.tasks, k.object())
	}
}

// fakeService is a service; its ID is its name.
func fakeService(name string, labels map[string]string, more ...object) object {
	s := object{"ID": name, "CreatedAt": time.Unix(100, 0).UTC(), "Spec": object{"Name": name, "Labels": labels}}
	for _, m := range more {
		maps.Copy(s, m)
	}
	return s
}

func (e *fakeEngine) setNode(state, availability string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.nodes = []object{
		{"ID": "node-1", "Spec": object{"Availability": "active"}, "Status": object{"State": "ready", "Addr": "192.0.2.1"}},
		{"ID": "node-2", "Spec": object{"Availability": availability}, "Status": object{"State": state, "Addr": "192.0.2.2"}},
	}
}

func openSwarm(e *fakeEngine) Source { return &Swarm{DockerConfig: e.config()} }

// shopSwarm has one service with two tasks, in one network.
func shopSwarm(e *fakeEngine) {
	e.services = []object{fakeService("shop", map[string]string{"lb.hostname": "arzur.net", "lb.target_port": "80"})}
	e.networks = []object{{"Id": "id-front", "Name": "front"}, {"Id": "id-back", "Name": "back"}, {"Id": "id-ingress", "Name": "ingress", "Ingress": true}}
	e.setNode("ready", "active")
	e.setTasks(fakeTask{service: "shop", slot: 1}, fakeTask{service: "shop", slot: 2})
}

// swarming runs body beside a Swarm that set has made.
func swarming(t *testing.T, set func(e *fakeEngine), body func(e *fakeEngine, latest func() string)) {
	t.Helper()
	watched(t, func(e *fakeEngine) Source { set(e); return openSwarm(e) }, func(e *fakeEngine, latest func() string) {
		pass(100 * time.Millisecond)
		body(e, latest)
	})
}

const (
	bothTasks = "shop: 10.0.1.1:80 10.0.1.2:80\n80 arzur.net -> shop"
	taskTwo   = "shop: 10.0.1.2:80\n80 arzur.net -> shop"
	noTask    = "shop: \n80 arzur.net -> shop"
)

func TestSwarm_KeepsTheContract(t *testing.T) {
	testSource(t, func(t *testing.T) (Source, func(string), func(Snapshot) string) {
		e := newFakeEngine(t)
		shopSwarm(e)
		show := func(version string) {
			e.setTasks(fakeTask{service: "shop", slot: 1, networks: map[string]string{"front": "10.0.1." + version + "/24"}})
		}
		show("1")
		return openSwarm(e), show, func(s Snapshot) string {
			return strings.TrimPrefix(s.Services[0].Instances[0].Host, "10.0.1.")
		}
	})
}

func TestSwarm_TasksThatServe(t *testing.T) {
	f := func(want string, tasks ...fakeTask) {
		t.Helper()
		swarming(t, func(e *fakeEngine) { shopSwarm(e); e.setTasks(tasks...) }, func(_ *fakeEngine, latest func() string) {
			require.Equal(t, want, latest())
		})
	}
	two := fakeTask{service: "shop", slot: 2}
	f(bothTasks, fakeTask{service: "shop", slot: 1}, two)
	f(taskTwo, fakeTask{service: "shop", slot: 1, state: "starting"}, two)
	f(taskTwo, fakeTask{service: "shop", slot: 1, state: "failed"}, two)
	f(taskTwo, fakeTask{service: "shop", slot: 1, desired: "shutdown"}, two)
	f(taskTwo, fakeTask{service: "shop", slot: 1, desired: "ready"}, two)
	f(noTask)
	// While an update starts the new task first, it has the slot as soon as it runs.
	older := fakeTask{id: "old", service: "shop", slot: 1, created: 1, networks: map[string]string{"front": "10.0.1.9/24"}}
	f(bothTasks, older, fakeTask{service: "shop", slot: 1, created: 2}, two)
	f("shop: 10.0.1.9:80 10.0.1.2:80\n80 arzur.net -> shop", older, fakeTask{service: "shop", slot: 1, created: 2, state: "starting"}, two)
	// Tasks of a global service have no slot, but a node.
	one, other := map[string]string{"front": "10.0.1.1/24"}, map[string]string{"front": "10.0.1.2/24"}
	f(bothTasks, fakeTask{id: "a", service: "shop", node: "node-1", networks: one}, fakeTask{id: "b", service: "shop", node: "node-2", networks: other})
	f(bothTasks, fakeTask{id: "a", service: "shop", networks: one}, two, fakeTask{service: "other", slot: 1})
}

func TestSwarm_NodesThatLeaveTakeTheirTasks(t *testing.T) {
	f := func(state, availability, want string) {
		t.Helper()
		swarming(t, func(e *fakeEngine) {
			shopSwarm(e)
			e.setTasks(fakeTask{service: "shop", slot: 1, node: "node-2"}, fakeTask{service: "shop", slot: 2})
		}, func(e *fakeEngine, latest func() string) {
			require.Equal(t, bothTasks, latest())
			e.setNode(state, availability)
			e.event("node", "update", "node-2")
			pass(100 * time.Millisecond)
			require.Equal(t, want, latest())
		})
	}
	f("ready", "active", bothTasks)
	f("ready", "pause", bothTasks)
	f("ready", "drain", taskTwo)
	f("down", "active", taskTwo)
	f("unknown", "active", taskTwo)
	f("disconnected", "active", taskTwo)
}

func TestSwarm_TasksComeAndGoWithoutEvents(t *testing.T) {
	swarming(t, func(e *fakeEngine) { shopSwarm(e); e.setTasks() }, func(e *fakeEngine, latest func() string) {
		pass(time.Minute)
		require.Equal(t, noTask, latest())
		e.setTasks(fakeTask{service: "shop", slot: 2})
		pass(time.Second)
		require.Equal(t, taskTwo, latest())
		pass(time.Minute)
		e.requests()
		pass(10 * time.Second)
		require.LessOrEqual(t, e.requests()["GET /tasks"], 11, "once a second while nothing happens")
	})
}

func TestSwarm_LocalTasksLeaveWhenTheyAreToldToStop(t *testing.T) {
	f := func(action, signal, want string) {
		t.Helper()
		swarming(t, shopSwarm, func(e *fakeEngine, latest func() string) {
			require.Equal(t, bothTasks, latest())
			e.event("container", action, "c1", "signal", signal, "com.docker.swarm.task.id", "shop.1", "com.docker.swarm.service.id", "shop")
			require.Equal(t, want, latest(), "without waiting for anything")
			pass(11 * time.Second)
			require.Equal(t, want, latest())
			pass(2 * time.Second)
			require.Equal(t, bothTasks, latest(), "it did not stop")
		})
	}
	f("kill", "15", taskTwo)
	f("die", "", taskTwo)
	f("kill", "1", bothTasks)
}

func TestSwarm_RequestsWaitForTheNext(t *testing.T) {
	watchedSnapshots(t, func(e *fakeEngine) Source { shopSwarm(e); return openSwarm(e) }, func(e *fakeEngine, latest func() Snapshot) {
		pass(time.Second)
		require.Equal(t, holdForNews, *latest().Services[0].Hold)
		e.setTasks()
		pass(time.Second)
		require.Empty(t, latest().Services[0].Instances)
		require.Equal(t, holdForNext, *latest().Services[0].Hold)
		pass(5 * time.Second) // the default of --restart-delay
		require.Equal(t, holdForNext, *latest().Services[0].Hold)
		pass(leavingFor)
		require.Equal(t, holdForNews, *latest().Services[0].Hold)
	})
}

func TestSwarm_NobodyWaitsForAServiceScaledToNothing(t *testing.T) {
	set := func(e *fakeEngine) Source {
		shopSwarm(e)
		e.services[0]["Spec"].(object)["Mode"] = object{"Replicated": object{"Replicas": 0}}
		return openSwarm(e)
	}
	watchedSnapshots(t, set, func(e *fakeEngine, latest func() Snapshot) {
		pass(time.Second)
		e.setTasks()
		pass(2 * time.Second)
		require.Empty(t, latest().Services[0].Instances)
		require.Equal(t, holdForNews, *latest().Services[0].Hold)
	})
}

func TestSwarm_StopGracePeriodCounts(t *testing.T) {
	swarming(t, func(e *fakeEngine) {
		shopSwarm(e)
		e.services[0]["Spec"].(object)["TaskTemplate"] = object{"ContainerSpec": object{"StopGracePeriod": time.Minute}}
	}, func(e *fakeEngine, latest func() string) {
		e.event("container", "kill", "c1", "signal", "15", "com.docker.swarm.task.id", "shop.1", "com.docker.swarm.service.id", "shop")
		pass(time.Minute)
		require.Equal(t, taskTwo, latest())
	})
}

func TestSwarm_ServicesFollowEvents(t *testing.T) {
	swarming(t, shopSwarm, func(e *fakeEngine, latest func() string) {
		e.mu.Lock()
		e.services = []object{fakeService("shop", map[string]string{"lb.hostname": "www.arzur.net", "lb.target_port": "8080"})}
		e.mu.Unlock()
		e.event("service", "update", "shop")
		pass(100 * time.Millisecond)
		require.Equal(t, "shop: 10.0.1.1:8080 10.0.1.2:8080\n80 www.arzur.net -> shop", latest())

		e.mu.Lock()
		e.services = []object{}
		e.mu.Unlock()
		pass(10 * time.Second)
		require.Empty(t, latest(), "seen without an event, if later")
	})
}

func TestSwarm_Addresses(t *testing.T) {
	f := func(want string, service object, task fakeTask, inside ...string) {
		t.Helper()
		watched(t, func(e *fakeEngine) Source {
			shopSwarm(e)
			e.services = []object{service}
			task.service, task.slot = "shop", 1
			e.setTasks(task)
			c := e.config()
			if len(inside) > 0 {
				networks := map[string]string{}
				for _, n := range inside {
					networks[n] = "10.0.9.9"
				}
				e.set("lb", fakeContainer{networks: networks, mode: "front"})
				c.own = func() []string { return []string{"nobody", idOf("lb")} }
			}
			return &Swarm{DockerConfig: c}
		}, func(_ *fakeEngine, latest func() string) {
			pass(100 * time.Millisecond)
			first, _, _ := strings.Cut(latest(), "\n")
			require.Equal(t, "shop: "+want, first, latest())
		})
	}
	shop := func(more map[string]string, and ...object) object {
		labels := map[string]string{"lb.hostname": "arzur.net", "lb.target_port": "80"}
		maps.Copy(labels, more)
		return fakeService("shop", labels, and...)
	}
	plain := shop(nil)
	both := map[string]string{"front": "10.0.1.1/24", "back": "10.0.2.1/24", "ingress": "10.0.0.1/24"}
	f("10.0.2.1:80", plain, fakeTask{networks: both})
	f("10.0.1.1:80", plain, fakeTask{networks: both}, "front")
	f("10.0.1.1:80", shop(map[string]string{"lb.network": "front"}), fakeTask{networks: both}, "back")
	f("10.0.1.1:80", shop(map[string]string{"traefik.docker.network": "front"}), fakeTask{networks: both})
	f("10.0.2.1:80", shop(map[string]string{"lb.network": "missing"}), fakeTask{networks: both})
	f("[fd00::1]:80", plain, fakeTask{networks: map[string]string{"front": "fd00::1/64"}})
	f("", plain, fakeTask{networks: map[string]string{"ingress": "10.0.0.1/24"}}, "front")
	f("192.0.2.1:80", plain, fakeTask{networks: map[string]string{"host": ""}})
	f("192.0.2.1:30080", plain, fakeTask{networks: both, hostPort: 30080})
	f("10.0.1.1:80", plain, fakeTask{networks: both, hostPort: 30080}, "front")
	f("192.0.2.1:30080", plain, fakeTask{networks: map[string]string{"ingress": "10.0.0.1/24"}, hostPort: 30080}, "front")
	mesh := object{"Endpoint": object{"Ports": []object{{"TargetPort": 80, "PublishedPort": 30080, "PublishMode": "ingress"}}}}
	f("127.0.0.1:30080", shop(nil, mesh), fakeTask{networks: both})
	f("10.0.1.1:80", shop(nil, mesh), fakeTask{networks: both}, "front")

	virtual := object{"Endpoint": object{"VirtualIPs": []object{
		{"NetworkID": "id-ingress", "Addr": "10.0.0.100/24"}, {"NetworkID": "id-front", "Addr": "10.0.1.100/24"}, {"NetworkID": "id-back", "Addr": "10.0.2.100/24"},
	}}}
	f("10.0.1.100:80", shop(map[string]string{"lb.swarm.vip": "true"}, virtual), fakeTask{networks: both}, "front")
	f("10.0.1.100:80", shop(map[string]string{"traefik.docker.lbswarm": "true", "lb.network": "front"}, virtual), fakeTask{networks: both})
	f("", shop(map[string]string{"lb.swarm.vip": "true"}, virtual), fakeTask{state: "failed"})
	f("10.0.1.1:80", shop(map[string]string{"traefik.swarm.lbswarm": "true"}), fakeTask{networks: both}, "front") // dnsrr has none
}

func TestSwarm_NamesAndPorts(t *testing.T) {
	f := func(want string, service object) {
		t.Helper()
		swarming(t, func(e *fakeEngine) {
			shopSwarm(e)
			service["ID"] = "shop"
			e.services = []object{service}
		}, func(_ *fakeEngine, latest func() string) { require.Equal(t, want, latest()) })
	}
	f("site/web: 10.0.1.1:80 10.0.1.2:80\n80 arzur.net -> site/web",
		fakeService("site_web", map[string]string{"com.docker.stack.namespace": "site", "lb.hostname": "arzur.net", "lb.target_port": "80"}))
	f("", fakeService("plain", nil))
	f("!service plain: service \"plain\": there is no port: a Swarm service exposes none, so a label has to say it, such as lb.target_port=80",
		fakeService("plain", map[string]string{"lb.hostname": "arzur.net"}))
	f("!service plain: service \"plain\": there is no port: a Swarm service exposes none, so a label has to say it, such as traefik.http.services.plain.loadbalancer.server.port=80",
		fakeService("plain", map[string]string{"traefik.http.routers.a.rule": "Host(`a`)"}))
	f("!service plain: label traefik.port: there is no port: a Swarm service exposes none, so the label has to say it",
		fakeService("plain", map[string]string{"traefik.frontend.rule": "Host:a"}))
	f("!service plain: service \"plain\": there is no port: a Swarm service exposes none, so a label has to say it, such as lb.target_port=80",
		fakeService("plain", map[string]string{"traefik.enable": "true"}))
	f("site_web: 10.0.1.1:80 10.0.1.2:80\n80 Host(`a`) -> site_web", fakeService("site_web", map[string]string{
		"com.docker.stack.namespace":                              "site",
		"traefik.http.routers.a.rule":                             "Host(`a`)",
		"traefik.http.routers.a.service":                          "site_web",
		"traefik.http.services.site_web.loadbalancer.server.port": "80",
	}))
}

func TestSwarm_NoManagerIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newFakeEngine(t)
		e.broken = true
		require.ErrorContains(t, openSwarm(e).Watch(t.Context(), func(Snapshot) {}), "docker: ")
	})
}

// The socket may be that of a manager that lb does not run on, behind a proxy.
func TestSwarm_FindsItsOwnTaskOnAnyNode(t *testing.T) {
	f := func(want string, own map[string]string, listed bool) {
		t.Helper()
		watched(t, func(e *fakeEngine) Source {
			shopSwarm(e)
			e.services = append(e.services, fakeService("lb", nil))
			e.services[0]["Endpoint"] = object{"Ports": []object{{"TargetPort": 80, "PublishedPort": 30080, "PublishMode": "ingress"}}}
			e.setTasks(
				fakeTask{service: "shop", slot: 1, networks: map[string]string{"back": "10.0.2.1/24", "front": "10.0.1.1/24"}},
				fakeTask{service: "lb", slot: 1, node: "node-2", container: idOf("lb"), networks: own},
			)
			c := e.config()
			c.Endpoint = "tcp://socket-proxy:2375"
			c.own = func() []string { return []string{idOf("lb")[:12]} }
			if listed {
				e.set("lb", fakeContainer{networks: map[string]string{"front": "10.0.1.9"}, mode: "front"})
			}
			return &Swarm{DockerConfig: c}
		}, func(_ *fakeEngine, latest func() string) {
			pass(time.Second)
			first, _, _ := strings.Cut(latest(), "\n")
			require.Equal(t, "shop: "+want, first)
		})
	}
	f("10.0.1.1:80", map[string]string{"front": "10.0.1.9/24"}, false)
	f("10.0.2.1:80", map[string]string{"back": "10.0.2.9/24"}, false)
	f("10.0.1.1:80", map[string]string{"front": "10.0.1.9/24"}, true)
	f("127.0.0.1:30080", map[string]string{"host": ""}, false)
}
