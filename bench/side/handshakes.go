//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// handshakes is what connections cost one contender that are opened for one
// request each. Medians of the rounds, µs of CPU a connection.
type handshakes struct {
	contender     string
	full, resumed float64
}

// handshakers is how many clients open connections at the same time.
const handshakers = 16

func measureHandshakes(ctx context.Context, o options, s site, contenders []contender) (results []handshakes, err error) {
	fmt.Printf("handshakes: %d rounds of %s, full and resumed\n", o.rounds, o.duration)
	var all []running
	defer func() {
		for _, r := range all {
			r.stop()
		}
	}()
	full, resumed := make([][]float64, len(contenders)), make([][]float64, len(contenders))
	for _, c := range contenders {
		p, addr, err := c.start(s)
		if err != nil {
			return nil, err
		}
		all = append(all, running{c, p, addr, s})
	}
	for n := range o.rounds {
		for i := range all {
			at := (i + n) % len(all)
			f, err := all[at].shakeHands(ctx, o.duration, false)
			if err != nil {
				return nil, err
			}
			r, err := all[at].shakeHands(ctx, o.duration, true)
			if err != nil {
				return nil, err
			}
			fmt.Printf("  round %d  %-14s %6.1f µs full  %6.1f µs resumed\n", n+1, all[at].name, f, r)
			full[at], resumed[at] = append(full[at], f), append(resumed[at], r)
		}
	}
	for i, r := range all {
		results = append(results, handshakes{r.name, median(full[i]), median(resumed[i])})
	}
	return results, nil
}

// shakeHands opens connections for d, makes one request on each, and returns
// what one cost r in µs of CPU.
func (r running) shakeHands(ctx context.Context, d time.Duration, resume bool) (float64, error) {
	before, err := r.usage()
	if err != nil {
		return 0, fmt.Errorf("measure %s: %w", r.name, err)
	}
	ctx, stop := context.WithTimeout(ctx, d)
	defer stop()
	var done atomic.Int64
	errs := make([]error, handshakers)
	var clients sync.WaitGroup
	for i := range handshakers {
		clients.Go(func() { // ends with ctx, or with its first error
			var config *tls.Config
			if resume {
				config = r.site.secure.client(tls.NewLRUClientSessionCache(1))
			} else {
				config = r.site.secure.client(nil)
			}
			for n := 0; ctx.Err() == nil; n++ {
				if errs[i] = r.visit(config, resume && n > 0); errs[i] != nil {
					return
				}
				done.Add(1)
			}
		})
	}
	clients.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, fmt.Errorf("shake hands with %s: %w", r.name, err)
	}
	after, err := r.usage()
	if err != nil {
		return 0, fmt.Errorf("measure %s: %w", r.name, err)
	}
	return float64((after.cpu - before.cpu).Microseconds()) / float64(done.Load()), nil
}

// visit opens a connection, makes a request and closes it.
func (r running) visit(config *tls.Config, resumed bool) error {
	raw, err := net.Dial("tcp", r.addr.String())
	if err != nil {
		return err
	}
	// A close with RST leaves no port behind in TIME_WAIT, of which there are 28,000.
	if err := raw.(*net.TCPConn).SetLinger(0); err != nil {
		return errors.Join(err, raw.Close())
	}
	c := tls.Client(raw, config)
	status, _, err := ask(c, hostname)
	if got := c.ConnectionState().DidResume; err == nil && got != resumed {
		err = fmt.Errorf("the session was resumed: %t, want %t", got, resumed)
	}
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d", status)
	}
	return errors.Join(err, raw.Close())
}
