// Command backend is the service behind every proxy of the benchmark: fasthttp
// servers in one process, one per address, that answer any request at once with
// a fixed body: 10 KiB at /10k, 1 MiB at /1m, 128 bytes anywhere else. Datagrams
// to the same address are sent back.
package main

import (
	"bytes"
	"errors"
	"flag"
	"log"
	"net"
	"strings"

	"github.com/valyala/fasthttp"
)

var (
	body128 = bytes.Repeat([]byte("x"), 128)
	body10k = bytes.Repeat([]byte("x"), 10<<10)
	body1m  = bytes.Repeat([]byte("x"), 1<<20)
)

func main() {
	listen := flag.String("listen", "127.0.0.1:9001", "addresses to serve on, separated by commas")
	flag.Parse()

	failed := make(chan error)
	for addr := range strings.SplitSeq(*listen, ",") {
		s := &fasthttp.Server{Handler: answer, NoDefaultServerHeader: true}
		go func() { failed <- s.ListenAndServe(addr) }() // runs until the process ends
		go func() { failed <- echo(addr) }()             // likewise
	}
	log.Fatal(<-failed)
}

// echo sends datagrams back.
func echo(addr string) error {
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	udp, b := c.(*net.UDPConn), make([]byte, 1<<16)
	for {
		n, from, err := udp.ReadFromUDPAddrPort(b)
		if err == nil {
			_, err = udp.WriteToUDPAddrPort(b[:n], from)
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		// Any other error is of one datagram, whose sender may have left.
	}
}

func answer(ctx *fasthttp.RequestCtx) {
	ctx.SetContentType("text/plain")
	switch string(ctx.Path()) {
	case "/10k":
		ctx.Response.SetBodyRaw(body10k)
	case "/1m":
		ctx.Response.SetBodyRaw(body1m)
	default:
		ctx.Response.SetBodyRaw(body128)
	}
}
