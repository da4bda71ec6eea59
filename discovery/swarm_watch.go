package discovery

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"arzur.net/lb/rules/labels"
)

// swarmWatch is what one Watch of a Swarm knows.
type swarmWatch struct {
	*DockerConfig
	cli    *client.Client
	remote string
	inside bool // lb runs in a container, and not on its host's network

	services []swarm.Service
	tasks    map[string][]*swarm.Task // that serve, by ID of the service
	nodes    map[string]swarm.Node
	networks map[string]network.Summary // by ID
	own      map[string]bool            // IDs of the networks that lb is in
	stops    stops                      // tasks whose container was told to stop

	whole time.Time            // when all is to be read again; the zero time: at once
	busy  time.Time            // until when tasks are expected to come and go
	left  bool                 // a task has left since someLeft
	went  map[string]time.Time // when a task of a service has left last
}

func newSwarmWatch(c *DockerConfig, cli *client.Client) *swarmWatch {
	return &swarmWatch{DockerConfig: c, cli: cli, remote: remoteHost(cli), stops: make(stops), went: make(map[string]time.Time)}
}

// readAll reads all that there is.
func (w *swarmWatch) readAll(ctx context.Context) error {
	calling, cancel := context.WithTimeout(ctx, engineTime)
	defer cancel()
	services, err := w.cli.ServiceList(calling, client.ServiceListOptions{})
	if err != nil {
		return fmt.Errorf("docker: list services: %w", err)
	}
	networks, err := w.cli.NetworkList(calling, client.NetworkListOptions{})
	if err != nil {
		return fmt.Errorf("docker: list networks: %w", err)
	}
	nodes, err := w.cli.NodeList(calling, client.NodeListOptions{})
	if err != nil {
		return fmt.Errorf("docker: list nodes: %w", err)
	}
	w.services = services.Items
	maps.DeleteFunc(w.went, func(service string, _ time.Time) bool { return w.service(service) == nil })
	w.networks = make(map[string]network.Summary, len(networks.Items))
	for _, n := range networks.Items {
		w.networks[n.ID] = n
	}
	w.nodes = make(map[string]swarm.Node, len(nodes.Items))
	for _, n := range nodes.Items {
		w.nodes[n.ID] = n
	}
	w.whole = time.Now().Add(swarmWhole)
	if err := w.readTasks(ctx); err != nil {
		return err
	}
	return w.findOwn(calling)
}

// findOwn finds the networks of the container that lb runs in, on this node or,
// as a task, on another.
func (w *swarmWatch) findOwn(ctx context.Context) error {
	ids := ownIDs
	if w.DockerConfig.own != nil {
		ids = w.DockerConfig.own
	}
	w.inside, w.own = false, make(map[string]bool)
	for _, id := range ids() {
		if t := w.taskIn(id); t != nil {
			w.enter(t)
			return nil
		}
		found, err := w.cli.ContainerList(ctx, client.ContainerListOptions{Filters: make(client.Filters).Add("id", id)})
		if err != nil {
			return fmt.Errorf("docker: list own container: %w", err)
		}
		for i := range found.Items {
			c := ofSummary(&found.Items[i])
			for _, a := range c.networks {
				w.own[a.networkID] = true
			}
			w.inside, w.remote = !c.onHost(), ""
			return nil
		}
	}
	return nil
}

// taskIn is the task that runs in a container, nil if it is no task's.
func (w *swarmWatch) taskIn(id string) *swarm.Task {
	for _, tasks := range w.tasks {
		for _, t := range tasks {
			if c := t.Status.ContainerStatus; c != nil && strings.HasPrefix(c.ContainerID, id) {
				return t
			}
		}
	}
	return nil
}

// enter notes that lb is a task of the Swarm.
func (w *swarmWatch) enter(t *swarm.Task) {
	w.inside, w.remote = true, ""
	for _, a := range t.NetworksAttachments {
		w.own[a.Network.ID] = true
		w.inside = w.inside && a.Network.Spec.Name != "host"
	}
}

// readTasks reads the tasks that are to run, and sorts out those that serve.
func (w *swarmWatch) readTasks(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, engineTime)
	defer cancel()
	list, err := w.cli.TaskList(ctx, client.TaskListOptions{Filters: make(client.Filters).Add("desired-state", "running")})
	if err != nil {
		return fmt.Errorf("docker: list tasks: %w", err)
	}
	before := w.tasks
	w.tasks = serving(list.Items, w.nodes)
	w.noteLeft(before)
	listed := make(map[string]bool, len(list.Items))
	for i := range list.Items {
		listed[list.Items[i].ID] = true
	}
	for _, id := range w.stops.due() {
		delete(w.stops, id) // it goes on
	}
	for id := range w.stops {
		if !listed[id] {
			delete(w.stops, id)
		}
	}
	return nil
}

// noteLeft compares the tasks with those before.
func (w *swarmWatch) noteLeft(before map[string][]*swarm.Task) {
	is := make(map[string]bool)
	for _, tasks := range w.tasks {
		for _, t := range tasks {
			is[t.ID] = true
		}
	}
	for service, tasks := range before {
		for _, t := range tasks {
			if !is[t.ID] {
				w.left, w.went[service] = true, time.Now()
			}
			delete(is, t.ID)
		}
	}
	if w.left || len(is) > 0 { // left or came
		w.busy = time.Now().Add(swarmBusy)
	}
}

// someLeft says whether a task has left since it was asked last.
func (w *swarmWatch) someLeft() bool {
	left := w.left
	w.left = false
	return left
}

func (w *swarmWatch) wholeDue() bool { return !time.Now().Before(w.whole) }

// pause is how long the tasks are taken to be as they are.
func (w *swarmWatch) pause() time.Duration {
	if time.Now().Before(w.busy) {
		return swarmBusyPoll
	}
	return swarmPoll
}

// apply takes events in. It is true when a task leaves.
func (w *swarmWatch) apply(list []events.Message) (leaves bool) {
	for i := range list {
		e := &list[i]
		if e.Type != events.ContainerEventType {
			w.whole = time.Time{}
			w.busy = time.Now().Add(swarmBusy)
			continue
		}
		task := e.Actor.Attributes["com.docker.swarm.task.id"]
		if task == "" {
			continue
		}
		w.busy = time.Now().Add(swarmBusy)
		switch {
		case e.Action == events.ActionDie, e.Action == events.ActionKill && endsProcess(signalOf(e)):
			w.stops.add(task)
			service := e.Actor.Attributes["com.docker.swarm.service.id"]
			w.stops.extend(task, w.graceOf(service))
			w.went[service] = time.Now()
			leaves = true
		}
	}
	return leaves
}

// graceOf is what the tasks of a service get to stop, 0 if nothing is said.
func (w *swarmWatch) graceOf(service string) time.Duration {
	if s := w.service(service); s != nil && s.Spec.TaskTemplate.ContainerSpec != nil && s.Spec.TaskTemplate.ContainerSpec.StopGracePeriod != nil {
		return *s.Spec.TaskTemplate.ContainerSpec.StopGracePeriod
	}
	return 0
}

// service is the one with that ID, nil if there is none.
func (w *swarmWatch) service(id string) *swarm.Service {
	for i := range w.services {
		if w.services[i].ID == id {
			return &w.services[i]
		}
	}
	return nil
}

// snapshot is what all services ask for.
func (w *swarmWatch) snapshot() Snapshot {
	members := make([]member, 0, len(w.services))
	for i := range w.services {
		members = append(members, w.member(&w.services[i]))
	}
	return announce(members, &w.Labels)
}

// member is a service as a carrier of labels. Its rules count without a task too,
// so that requests are answered 503, and not by another rule.
func (w *swarmWatch) member(s *swarm.Service) member {
	subject := labels.Subject{
		Name: s.Spec.Name, Service: s.Spec.Name, Group: s.Spec.Name, Origin: "service " + s.Spec.Name,
		Labels: s.Spec.Labels, Swarm: true,
	}
	if stack := s.Spec.Labels["com.docker.stack.namespace"]; stack != "" {
		subject.Project, subject.Member = stack, strings.TrimPrefix(s.Spec.Name, stack+"_")
		subject.Group = stack + "/" + subject.Member
	}
	return member{
		Subject: subject, created: s.CreatedAt, away: len(w.tasks[s.ID]) == 0,
		leaving: time.Since(w.went[s.ID]) < leavingFor+restartDelay(s) && wantsTasks(s),
		place:   func(wants *labels.Wants, g *labels.Group) placement { return w.place(s, wants, g) },
	}
}

// restartDelay is how long a Swarm waits before it replaces a task that has died.
func restartDelay(s *swarm.Service) time.Duration {
	if p := s.Spec.TaskTemplate.RestartPolicy; p != nil && p.Delay != nil {
		return min(*p.Delay, holdForNext)
	}
	return 5 * time.Second // the Engine's default
}

// wantsTasks says whether one that leaves can have a successor.
func wantsTasks(s *swarm.Service) bool {
	r := s.Spec.Mode.Replicated
	return r == nil || r.Replicas == nil || *r.Replicas > 0
}
