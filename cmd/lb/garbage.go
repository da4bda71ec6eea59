package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// The collector runs when the heap has doubled, from 4 MiB on. A balancer has
// little that lives, and a TLS handshake leaves 30 KiB: that was a collection every
// hundred handshakes, and a fifth of what they cost. So it begins at 16 MiB while
// what lives is little. That is looked at after each collection, so that a heap
// that has grown is collected at twice its size by the next.
const (
	gcUsual = 100 // percent
	gcSmall = 4 * gcUsual
	gcFrom  = 16 << 20 // bytes; where Go begins with gcSmall percent
)

// spareGC has the garbage collector run seldom while the heap is small, unless
// the environment says when it is to run.
func spareGC() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		afterGC(gcUsual)
	}
}

// afterGC changes the percentage from set to what fits, now and after each
// collection.
func afterGC(set int) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	want := gcPercent(live[0].Value.Uint64())
	if want != set { // setting it stops the program for a moment
		debug.SetGCPercent(want)
	}
	// It is unreachable from the start, so the next collection finds it.
	runtime.AddCleanup(new([32]byte), afterGC, want)
}

// gcPercent is the percentage for a heap of which live bytes were in use.
func gcPercent(live uint64) int {
	for p := gcSmall; p > gcUsual; p /= 2 {
		if live+live*uint64(p)/100 <= gcFrom {
			return p
		}
	}
	return gcUsual
}
