package labels

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// ownService is what the labels say about the Subject's service.
type ownService struct {
	rules.Service
	weight *int

	scheme string      // of its servers
	tls    *health.TLS // what a label says of it

	check        health.Check
	checked      bool          // there is a label about the check
	unreadable   bool          // and one that is of no use
	initializing time.Duration // initialization_timeout
}

// ownServiceKeys are the keys of services in a rules file, and what is about the instance alone.
var ownServiceKeys = map[string]func(*ownService, labelValue){
	"service":          func(s *ownService, v labelValue) { s.Name = v.text },
	"weight":           func(s *ownService, v labelValue) { into(&s.weight, pointer(within(0, 256)), v) },
	"balance":          func(s *ownService, v labelValue) { into(&s.Balance, oneOf(rules.DefaultBalance), v) },
	"max_connections":  func(s *ownService, v labelValue) { into(&s.MaxConnections, within(0, math.MaxInt32), v) },
	"queue_length":     func(s *ownService, v labelValue) { into(&s.QueueLength, within(0, math.MaxInt32), v) },
	"queue_timeout":    func(s *ownService, v labelValue) { into(&s.QueueTimeout, span(0), v) },
	"connect_timeout":  func(s *ownService, v labelValue) { into(&s.ConnectTimeout, span(0), v) },
	"response_timeout": func(s *ownService, v labelValue) { into(&s.ResponseTimeout, span(0), v) },
	"hold":             func(s *ownService, v labelValue) { into(&s.Hold, pointer(spanFrom(0, 0)), v) },
	"retries":          func(s *ownService, v labelValue) { into(&s.Retries, pointer(within(0, 100)), v) },
	"when_all_down": func(s *ownService, v labelValue) {
		into(&s.WhenAllDown, keyword(map[string]rules.WhenAllDown{"fail": rules.Fail, "try": rules.Try}), v)
	},

	"scheme":                   func(s *ownService, v labelValue) { into(&s.scheme, oneOf("http", "https"), v) },
	"tls.server_name":          func(s *ownService, v labelValue) { into(&s.secure().ServerName, hostAlone, v) },
	"tls.insecure_skip_verify": func(s *ownService, v labelValue) { into(&s.secure().Insecure, trueOrFalse, v) },
	"proxy_protocol": func(s *ownService, v labelValue) {
		into(&s.ProxyProtocol, keyword(map[string]rules.ProxyProtocol{"v1": rules.ProxyV1, "v2": rules.ProxyV2}), v)
	},

	"health_check.scheme":                 checkKey(oneOf("http", "https"), func(s *ownService) *string { return &s.check.Scheme }),
	"health_check.port":                   checkKey(portNumber, func(s *ownService) *uint16 { return &s.check.Port }),
	"health_check.request_line":           checkKey(requestLine, func(s *ownService) *string { return &s.check.RequestLine }),
	"health_check.interval":               checkKey(span(time.Millisecond), func(s *ownService) *time.Duration { return &s.check.Interval }),
	"health_check.response_timeout":       checkKey(span(time.Millisecond), func(s *ownService) *time.Duration { return &s.check.ResponseTimeout }),
	"health_check.healthy_threshold":      checkKey(within(1, 1000), func(s *ownService) *int { return &s.check.HealthyThreshold }),
	"health_check.unhealthy_threshold":    checkKey(within(1, 1000), func(s *ownService) *int { return &s.check.UnhealthyThreshold }),
	"health_check.initializing_timeout":   checkKey(span(time.Millisecond), func(s *ownService) *time.Duration { return &s.check.Initializing }),
	"health_check.initialization_timeout": checkKey(span(time.Millisecond), func(s *ownService) *time.Duration { return &s.initializing }),
	"health_check.reinitializing_timeout": checkKey(span(time.Millisecond), func(s *ownService) *time.Duration { return &s.check.Reinitializing }),
	"health_check.strategy":               checkKey(oneOf("none", "recreate", "recreateOnQuorum"), func(s *ownService) *string { return &s.check.Strategy }),
	// What recreates containers is the orchestrator; the quorum is its business.
	"health_check.recreate_on_quorum_strategy_config.quorum": checkKey(within(1, math.MaxInt32), func(*ownService) *int { return new(int) }),
	"health_check.expect_status":                             checkKey(plainText, func(s *ownService) *string { return &s.check.ExpectStatus }),
	"health_check.hostname":                                  checkKey(plainText, func(s *ownService) *string { return &s.check.Hostname }),
	"health_check.initial": checkKey(keyword(map[string]bool{"up": false, "down": true}),
		func(s *ownService) *bool { return &s.check.InitialDown }),
}

var ownServiceNames = slices.Sorted(maps.Keys(ownServiceKeys))

// checkKey reads a field of the health check.
func checkKey[T any](read reader[T], field func(*ownService) *T) func(*ownService, labelValue) {
	return func(s *ownService, v labelValue) {
		s.checked = true
		if !into(field(s), read, v) {
			s.unreadable = true
		}
	}
}

func requestLine(v labelValue) (string, bool) {
	if _, err := health.ParseRequestLine(v.text); err != nil {
		v.warn("%s", err)
		return "", false
	}
	return v.text, true
}

// secure is how the servers are spoken to over TLS.
func (s *ownService) secure() *health.TLS {
	if s.tls == nil {
		s.tls = &health.TLS{}
	}
	return s.tls
}

// finishTLS decides whether servers are spoken to over TLS. What labels say of it
// is about v.
func (s *ownService) finishTLS(v labelValue) {
	switch {
	case s.scheme == "http" && s.tls != nil:
		v.warn("with lb.scheme=http servers are spoken to in the clear; what labels say of tls does not count")
	case s.scheme == "https" || s.tls != nil:
		s.TLS = s.secure()
	}
}

// finish makes the health check, unless it is not what somebody meant: a wrong
// check takes good servers out. Problems of the check as a whole are about v.
func (s *ownService) finish(v labelValue) {
	if !s.checked {
		return
	}
	if s.initializing != 0 && s.check.Initializing != 0 {
		v.warn("initializing_timeout and initialization_timeout are one setting; the first one counts")
	}
	s.check.Initializing = cmp.Or(s.check.Initializing, s.initializing)
	if s.unreadable {
		v.warn("there is no health check, because one of its labels cannot be read")
		return
	}
	if err := s.check.Validate(); err != nil {
		v.warn("there is no health check: %s", err)
		return
	}
	s.Check = &s.check
}
