package health

import "time"

// Check is an active health check, Rancher's health_check with two additions
// (ExpectStatus and Hostname). The zero value of a field means its default.
type Check struct {
	Port               uint16        // 0: the server's own port
	RequestLine        string        // "": TCP connect; else as HAProxy's `option httpchk` reads it
	Interval           time.Duration // default 2 s
	ResponseTimeout    time.Duration // default 2 s
	HealthyThreshold   int           // default 2
	UnhealthyThreshold int           // default 3
	Initializing       time.Duration // how long a new server may stay unhealthy, default 60 s; reported, the orchestrator acts
	Reinitializing     time.Duration // the same after a restart
	Strategy           string        // none | recreate | recreateOnQuorum; accepted, the orchestrator's business
	ExpectStatus       string        // default "200-399"; "200,204,300-399" form
	Hostname           string        // Host header to send
	InitialDown        bool          // start down and wait for the first successes
}
