package discovery

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"time"

	"arzur.net/lb/rules"
)

// wantedName is a service that DNS is asked for. DNS.mu guards it.
type wantedName struct {
	dnsService
	invalid bool // it is never looked up; failure says why

	instances []rules.Instance // replaced, never changed
	answered  bool             // there was an answer or a failure
	busy      bool             // a lookup is under way
	due       time.Time        // of the next lookup
	good      time.Time        // when instances were answered last
	gone      time.Time        // when DNS first said that there is nothing; zero if it found something since
	failures  int              // in a row
	failure   string           // why the newest lookup failed, "" if it went well
	none      bool             // the failure is that DNS knows of nothing
}

func newWantedName(service string) *wantedName {
	s, err := parseDNSService(service)
	n := &wantedName{dnsService: s}
	if err != nil {
		n.invalid, n.answered, n.failure = true, true, err.Error()
	}
	return n
}

// answer enters what was found. It says whether that is news.
func (n *wantedName) answer(a dnsAnswer, now time.Time, c *DNSConfig) (changed bool) {
	changed = !n.answered || n.failure != "" || !reflect.DeepEqual(n.instances, a.instances)
	n.instances, n.good = a.instances, now
	n.answered, n.busy = true, false
	n.gone, n.failures, n.failure, n.none = time.Time{}, 0, "", false
	ttl := min(max(a.ttl, c.MinTTL), c.MaxTTL)
	// A little earlier, so that names that were met together are not asked for together for ever.
	n.due = now.Add(max(ttl-rand.N(ttl/10+1), c.MinTTL))
	return changed
}

// fail enters that the lookup has failed. It says whether that is news: that
// another server fails for another reason is none.
func (n *wantedName) fail(err error, now time.Time, c *DNSConfig) (changed bool) {
	n.answered, n.busy = true, false
	if changed = n.failures == 0 || n.none != isNone(err); changed {
		n.failure, n.none = err.Error(), isNone(err)
	}
	if n.none && n.gone.IsZero() {
		n.gone = now
	}
	pause := min(max(c.MinTTL, restartFirst)<<min(n.failures, 10), c.MaxTTL)
	n.failures++
	n.due = now.Add(pause/2 + rand.N(pause/2+1))
	return changed
}

// expires says whether what is in use ends with keep: when DNS says that there is
// nothing, not when it says nothing.
func (n *wantedName) expires() bool { return !n.gone.IsZero() && len(n.instances) > 0 }

// announce is the Service as it is now.
func (n *wantedName) announce() rules.Service {
	return rules.Service{Name: n.service, Origin: n.service, Instances: n.instances}
}

// problem says what is wrong, and what it leads to.
func (n *wantedName) problem(keep time.Duration) rules.Problem {
	const clock = "2006-01-02 15:04:05"
	reason := n.failure
	switch {
	case n.invalid:
	case n.good.IsZero():
		reason += "; nothing was found yet, so its rules answer 503"
	case n.expires():
		reason += fmt.Sprintf("; what was found at %s stays in use until %s", n.good.Format(clock), n.gone.Add(keep).Format(clock))
	case len(n.instances) > 0:
		reason += fmt.Sprintf("; what was found at %s stays in use", n.good.Format(clock))
	default:
		reason += fmt.Sprintf("; what was found at %s was kept for %v, now its rules answer 503", n.good.Format(clock), keep)
	}
	return rules.Problem{Origin: n.service, Reason: reason}
}

// dnsReport is how the names fare.
func dnsReport(names []*wantedName, keep time.Duration, now time.Time) Report {
	r := Report{Idle: len(names) == 0, Well: true, Text: fmt.Sprintf("%d services", len(names))}
	failing := 0
	for _, n := range names {
		if n.failure != "" {
			if failing++; failing == 1 {
				r.Text = n.problem(keep).Reason
			}
			if len(n.instances) > 0 {
				r.Age = max(r.Age, now.Sub(n.good))
			}
		}
	}
	if failing > 0 {
		r.Well, r.Text = false, fmt.Sprintf("%d of %d services: %s", failing, len(names), r.Text)
	}
	return r
}
