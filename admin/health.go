package admin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// loopPatience is how long an event loop may take to answer: far more than a
// busy one needs, and less than those who ask for our health wait.
const loopPatience = time.Second

// part is one thing that /healthz looks at.
type part struct {
	name   string
	well   bool
	reason string
	fatal  bool // if not well, traffic should go elsewhere
}

// String is the part as ?verbose lists it: + is well, - is not, ! is a warning.
func (p part) String() string {
	mark := "-"
	switch {
	case p.well:
		mark = "+"
	case !p.fatal:
		mark = "!"
	}
	text := "[" + mark + "] " + p.name
	if p.reason != "" {
		text += ": " + p.reason
	}
	return text
}

func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	parts := s.parts()
	status, verdict := http.StatusOK, "ok"
	for _, p := range parts {
		if !p.well && p.fatal {
			status, verdict = http.StatusServiceUnavailable, p.name+": "+p.reason
			break
		}
	}
	var b strings.Builder
	if r.URL.Query().Has("verbose") {
		for _, p := range parts {
			fmt.Fprintln(&b, p)
		}
	}
	fmt.Fprintln(&b, verdict)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(b.String()))
}

// parts looks at everything. A service without a usable server is a warning:
// restarting or avoiding this load balancer would not help it.
func (s *Server) parts() []part {
	ready := part{name: "ready", well: true, fatal: true}
	if s.Ready != nil {
		ready.well, ready.reason = s.Ready()
	}
	loops := part{name: "event loops", well: true, fatal: true}
	if n := s.Proxy.Silent(loopPatience); n > 0 {
		loops.well, loops.reason = false, fmt.Sprintf("%d do not answer", n)
	}
	engine := part{name: "engine", well: true, fatal: true}
	if n, tooMany := s.Proxy.Panics(); tooMany {
		engine.well, engine.reason = false, fmt.Sprintf("%d panics, too many of them of late; see the log", n)
	}
	rejected := part{name: "rules", well: true}
	if n := s.countRejected(); n > 0 {
		rejected.well, rejected.reason = false, fmt.Sprintf("%d rejected, see /api/rejected", n)
	}
	parts := slices.Concat([]part{ready, loops, engine, rejected}, s.endings(), s.sources())
	now := health.Now()
	said := map[part]bool{}
	for _, p := range s.pools() {
		n := usable(p, now)
		v := part{
			name:   "service " + p.Name,
			well:   n > 0,
			reason: fmt.Sprintf("%d of %d servers usable", n, len(p.Targets)),
		}
		if names := p.Unresolved(); names != nil {
			v.reason += "; no address for " + strings.Join(names, ", ")
		}
		if !said[v] { // rules with different target ports have a Pool each
			parts = append(parts, v)
		}
		said[v] = true
	}
	return parts
}

// endings are the certificates that end soon or have ended; none is no part.
func (s *Server) endings() []part {
	if s.Certs == nil {
		return nil
	}
	ends := s.Certs.Endings()
	if len(ends) == 0 {
		return nil
	}
	reason := ends[0].Origin + " " + ends[0].Reason
	if n := len(ends) - 1; n > 0 {
		reason += fmt.Sprintf(", and %d more, see /api/rejected", n)
	}
	return []part{{name: "certificates", reason: reason}}
}

// sources are those besides files. What one that fails last announced is served,
// as it would be after a restart elsewhere.
func (s *Server) sources() (parts []part) {
	if s.Sources == nil {
		return nil
	}
	for _, source := range s.Sources() {
		parts = append(parts, part{name: "source " + source.Name, well: source.Failure == "", reason: source.Failure})
	}
	return parts
}

func usable(p *rules.Pool, now int64) (n int) {
	for _, t := range p.Targets {
		if t.Backend.Usable(now) {
			n++
		}
	}
	return n
}

func (s *Server) countRejected() (n int) {
	for _, p := range s.problems() {
		if p.Fatal {
			n++
		}
	}
	return n
}

func (s *Server) problems() []rules.Problem {
	if s.Problems == nil {
		return nil
	}
	return s.Problems()
}

// pools are those of the Table in use, none before there is one.
func (s *Server) pools() []*rules.Pool {
	if t := s.Proxy.Table(); t != nil {
		return t.Pools()
	}
	return nil
}
