package loop

import "golang.org/x/sys/unix"

const (
	// soShare lets sockets listen on one address together.
	soShare = unix.SO_REUSEPORT
	// mayHold: only sockets that share may be bound to one address, and all must.
	mayHold = false
)
