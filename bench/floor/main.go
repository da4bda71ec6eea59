//go:build linux

// Command floor is the least that a proxy on event loops in Go can cost: a loop
// per CPU that reads bytes of a client, writes them to a backend picked in turn,
// and writes back what comes. It parses nothing and checks nothing, so the
// distance between it and lb is what everything that makes a proxy costs.
//
// It is right only for clients that have one request at a time on a connection.
package main

import (
	"flag"
	"log"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8000", "address to serve on")
	to := flag.String("to", "127.0.0.1:9001", "backends, separated by commas")
	flag.Parse()

	addr := sockaddr(*listen)
	var backends []*unix.SockaddrInet4
	for b := range strings.SplitSeq(*to, ",") {
		backends = append(backends, sockaddr(b))
	}

	var turn atomic.Uint32
	failed := make(chan error)
	for range runtime.GOMAXPROCS(0) {
		l, err := newLoop(addr, backends, &turn)
		if err != nil {
			log.Fatal(err)
		}
		go func() { failed <- l.run() }() // runs until the process ends
	}
	log.Fatal(<-failed)
}

func sockaddr(s string) *unix.SockaddrInet4 {
	addr, err := netip.ParseAddrPort(s)
	if err != nil || !addr.Addr().Is4() {
		log.Fatalf("address %q: want an IPv4 address and a port", s)
	}
	return &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
}
