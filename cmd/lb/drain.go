package main

import (
	"context"
	"os"
	"syscall"

	"go.uber.org/zap"
)

// drain ends the program: what is under way is answered first. A second signal
// ends it at once.
func (s *server) drain(last os.Signal, signals <-chan os.Signal) int {
	if s.draining.Store(true); last == handedOver {
		s.stopAdmin() // the successor answers there
		s.proxy.Shared()
	} else {
		notify("STOPPING=1")
	}
	s.log.Info("draining", zap.Stringer("signal", last), zap.Duration("at_most", s.config.Defaults.DrainTimeout))
	ctx, cancel := context.WithTimeout(context.Background(), s.config.Defaults.DrainTimeout)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.proxy.Drain(ctx) }() // ends with ctx
	for {
		select {
		case err := <-ended:
			if err != nil {
				s.log.Warn("not all could be answered in time", zap.Error(err))
			}
			s.log.Info("ended")
			return exitOK
		case sig := <-signals:
			if sig == syscall.SIGTERM || sig == syscall.SIGINT {
				s.log.Warn("ended at once", zap.Stringer("signal", sig))
				return 128 + int(sig.(syscall.Signal))
			}
		}
	}
}
