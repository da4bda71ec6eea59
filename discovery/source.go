// Package discovery learns from Sources which rules and services there are,
// and hands on one View of them all whenever it changes.
package discovery

import (
	"context"
	"time"

	"arzur.net/lb/rules"
)

// Snapshot is all that a Source knows at one moment. It is complete and, once
// published, never changed again by anybody.
type Snapshot struct {
	Rules    []rules.Rule
	Services []rules.Service
	Warnings []rules.Problem // what the Source could not or should not use

	// Urgent says that an instance of the Snapshot before is about to end, so that
	// every request it still gets may be lost.
	Urgent bool
}

// Source is something that announces rules and services: a file, Docker, ...
type Source interface {
	// Watch publishes a complete Snapshot as soon as it has one and again after
	// every change, until ctx ends. publish never blocks; a Snapshot that was
	// handed over is not touched again. It is called from one goroutine at a
	// time, and not after Watch has returned. When Watch returns before ctx has
	// ended, Merge logs the error and calls it again after a pause.
	Watch(ctx context.Context, publish func(Snapshot)) error
}

// Named is a Source under the name that logs use.
type Named struct {
	Name   string
	Source Source
	// MostPause bounds the pause before a Source that ended is started again; 0
	// means 30 s.
	MostPause time.Duration
	// OnState, if set, is told the error when the Source has ended, and nil when it
	// publishes for the first time or again. Calls come one after the other.
	OnState func(err error)
}
