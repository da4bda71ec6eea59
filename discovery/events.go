package discovery

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"
)

const (
	// eventsBefore is how far back events are asked for: as long as a container
	// usually has to stop, so that those which are stopping now are known.
	eventsBefore = 10 * time.Second
	// eventsQuiet is how long to wait for more of the events of the past.
	eventsQuiet = 20 * time.Millisecond
)

// eventStream takes an Engine's events as they come, because the Engine drops
// them for those who are slow.
type eventStream struct {
	news  chan struct{} // holds one: there are events, or the stream has ended
	ended chan struct{} // closed when the goroutine is done

	mu      sync.Mutex
	waiting []events.Message
	err     error // why the stream has ended
}

// follow subscribes to events. They come until ctx ends, or the stream; the
// caller waits for ended after it has ended ctx.
func follow(ctx context.Context, cli *client.Client, filters client.Filters) *eventStream {
	s := &eventStream{news: make(chan struct{}, 1), ended: make(chan struct{})}
	since := time.Now().Add(-eventsBefore)
	ctx, cancel := context.WithCancel(ctx)
	late := time.AfterFunc(engineTime, cancel)
	result := cli.Events(ctx, client.EventsListOptions{
		Since:   fmt.Sprintf("%d.%09d", since.Unix(), since.Nanosecond()),
		Filters: filters,
	})
	late.Stop()
	go func() { // ends with ctx, or the stream
		defer close(s.ended)
		defer cancel()
		s.read(result)
	}()
	return s
}

func (s *eventStream) read(result client.EventsResult) {
	for {
		select {
		case m := <-result.Messages:
			s.mu.Lock()
			s.waiting = append(s.waiting, m)
			s.mu.Unlock()
			poke(s.news)
		case err := <-result.Err:
			s.mu.Lock()
			s.err = fmt.Errorf("docker events: %w", err)
			s.mu.Unlock()
			poke(s.news)
			return
		}
	}
}

// take is the events since the last take. After the last comes the error that
// ended the stream.
func (s *eventStream) take() ([]events.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.waiting
	s.waiting = nil
	if len(list) > 0 {
		if s.err != nil {
			poke(s.news) // for the error
		}
		return list, nil
	}
	return nil, s.err
}

// past is the events of the time before the subscription.
func (s *eventStream) past(ctx context.Context) (past []events.Message, err error) {
	for {
		select {
		case <-ctx.Done():
			return past, nil
		case <-time.After(eventsQuiet):
			return past, nil
		case <-s.news:
			list, err := s.take()
			if err != nil {
				return nil, err
			}
			past = append(past, list...)
		}
	}
}

// signalOf is the signal that a kill event tells of, 0 if it cannot be read.
func signalOf(m *events.Message) unix.Signal {
	return parseSignal(m.Actor.Attributes["signal"])
}

// parseSignal reads 15, TERM or SIGTERM.
func parseSignal(text string) unix.Signal {
	if n, err := strconv.Atoi(text); err == nil {
		return unix.Signal(n)
	}
	text = strings.ToUpper(text)
	if !strings.HasPrefix(text, "SIG") {
		text = "SIG" + text
	}
	return unix.SignalNum(text)
}

// endsProcess says whether programs take a signal as the word to end. Others are
// sent to have a log reopened or a configuration reloaded.
func endsProcess(s unix.Signal) bool {
	switch s {
	case unix.SIGTERM, unix.SIGKILL, unix.SIGINT, unix.SIGABRT:
		return true
	}
	return false
}
