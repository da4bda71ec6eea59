package main

import (
	"time"

	"go.uber.org/zap"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// ejectionsEvery is how often the Backends are looked at: about as long as the
// shortest ejection.
const ejectionsEvery = time.Second

// ejections are the Backends that live traffic has found failing and that have
// not answered since. The checker logs who is down; event loops log nothing.
type ejections map[*health.Backend]bool

// log logs who has joined them and who has left, and returns those of now. A
// Backend that is tried again in vain is no news.
func (e ejections) log(uses []rules.BackendUse, log *zap.Logger) ejections {
	var now ejections
	for _, u := range uses {
		out := u.Backend.Ejections() > 0
		if u.Backend.Down() {
			out = e[u.Backend] // the newer news is the checker's, and so is the reason
		}
		if out {
			if now == nil {
				now = ejections{}
			}
			now[u.Backend] = true
		}
		if out == e[u.Backend] {
			continue
		}
		fields := []zap.Field{zap.Stringer("backend", u.Backend.Addr), zap.String("service", u.Services[0])}
		if !out {
			log.Info("server answers again", fields...)
		} else if v := u.Backend.Verdict(); v != nil {
			log.Warn("server is ejected", append(fields, zap.String("reason", v.Reason))...)
		}
	}
	return now
}
