package health

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Check is an active health check, Rancher's health_check with two additions
// (ExpectStatus and Hostname). The zero value of a field means its default.
type Check struct {
	Port               uint16        // 0: the server's own port
	Scheme             string        // http, https; "": as the server is spoken to, in the clear at another port
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

// DefaultCheck is what the zero values of a Check stand for.
var DefaultCheck = Check{
	Interval:           2 * time.Second,
	ResponseTimeout:    2 * time.Second,
	HealthyThreshold:   2,
	UnhealthyThreshold: 3,
	Initializing:       time.Minute,
	Reinitializing:     time.Minute,
	Strategy:           "recreate",
	ExpectStatus:       "200-399",
}

// minInterval keeps a typing mistake (2 for 2000) from turning into a load test.
const minInterval = 10 * time.Millisecond

// Key is the canonical text of what the Check does, defaults applied: two
// Checks with the same Key give the same verdicts and share one Backend per
// address. What is only reported (Strategy, Initializing, Reinitializing) is
// not part of it. "" for nil.
func (c *Check) Key() string {
	if c == nil {
		return ""
	}
	d := c.withDefaults()
	b := make([]byte, 0, 96)
	if d.RequestLine == "" {
		b = append(b, "tcp"...)
	} else {
		b = append(b, "http "...)
		b = strconv.AppendQuote(b, d.RequestLine)
		b = append(b, " host="...)
		b = strconv.AppendQuote(b, d.Hostname)
		b = append(b, " expect="...)
		b = append(b, d.ExpectStatus...)
	}
	// Compile asks for the Key of every server, so this is written without fmt.
	b = strconv.AppendUint(append(b, " port="...), uint64(d.Port), 10)
	b = append(append(b, " every="...), d.Interval.String()...)
	b = append(append(b, " timeout="...), d.ResponseTimeout.String()...)
	b = strconv.AppendInt(append(b, " up="...), int64(d.HealthyThreshold), 10)
	b = strconv.AppendInt(append(b, " down="...), int64(d.UnhealthyThreshold), 10)
	if d.Scheme != "" {
		b = append(append(b, " scheme="...), d.Scheme...)
	}
	if d.InitialDown {
		b = append(b, " initial=down"...)
	}
	return string(b)
}

// Validate says, in words and field by field, what about the Check cannot work.
// A nil Check is valid: there is none.
func (c *Check) Validate() error {
	if c == nil {
		return nil
	}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	d := c.withDefaults()
	if d.RequestLine != "" {
		if _, err := ParseRequestLine(d.RequestLine); err != nil {
			bad("request_line %q: %w", c.RequestLine, err)
		}
	}
	if _, err := parseStatuses(d.ExpectStatus); err != nil {
		bad("expect_status %q: %w", c.ExpectStatus, err)
	}
	if !validHost(d.Hostname) {
		bad("hostname %q: want a host name, with a port if need be", c.Hostname)
	}
	if d.Scheme != "" && d.Scheme != "http" && d.Scheme != "https" {
		bad("scheme %q: want http or https", c.Scheme)
	}
	if d.Interval < minInterval {
		bad("interval %s: want at least %s", d.Interval, minInterval)
	}
	if d.ResponseTimeout < 0 {
		bad("response_timeout %s: want a positive duration", d.ResponseTimeout)
	}
	if d.Initializing < 0 {
		bad("initializing_timeout %s: want a positive duration", d.Initializing)
	}
	if d.Reinitializing < 0 {
		bad("reinitializing_timeout %s: want a positive duration", d.Reinitializing)
	}
	if d.HealthyThreshold < 0 {
		bad("healthy_threshold %d: want at least 1", d.HealthyThreshold)
	}
	if d.UnhealthyThreshold < 0 {
		bad("unhealthy_threshold %d: want at least 1", d.UnhealthyThreshold)
	}
	switch d.Strategy {
	case "none", "recreate", "recreateOnQuorum":
	default:
		bad("strategy %q: want none, recreate or recreateOnQuorum", c.Strategy)
	}
	return errors.Join(errs...)
}

// withDefaults is the Check with every default filled in.
func (c *Check) withDefaults() Check {
	d := *c
	d.RequestLine = strings.TrimSpace(d.RequestLine)
	d.Interval = cmp.Or(d.Interval, DefaultCheck.Interval)
	d.ResponseTimeout = cmp.Or(d.ResponseTimeout, DefaultCheck.ResponseTimeout)
	d.HealthyThreshold = cmp.Or(d.HealthyThreshold, DefaultCheck.HealthyThreshold)
	d.UnhealthyThreshold = cmp.Or(d.UnhealthyThreshold, DefaultCheck.UnhealthyThreshold)
	d.Initializing = cmp.Or(d.Initializing, DefaultCheck.Initializing)
	d.Reinitializing = cmp.Or(d.Reinitializing, DefaultCheck.Reinitializing)
	d.Strategy = cmp.Or(d.Strategy, DefaultCheck.Strategy)
	d.ExpectStatus = cmp.Or(d.ExpectStatus, DefaultCheck.ExpectStatus)
	return d
}

// validHost keeps out what would end or split the Host field line.
func validHost(h string) bool {
	for i := range len(h) {
		if c := h[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"/\@?#<>`, c) >= 0 {
			return false
		}
	}
	return true
}
