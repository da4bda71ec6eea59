package discovery

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
)

// A Source that ended is started again after restartFirst, doubled up to
// restartMost while it publishes nothing, each give or take a half so that
// many lb do not come back to one registry in step.
const (
	restartFirst = time.Second
	restartMost  = 30 * time.Second
)

var errEnded = errors.New("ended without an error")

// keepWatching runs one Source until ctx ends. A failure is logged when it
// begins or changes, its end when the Source publishes again. Ended is called
// each time the Source has ended.
func keepWatching(ctx context.Context, s Named, log *zap.Logger, publish func(Snapshot), ended func()) {
	log = log.With(zap.String("source", s.Name))
	pause, most := restartFirst, cmp.Or(s.MostPause, restartMost)
	failure, heard := "", false
	for {
		err := s.Source.Watch(ctx, func(snapshot Snapshot) {
			if failure != "" {
				log.Info("source is back")
			}
			if failure != "" || !heard {
				s.say(nil)
			}
			heard = true
			pause, failure = restartFirst, ""
			publish(snapshot)
		})
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errEnded
		}
		if failure != err.Error() {
			failure = err.Error()
			if heard {
				log.Warn("source ended; what it last announced stays in use", zap.Error(err))
			} else {
				log.Warn("source cannot be reached yet; it is tried again", zap.Error(err))
			}
			s.say(err)
		}
		ended()
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(2*pause, most)
	}
}

func (s *Named) say(err error) {
	if s.OnState != nil {
		s.OnState(err)
	}
}
