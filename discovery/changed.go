package discovery

import "reflect"

// changed publishes those Snapshots that differ from the one before.
type changed struct {
	to   func(Snapshot)
	last *Snapshot
}

func (c *changed) publish(s Snapshot) {
	if c.last != nil {
		c.last.Urgent = s.Urgent // not what is announced, but how
		if reflect.DeepEqual(*c.last, s) {
			return
		}
	}
	c.last = &s
	c.to(s)
}

// publishUrgently is publish for when an instance is about to end.
func (c *changed) publishUrgently(s Snapshot) {
	s.Urgent = true
	c.publish(s)
}
