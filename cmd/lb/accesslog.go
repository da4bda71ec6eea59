package main

import (
	"go.uber.org/zap"

	"arzur.net/lb/configs"
	"arzur.net/lb/proxy"
)

// accessLogFor opens the access log that c asks for; nil for none. If it is the
// one in use, that is returned.
func (s *server) accessLogFor(c configs.AccessLog) (*proxy.AccessLog, error) {
	switch {
	case s.config != nil && s.config.AccessLog == c:
		return s.access, nil
	case c.Path == "":
		return nil, nil
	}
	return proxy.NewAccessLog(proxy.AccessLogConfig(c), s.log)
}

// useAccessLog puts a into use, and ends the one before it.
func (s *server) useAccessLog(a *proxy.AccessLog) {
	old := s.access
	if a == old {
		return
	}
	s.access = a
	s.proxy.SetAccessLog(a)
	s.background.Go(func() { s.closeAccessLog(old) }) // waits for the Loops' last lines
}

// closeAccessLog may be called from any goroutine.
func (s *server) closeAccessLog(a *proxy.AccessLog) {
	if a == nil {
		return
	}
	if err := a.Close(); err != nil {
		s.log.Error("end access log", zap.Error(err))
	}
}

// reopenAccessLog is for those who rotate it.
func (s *server) reopenAccessLog() {
	if s.access == nil {
		return
	}
	if err := s.access.Reopen(); err != nil {
		s.log.Error("reopen access log; the old file stays in use", zap.Error(err))
		return
	}
	s.log.Info("access log reopened", zap.String("path", s.config.AccessLog.Path))
}
