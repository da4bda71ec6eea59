package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"go.uber.org/zap"

	"arzur.net/lb/admin"
)

// adminPatience is how long requests to the admin listener may outlive it.
const adminPatience = time.Second

// startAdmin opens the admin listener, on the socket that came with the process
// if it is the right one.
func (s *server) startAdmin(inherited int) error {
	address := s.config.Admin.Address
	l, err := adminListener(inherited, address)
	if err != nil || address == "" {
		return err
	}
	a := admin.New(admin.Config{
		Addr:     address,
		Listener: l,
		Proxy:    s.proxy,
		Registry: s.registry,
		Sources:  s.outages.list,
		Certs:    &s.certs.store,
		ACME:     s.certs.acme.Load,
		Problems: s.notInForce,
		Ready: func() (bool, string) {
			if s.draining.Load() {
				return false, "draining"
			}
			return true, ""
		},
		Version: versionName(),
		Log:     s.log,
		Level:   s.level,
	})
	if err := a.Start(); err != nil {
		return err
	}
	s.admin = a
	s.log.Info("admin", zap.String("address", a.Addr()))
	return nil
}

// stopAdmin ends the admin listener.
func (s *server) stopAdmin() {
	if s.admin == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), adminPatience)
	defer cancel()
	if err := s.admin.Stop(ctx); err != nil {
		s.log.Warn("end admin listener", zap.Error(err))
	}
	s.admin = nil
}

// adminSocket is a copy of the admin listener's socket for a successor; nil
// without one.
func (s *server) adminSocket() (*os.File, error) {
	if s.admin == nil {
		return nil, nil
	}
	return s.admin.File()
}

// adminListener makes a listener of an inherited socket, nil if that is not
// bound to address, because the configuration has changed since.
func adminListener(inherited int, address string) (net.Listener, error) {
	if inherited < 0 {
		return nil, nil
	}
	f := os.NewFile(uintptr(inherited), "admin")
	defer f.Close() // FileListener has its own copy
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("inherited admin socket: %w", err)
	}
	if want, err := net.ResolveTCPAddr("tcp", address); err != nil || !sameAddress(l.Addr(), want) {
		return nil, l.Close()
	}
	return l, nil
}

func sameAddress(is net.Addr, want *net.TCPAddr) bool {
	a, ok := is.(*net.TCPAddr)
	if !ok || a.Port != want.Port {
		return false
	}
	return a.IP.Equal(want.IP) || a.IP.IsUnspecified() && (want.IP == nil || want.IP.IsUnspecified())
}
