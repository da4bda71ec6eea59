package admin

import (
	"encoding/json"
	"net/http"
	"os"
	"runtime"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"arzur.net/lb/health"
)

// reply writes v for people and programs alike.
func (s *Server) reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		s.Log.Debug("write admin answer", zap.Error(err))
	}
}

func (s *Server) rules(w http.ResponseWriter, _ *http.Request) {
	list := []ruleView{}
	if t := s.Proxy.Table(); t != nil {
		now := health.Now()
		for _, e := range t.Entries() {
			list = append(list, viewRule(e, now))
		}
	}
	s.reply(w, list)
}

func (s *Server) services(w http.ResponseWriter, _ *http.Request) {
	list := []serviceView{}
	if t := s.Proxy.Table(); t != nil {
		list = viewServices(t, health.Now())
	}
	s.reply(w, list)
}

func (s *Server) backends(w http.ResponseWriter, _ *http.Request) {
	s.reply(w, viewBackends(s.Registry.All(), s.pools(), health.Now()))
}

func (s *Server) rejected(w http.ResponseWriter, _ *http.Request) {
	list := []problemView{}
	for _, p := range s.problems() {
		list = append(list, problemView{p.Rule, p.Origin, p.Other, p.Reason, !p.Fatal})
	}
	s.reply(w, list)
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) {
	s.reply(w, versionView{s.Version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH, os.Getpid(), s.started.UTC().Truncate(time.Millisecond)})
}

type levelView struct {
	Level zapcore.Level `json:"level"`
}

func (s *Server) logLevel(w http.ResponseWriter, _ *http.Request) {
	s.reply(w, levelView{s.Level.Level()})
}

// setLogLevel changes the level until the program ends or it is changed again.
func (s *Server) setLogLevel(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	want := r.FormValue("level")
	level, err := zapcore.ParseLevel(want)
	if err != nil || want == "" || level > zapcore.ErrorLevel {
		http.Error(w, "level \""+want+"\": want debug, info, warn or error", http.StatusBadRequest)
		return
	}
	if old := s.Level.Level(); old != level {
		s.Level.SetLevel(level)
		s.Log.Log(max(level, zapcore.InfoLevel), "log level changed", zap.Stringer("from", old), zap.Stringer("to", level))
	}
	s.reply(w, levelView{level})
}
