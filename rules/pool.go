package rules

import (
	"sync/atomic"
	"time"

	"arzur.net/lb/health"
)

// Pool is the choices behind one or more Entries, with the limits of its
// first Service; no limit is left at "0: the default".
type Pool struct {
	ID      int      // dense index within the Table
	Name    string   // backend_name, else the name of the first Service
	Service *Service // of the first rule
	Targets []*Target

	QueueLength     int
	QueueTimeout    time.Duration
	ConnectTimeout  time.Duration
	ResponseTimeout time.Duration
	Retries         int
	WhenAllDown     WhenAllDown

	newPicker newPicker
	turn      atomic.Pointer[turn]
}

// Target is one weighted choice of a Pool.
type Target struct {
	Backend        *health.Backend
	Service        string // the Service it came with
	Host           string // as the operator wrote it: a DNS name or an IP address
	Weight         int    // relative to the other Targets of the Pool; 0: no new traffic
	Backup         bool
	MaxConnections int32 // over all loops; 0: no limit
	Pool           *Pool
	Index          int // in Pool.Targets
}

func newPool(id int, name string, s *Service) *Pool {
	p := &Pool{
		ID: id, Name: name, Service: s,
		QueueLength:     orDefault(s.QueueLength, DefaultService.QueueLength),
		QueueTimeout:    orDefault(s.QueueTimeout, DefaultService.QueueTimeout),
		ConnectTimeout:  orDefault(s.ConnectTimeout, DefaultService.ConnectTimeout),
		ResponseTimeout: orDefault(s.ResponseTimeout, DefaultService.ResponseTimeout),
		Retries:         *DefaultService.Retries,
		WhenAllDown:     s.WhenAllDown,
	}
	if s.Retries != nil {
		p.Retries = *s.Retries
	}
	p.newPicker = pickers[orDefault(s.Balance, DefaultService.Balance)]
	return p
}

func orDefault[T comparable](v, standard T) T {
	var zero T
	if v == zero {
		return standard
	}
	return v
}
