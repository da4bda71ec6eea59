package discovery

import (
	"context"
	"time"

	"github.com/moby/moby/client"
)

// Swarm is the Source of the services of a Swarm, and of their tasks. The Engine
// has to be a manager's.
type Swarm struct {
	DockerConfig
}

const (
	// swarmPoll is how often tasks are listed: there are no events about them.
	swarmPoll = time.Second
	// swarmBusyPoll is how often while tasks come and go.
	swarmBusyPoll = 100 * time.Millisecond
	// swarmBusy is how long they are expected to after the last sign of it.
	swarmBusy = 3 * time.Second
	// swarmWhole is how often all the rest is read, although there are events about
	// it: they stop without a word when managers elect another leader.
	swarmWhole = 10 * time.Second
)

// swarmEvents are those that can change where requests go. Those of containers
// are about this node alone.
func swarmEvents() client.Filters {
	return make(client.Filters).Add("type", "service", "node", "network", "container").Add("event",
		"create", "update", "remove", "kill", "die", "start", "health_status")
}

// Watch publishes what the services' labels ask for. It ends with an error when
// the Engine goes away, or is no manager.
func (s *Swarm) Watch(ctx context.Context, publish func(Snapshot)) error {
	cli, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = cli.Close() }() // closes nothing but idle connections
	streaming, cancel := context.WithCancel(ctx)
	stream := follow(streaming, cli, swarmEvents())
	defer func() { cancel(); <-stream.ended }()
	w := newSwarmWatch(&s.DockerConfig, cli)
	news := changed{to: publish}
	past, err := stream.past(ctx)
	if err != nil {
		return orEnd(ctx, err)
	}
	if err := w.readAll(ctx); err != nil {
		return orEnd(ctx, err)
	}
	w.apply(past)
	news.publish(w.snapshot())
	return orEnd(ctx, w.follow(ctx, stream, &news))
}

// follow publishes what events and polls change. Who leaves is not waited for.
func (w *swarmWatch) follow(ctx context.Context, stream *eventStream, news *changed) error {
	poll := time.NewTimer(swarmPoll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-stream.news:
			list, err := stream.take()
			if err != nil {
				return err
			}
			if w.apply(list) {
				news.publishUrgently(w.snapshot())
			}
			poll.Reset(min(containersQuiet, swarmBusyPoll))
			continue
		case <-poll.C:
		}
		read := w.readTasks
		if w.wholeDue() {
			read = w.readAll
		}
		if err := read(ctx); err != nil {
			return err
		}
		if s := w.snapshot(); w.someLeft() {
			news.publishUrgently(s)
		} else {
			news.publish(s)
		}
		poll.Reset(w.pause())
	}
}
