package loop

import "golang.org/x/sys/unix"

const (
	// soShare lets sockets listen on one address together.
	soShare = unix.SO_REUSEPORT
	// mayHold: a bound socket that does not listen leaves room for those that have
	// SO_REUSEADDR as it has.
	mayHold = true
)
