package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/hashicorp/consul/api"
	"go.uber.org/zap"
)

const (
	// registerEvery is how often the agent is asked whether it still knows us: one
	// that lost its data forgets its services.
	registerEvery = 15 * time.Second
	// registerPatience bounds one request to the agent, which is next door.
	registerPatience = 3 * time.Second
)

// register keeps the program registered with the agent until the run ends, and
// takes it out then, unless a successor has taken its place.
func (w *consulWatch) register() {
	me := *w.Config.Register
	service, err := me.service()
	if err != nil {
		w.failed("register", err)
		return
	}
	entered := false
	for {
		pause := registerEvery
		if err := w.enter(service, entered); err != nil {
			w.failed("register", err)
			pause = consulRetryMost
		} else {
			entered = true
			w.recovered("register")
		}
		select {
		case <-w.ctx.Done():
			w.leave(service)
			return
		case <-time.After(pause):
		}
	}
}

// service is what the agent is told.
func (m *ConsulMyself) service() (*api.AgentServiceRegistration, error) {
	host, port, err := net.SplitHostPort(m.Admin)
	if err != nil {
		return nil, fmt.Errorf("register: admin listener at %q: %w", m.Admin, err)
	}
	if host == "" || net.ParseIP(host).IsUnspecified() {
		host = "127.0.0.1" // where the agent is
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("register: admin listener at %q: want a port from 1 to 65535", m.Admin)
	}
	machine, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("host name: %w", err)
	}
	name := cmp.Or(m.Name, "lb")
	return &api.AgentServiceRegistration{
		// The same for a successor, so that a hand-over is no change.
		ID:   name + "-" + machine + "-" + port,
		Name: name, Tags: m.Tags, Address: m.Address, Port: cmp.Or(int(m.Port), int(number)),
		Meta: map[string]string{"pid": strconv.Itoa(os.Getpid())},
		Check: &api.AgentServiceCheck{
			Name: name + " is well", HTTP: "http://" + net.JoinHostPort(host, port) + "/healthz",
			Interval: cmp.Or(m.Interval, 5*time.Second).String(), Timeout: "2s",
			DeregisterCriticalServiceAfter: cmp.Or(m.Deregister, 10*time.Minute).String(),
		},
	}, nil
}

// enter registers the service, unless the agent has it. An entry of another process
// is a predecessor's at first, and afterwards a successor's, who keeps it.
func (w *consulWatch) enter(s *api.AgentServiceRegistration, again bool) error {
	known, err := w.registered(w.ctx, s.ID)
	if err != nil || known != nil && (again || known.Meta["pid"] == s.Meta["pid"]) {
		return err
	}
	ctx, cancel := context.WithTimeout(w.ctx, registerPatience)
	defer cancel()
	return w.client.Agent().ServiceRegisterOpts(s, api.ServiceRegisterOpts{ReplaceExistingChecks: true, Token: w.token()}.WithContext(ctx))
}

// registered is the service as the agent has it, nil if it does not.
func (w *consulWatch) registered(ctx context.Context, id string) (*api.AgentService, error) {
	o, err := w.Config.options()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, registerPatience)
	defer cancel()
	o.Datacenter = "" // the agent's own
	service, _, err := w.client.Agent().Service(id, o.WithContext(ctx))
	if missing := (api.StatusError{}); errors.As(err, &missing) && missing.Code == http.StatusNotFound {
		return nil, nil
	}
	return service, err
}

// leave takes the service out. ctx of the run is over, so that it has its own.
func (w *consulWatch) leave(s *api.AgentServiceRegistration) {
	if w.Succeeded != nil && w.Succeeded() {
		return // the entry is the successor's, even if that has not said so yet
	}
	known, err := w.registered(context.Background(), s.ID)
	if err == nil && known != nil && known.Meta["pid"] == s.Meta["pid"] {
		ctx, cancel := context.WithTimeout(context.Background(), registerPatience)
		defer cancel()
		err = w.client.Agent().ServiceDeregisterOpts(s.ID, (&api.QueryOptions{Token: w.token()}).WithContext(ctx))
	}
	if err != nil {
		w.Log.Warn("leave consul", zap.String("service", s.ID), zap.Error(err))
	}
}

func (w *consulWatch) token() string {
	o, err := w.Config.options()
	if err != nil {
		return ""
	}
	return o.Token
}
