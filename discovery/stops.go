package discovery

import "time"

const (
	// stopTime is what containers get to stop unless something else is said.
	stopTime = 10 * time.Second
	// stopGrace is how much later one that still runs is taken for one that goes on.
	stopGrace = 2 * time.Second
)

// stops are those that were told to stop, by ID. They get no new requests, but
// come back if they do not stop.
type stops map[string]*stop

type stop struct {
	since, until time.Time
}

func (s stops) add(id string) {
	if s[id] == nil { // a second signal gives no more time
		now := time.Now()
		s[id] = &stop{now, now.Add(stopTime + stopGrace)}
	}
}

// extend gives one that is configured to take longer that time, and ends the
// stop of one that did not stop in time.
func (s stops) extend(id string, takes time.Duration) {
	t := s[id]
	if t == nil {
		return
	}
	t.until = t.since.Add(max(takes, stopTime) + stopGrace)
	if !t.until.After(time.Now()) {
		delete(s, id)
	}
}

// next is when the first becomes due.
func (s stops) next() <-chan time.Time {
	var first time.Time
	for _, t := range s {
		if first.IsZero() || t.until.Before(first) {
			first = t.until
		}
	}
	return at(first)
}

// at is when a time comes; the zero time never does.
func at(t time.Time) <-chan time.Time {
	if t.IsZero() {
		return nil
	}
	return time.After(time.Until(t))
}

// due are those whose time is over.
func (s stops) due() (ids []string) {
	for id, t := range s {
		if !t.until.After(time.Now()) {
			ids = append(ids, id)
		}
	}
	return ids
}
