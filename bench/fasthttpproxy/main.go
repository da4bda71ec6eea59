// Command fasthttpproxy is what a reverse proxy on fasthttp's server and client
// comes to: one rule of port and hostname, the backends in turn. It is here to
// show what the same work costs with a goroutine per connection.
package main

import (
	"bytes"
	"flag"
	"log"
	"strings"
	"sync/atomic"

	"github.com/valyala/fasthttp"
)

// hopByHop are the fields that belong to one connection (RFC 9110 section 7.6.1).
var hopByHop = []string{"Connection", "Proxy-Connection", "Keep-Alive", "Te", "Trailer", "Upgrade"}

type proxy struct {
	host     []byte
	backends []*fasthttp.HostClient
	next     atomic.Uint32
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8000", "address to serve on")
	host := flag.String("host", "a.test", "hostname of the one rule")
	to := flag.String("to", "127.0.0.1:9001", "backends, separated by commas")
	flag.Parse()

	p := &proxy{host: []byte(*host)}
	for addr := range strings.SplitSeq(*to, ",") {
		p.backends = append(p.backends, &fasthttp.HostClient{
			Addr:                          addr,
			MaxConns:                      1 << 16,
			NoDefaultUserAgentHeader:      true,
			DisableHeaderNamesNormalizing: true,
			DisablePathNormalizing:        true,
		})
	}
	s := &fasthttp.Server{Handler: p.serve, NoDefaultServerHeader: true}
	log.Fatal(s.ListenAndServe(*listen))
}

func (p *proxy) serve(ctx *fasthttp.RequestCtx) {
	host, _, _ := bytes.Cut(ctx.Host(), []byte(":"))
	if !bytes.EqualFold(host, p.host) {
		ctx.Error("no rule matches", fasthttp.StatusNotFound)
		return
	}
	for _, name := range hopByHop {
		ctx.Request.Header.Del(name)
	}
	ctx.Request.Header.Set("X-Forwarded-For", ctx.RemoteIP().String())
	ctx.Request.Header.Set("X-Forwarded-Proto", "http")

	b := p.backends[p.next.Add(1)%uint32(len(p.backends))]
	if err := b.Do(&ctx.Request, &ctx.Response); err != nil {
		ctx.Error("bad gateway", fasthttp.StatusBadGateway)
		return
	}
	for _, name := range hopByHop {
		ctx.Response.Header.Del(name)
	}
}
