package discovery

import (
	"context"
	"time"

	"github.com/moby/moby/client"
)

// Docker is the Source of the containers of one Engine. It reads all of them in
// one list, and then those alone that events are about.
type Docker struct {
	DockerConfig
}

// containersQuiet gathers the events of one change before containers are inspected.
const containersQuiet = 30 * time.Millisecond

// dockerEvents are those that can change where requests go.
func dockerEvents() client.Filters {
	return make(client.Filters).Add("type", "container", "network").Add("event",
		"start", "die", "kill", "stop", "pause", "unpause", "destroy", "rename", "update", "health_status",
		"connect", "disconnect")
}

// Watch publishes what the containers' labels ask for. It ends with an error when
// the Engine goes away.
func (d *Docker) Watch(ctx context.Context, publish func(Snapshot)) error {
	cli, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = cli.Close() }() // closes nothing but idle connections
	streaming, cancel := context.WithCancel(ctx)
	stream := follow(streaming, cli, dockerEvents())
	defer func() { cancel(); <-stream.ended }()
	w := newDockerWatch(&d.DockerConfig, cli)
	news := changed{to: publish}
	if err := w.begin(ctx, stream); err != nil {
		return orEnd(ctx, err)
	}
	news.publish(w.snapshot())
	return orEnd(ctx, w.follow(ctx, stream, &news))
}

// begin reads what there is, after the subscription to events: what happened
// before or meanwhile is in the list, in the events, or in both.
func (w *dockerWatch) begin(ctx context.Context, stream *eventStream) error {
	past, err := stream.past(ctx)
	if err != nil {
		return err
	}
	if err := w.list(ctx); err != nil {
		return err
	}
	w.remember(past)
	return w.inspect(ctx)
}

// follow publishes what events change. Who leaves is not waited for.
func (w *dockerWatch) follow(ctx context.Context, stream *eventStream, news *changed) error {
	var quiet <-chan time.Time
	for {
		if len(w.stale) == 0 {
			quiet = nil
		} else if quiet == nil {
			quiet = time.After(containersQuiet)
		}
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
			continue
		case <-w.stops.next():
			for _, id := range w.stops.due() {
				w.stale[id] = true
			}
		case <-w.nextForgotten():
		case <-quiet:
		}
		if err := w.inspect(ctx); err != nil {
			return err
		}
		news.publish(w.snapshot())
	}
}

// orEnd is err, unless the end was asked for.
func orEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
