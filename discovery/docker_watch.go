package discovery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"arzur.net/lb/rules/labels"
)

// dockerWatch is what one Watch of a Docker knows.
type dockerWatch struct {
	surroundings
	cli   *client.Client
	stops stops                     // containers that were told to stop
	gone  map[string]*goneContainer // containers that have just stopped
	stale map[string]bool           // containers to be inspected
	asked map[string]unix.Signal    // signals that may be a container's own word to stop
	died  map[string]bool           // stale containers that have not started since they died
}

func newDockerWatch(c *DockerConfig, cli *client.Client) *dockerWatch {
	return &dockerWatch{
		surroundings: surroundings{DockerConfig: c, remote: remoteHost(cli)},
		cli:          cli, stops: make(stops), gone: make(map[string]*goneContainer), stale: make(map[string]bool), asked: make(map[string]unix.Signal), died: make(map[string]bool),
	}
}

// list reads all containers at once.
func (w *dockerWatch) list(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, engineTime)
	defer cancel()
	// The stopped ones too, because their labels may want a rule without a server.
	all, err := w.cli.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return fmt.Errorf("docker: list containers: %w", err)
	}
	w.containers = make(map[string]*container, len(all.Items))
	for i := range all.Items {
		c := ofSummary(&all.Items[i])
		w.containers[c.id] = c
		if c.state == api.StateRunning && c.listHides() {
			w.stale[c.id] = true
		}
	}
	w.findOwn()
	return nil
}

// findOwn finds the container that lb runs in. On the host's network it is as
// good as in none. However the Engine is reached, it is on this machine then.
func (w *dockerWatch) findOwn() {
	ids := ownIDs
	if w.DockerConfig.own != nil {
		ids = w.DockerConfig.own
	}
	w.own = nil
	for _, id := range ids() {
		for _, c := range w.containers {
			if !strings.HasPrefix(c.id, id) {
				continue
			}
			if w.remote = ""; !c.onHost() {
				w.own = c
			}
			return
		}
	}
}

// inspect reads the stale containers anew.
func (w *dockerWatch) inspect(ctx context.Context) error {
	for _, id := range slices.Sorted(maps.Keys(w.stale)) {
		if err := w.inspectOne(ctx, id); err != nil {
			return err
		}
		delete(w.stale, id)
		delete(w.asked, id)
		delete(w.died, id)
	}
	return nil
}

func (w *dockerWatch) inspectOne(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, engineTime)
	defer cancel()
	answer, err := w.cli.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if errdefs.IsNotFound(err) {
		w.forget(id)
		return nil
	} else if err != nil {
		return fmt.Errorf("docker: inspect container %q: %w", id, err)
	}
	c := ofInspection(&answer.Container)
	if c.id != id {
		return errors.New("docker: inspect container " + id + ": the answer is about another")
	}
	if w.died[id] && c.state == api.StateRunning {
		return nil // an inspection that comes before its news
	}
	if w.containers[id] = c; c.state == api.StateRunning {
		delete(w.gone, id)
	}
	if w.own != nil && w.own.id == id {
		w.own = c
	}
	if s := w.asked[id]; s != 0 && s == parseSignal(c.stopSignal) {
		w.stops.add(id)
	}
	if c.state != api.StateRunning {
		delete(w.stops, id)
	}
	w.stops.extend(id, c.stopTime)
	return nil
}

// remember takes from past events what the list does not tell: who was told to
// stop, and whose change the list may not show yet.
func (w *dockerWatch) remember(past []events.Message) {
	for i := range past {
		e := &past[i]
		id := subjectOf(e)
		switch e.Action {
		case events.ActionKill:
			w.kill(id, signalOf(e))
		case events.ActionStart:
			delete(w.stops, id)
		case events.ActionDie, events.ActionConnect, events.ActionDisconnect:
			w.stale[id] = w.containers[id] != nil
		}
	}
	maps.DeleteFunc(w.stale, func(_ string, there bool) bool { return !there })
}

// apply takes events in. It is true when a container leaves.
func (w *dockerWatch) apply(list []events.Message) (leaves bool) {
	for i := range list {
		e := &list[i]
		id := subjectOf(e)
		switch e.Action {
		case events.ActionKill:
			leaves = w.kill(id, signalOf(e)) || leaves
		case events.ActionDie, events.ActionStop:
			leaves = w.turn(id, api.StateExited) || leaves
			w.died[id] = w.containers[id] != nil
			w.stale[id] = w.died[id] // the Engine may be about to start it again
		case events.ActionPause:
			leaves = w.turn(id, api.StatePaused) || leaves
		case events.ActionDestroy:
			w.forget(id)
			delete(w.stale, id)
			leaves = true
		case events.ActionStart:
			delete(w.stops, id)
			delete(w.died, id)
			w.stale[id] = true
		default:
			w.stale[id] = true
		}
	}
	delete(w.stale, "")
	maps.DeleteFunc(w.stale, func(_ string, there bool) bool { return !there })
	return leaves
}

// subjectOf is the ID of the container that an event is about, "" for none.
func subjectOf(e *events.Message) string {
	if e.Type == events.NetworkEventType {
		return e.Actor.Attributes["container"]
	}
	return e.Actor.ID
}

// kill notes that a container got a signal. It is true when it leaves for that.
func (w *dockerWatch) kill(id string, s unix.Signal) bool {
	if w.containers[id] == nil {
		return false
	}
	if !endsProcess(s) {
		w.stale[id] = true
		w.asked[id] = s
		return false
	}
	w.stops.add(id)
	return true
}

// turn enters a new state of a container. It is true when there is such a container.
func (w *dockerWatch) turn(id string, state api.ContainerState) bool {
	c := w.containers[id]
	if c == nil {
		return false
	}
	if state == api.StateExited {
		w.bury(c)
	}
	turned := *c
	turned.state = state
	w.containers[id] = &turned
	if state != api.StatePaused {
		delete(w.stops, id)
	}
	return true
}

// goneContainer is one that does not run any more, as it was when it ran.
type goneContainer struct {
	*container
	until time.Time
}

// bury remembers a container that has stopped: its rules stay a while, so that
// the requests of those who replace it are not answered by other rules meanwhile.
func (w *dockerWatch) bury(c *container) {
	if m, counts := w.member(c); counts && !m.idle {
		w.gone[c.id] = &goneContainer{c, time.Now().Add(leavingFor)}
	}
}

// forget drops a container that is no more.
func (w *dockerWatch) forget(id string) {
	if c := w.containers[id]; c != nil && w.gone[id] == nil {
		w.bury(c)
	}
	delete(w.containers, id)
	delete(w.stops, id)
}

// nextForgotten is when the first of those that have gone has no successor.
func (w *dockerWatch) nextForgotten() <-chan time.Time {
	var first time.Time
	for _, g := range w.gone {
		if first.IsZero() || g.until.Before(first) {
			first = g.until
		}
	}
	return at(first)
}

// snapshot is what all containers ask for.
func (w *dockerWatch) snapshot() Snapshot {
	w.links = nil // networks come and go
	now := time.Now()
	maps.DeleteFunc(w.gone, func(_ string, g *goneContainer) bool { return !g.until.After(now) })
	var members []member
	for _, c := range w.containers {
		if m, counts := w.member(c); counts && w.gone[c.id] == nil {
			members = append(members, m)
		}
	}
	for _, g := range w.gone {
		if m, counts := w.member(g.container); counts {
			m.away, m.leaving, m.gone = true, true, true
			members = append(members, m)
		}
	}
	return announce(members, &w.Labels)
}

// member is c as a carrier of labels. It is false for one that does not count
// now: while it starts, its rules must not take requests from others.
func (w *dockerWatch) member(c *container) (m member, counts bool) {
	m = member{
		Subject: c.subject(), created: c.created,
		place: func(wants *labels.Wants, g *labels.Group) placement { return w.place(c, wants, g) },
	}
	switch {
	case c == w.own && !labelled(m.Labels):
		return m, false
	case c.state == api.StateRunning:
		m.leaving = w.stops[c.id] != nil
		m.away = m.leaving || c.health == api.Unhealthy
		return m, c.health != api.Starting
	case c.state == api.StatePaused:
		m.away = true
		return m, true
	case c.state == api.StateRestarting:
		m.idle, m.returns = true, true
		return m, true
	}
	m.idle = true
	for key := range c.labels {
		if strings.EqualFold(key, "traefik.docker.allownonrunning") {
			return m, true
		}
	}
	return m, false
}
