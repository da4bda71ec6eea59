//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// handshakes are connections that are opened for one request each.
var handshakes = []kind{
	{"full handshakes per CPU second", "full", func(r running, ctx context.Context, d time.Duration) (float64, error) {
		return r.shakeHands(ctx, d, false)
	}},
	{"resumed", "resumed", func(r running, ctx context.Context, d time.Duration) (float64, error) {
		return r.shakeHands(ctx, d, true)
	}},
}

func (r running) shakeHands(ctx context.Context, d time.Duration, resume bool) (float64, error) {
	var configs [visitors]*tls.Config
	for i := range configs {
		var sessions tls.ClientSessionCache
		if resume {
			sessions = tls.NewLRUClientSessionCache(1)
		}
		configs[i] = r.site.secure.client(sessions)
	}
	return r.price(ctx, d, func(client, n int) error { return r.greet(configs[client], resume && n > 0) })
}

// greet opens a connection, shakes hands, makes a request and closes it.
func (r running) greet(config *tls.Config, resumed bool) error {
	raw, err := r.open()
	if err != nil {
		return err
	}
	c := tls.Client(raw, config)
	err = askOnce(c)
	if got := c.ConnectionState().DidResume; err == nil && got != resumed {
		err = fmt.Errorf("the session was resumed: %t, want %t", got, resumed)
	}
	return errors.Join(err, raw.Close())
}

// open opens a connection that will leave no port behind in TIME_WAIT, of which
// there are 28,000: its close is a RST.
func (r running) open() (*net.TCPConn, error) {
	c, err := net.Dial("tcp", r.addr.String())
	if err != nil {
		return nil, err
	}
	raw := c.(*net.TCPConn)
	if err := raw.SetLinger(0); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return raw, nil
}

// askOnce makes a request that is to be answered with 200.
func askOnce(c net.Conn) error {
	status, _, err := ask(c, hostname)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d", status)
	}
	return err
}
