package rules

import (
	"cmp"
	"sync/atomic"
	"time"

	"arzur.net/lb/health"
)

// Pool is the choices behind one or more Entries, with the limits of its
// first Service; a limit of 0 (Retries: nil) means the engine's default.
type Pool struct {
	ID      int      // dense index within the Table
	Name    string   // backend_name, else the name of the first Service
	Service *Service // of the first rule
	Targets []*Target

	QueueLength     int
	QueueTimeout    time.Duration
	ConnectTimeout  time.Duration
	ResponseTimeout time.Duration
	Retries         *int
	WhenAllDown     WhenAllDown
	Hold            time.Duration // how long an Exchange that no Target can take waits for one that can
	TLS             *health.TLS
	ProxyProtocol   ProxyProtocol

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
	return &Pool{
		ID: id, Name: name, Service: s,
		QueueLength:     s.QueueLength,
		QueueTimeout:    s.QueueTimeout,
		ConnectTimeout:  s.ConnectTimeout,
		ResponseTimeout: s.ResponseTimeout,
		Retries:         s.Retries,
		WhenAllDown:     s.WhenAllDown,
		Hold:            valueOf(s.Hold, 0),
		TLS:             s.TLS,
		ProxyProtocol:   s.ProxyProtocol,
		newPicker:       pickers[cmp.Or(s.Balance, DefaultBalance)],
	}
}
