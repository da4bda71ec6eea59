package certs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"
	"golang.org/x/crypto/acme/autocert"
)

const (
	// consulTTL is how long a lock outlives a program that died; Consul takes no less
	// and doubles it at worst.
	consulTTL = 10 * time.Second
	// consulLag is ample for what one lb puts to reach the others, which wait for it
	// in a blocking query: a matter of milliseconds.
	consulLag = 2 * time.Second
	// consulWait is how long a blocking query waits for a change.
	consulWait = 5 * time.Minute
	// consulTimeout bounds all other requests.
	consulTimeout = 10 * time.Second
	// consulPause is between queries that fail, consulPace between those that do not.
	consulPause = time.Second
	consulPace  = 50 * time.Millisecond
)

// Folders below the prefix: what all lb are told of, and what is only looked up.
const (
	consulLive = "live/"
	consulKept = "kept/"
)

// Consul is a Cache in Consul's KV store, shared by all that have the same prefix.
// Its token needs key_prefix:write below the prefix and session:write.
type Consul struct {
	client *api.Client
	prefix string
	token  func() (string, error)
	live   atomic.Pointer[map[string][]byte] // by key, as of the last answer
}

// NewConsul makes a Cache below a prefix, such as "lb/acme". token, if not nil, is
// asked before each request; else the client has it.
func NewConsul(client *api.Client, prefix string, token func() (string, error)) *Consul {
	c := &Consul{client: client, prefix: strings.TrimSuffix(prefix, "/") + "/", token: token}
	c.live.Store(&map[string][]byte{})
	return c
}

// path is where a key is in Consul.
func (c *Consul) path(key string) string {
	if isLive(key) {
		return c.prefix + consulLive + key
	}
	return c.prefix + consulKept + key
}

func isLive(key string) bool {
	return slices.ContainsFunc([]string{noteSuffix, lockSuffix, tokenSuffix, certSuffix}, func(end string) bool { return strings.HasSuffix(key, end) })
}

func (c *Consul) secret() (string, error) {
	if c.token == nil {
		return "", nil
	}
	return c.token()
}

func (c *Consul) query(ctx context.Context) (*api.QueryOptions, error) {
	token, err := c.secret()
	if err != nil {
		return nil, err
	}
	// Not AllowStale: what another lb has just put must be found.
	return (&api.QueryOptions{Token: token}).WithContext(ctx), nil
}

func (c *Consul) write(ctx context.Context) (*api.WriteOptions, error) {
	token, err := c.secret()
	if err != nil {
		return nil, err
	}
	return (&api.WriteOptions{Token: token}).WithContext(ctx), nil
}

// Get implements autocert.Cache.
func (c *Consul) Get(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, consulTimeout)
	defer cancel()
	q, err := c.query(ctx)
	if err != nil {
		return nil, err
	}
	p, _, err := c.client.KV().Get(c.path(key), q)
	if err != nil {
		return nil, fmt.Errorf("consul: get %q: %w", c.path(key), err)
	}
	if p == nil {
		return nil, autocert.ErrCacheMiss
	}
	return p.Value, nil
}

// Put implements autocert.Cache.
func (c *Consul) Put(ctx context.Context, key string, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, consulTimeout)
	defer cancel()
	w, err := c.write(ctx)
	if err != nil {
		return err
	}
	if _, err := c.client.KV().Put(&api.KVPair{Key: c.path(key), Value: data}, w); err != nil {
		return fmt.Errorf("consul: put %q: %w", c.path(key), err)
	}
	return nil
}

// Delete implements autocert.Cache.
func (c *Consul) Delete(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, consulTimeout)
	defer cancel()
	w, err := c.write(ctx)
	if err != nil {
		return err
	}
	if _, err := c.client.KV().Delete(c.path(key), w); err != nil {
		return fmt.Errorf("consul: delete %q: %w", c.path(key), err)
	}
	return nil
}

// Peek looks at what Follow was told last.
func (c *Consul) Peek(key string) ([]byte, bool) {
	data, ok := (*c.live.Load())[key]
	return data, ok
}

// Lag implements Cache.
func (c *Consul) Lag() time.Duration { return consulLag }

// Lock makes a session of its own for the lock, which ends with it: Consul frees
// the lock some time after a program has died or cannot reach it any more.
func (c *Consul) Lock(ctx context.Context, key string) (context.Context, func(), error) {
	if _, taken := c.Peek(key + lockSuffix); taken {
		return nil, nil, ErrLocked // as far as we know, and to ask costs Consul three writes
	}
	w, err := c.write(ctx)
	if err != nil {
		return nil, nil, err
	}
	path := c.path(key + lockSuffix)
	short, cancel := context.WithTimeout(ctx, consulTimeout)
	defer cancel()
	id, _, err := c.client.Session().CreateNoChecks(&api.SessionEntry{
		Name: "lb " + path, TTL: consulTTL.String(), Behavior: api.SessionBehaviorDelete,
		LockDelay: time.Millisecond, // we stop before the TTL ends; 0 would be 15 s
	}, w.WithContext(short))
	if err != nil {
		return nil, nil, fmt.Errorf("consul: session: %w", err)
	}
	held, lost := context.WithCancelCause(ctx)
	// It outlives ctx, so that the session does not outlive us.
	renewing, stop := context.WithCancel(context.WithoutCancel(ctx))
	gone := make(chan struct{})
	go func() { // unlock ends it, and waits
		defer close(gone)
		err := c.keep(renewing, id)
		lost(fmt.Errorf("consul: lock %q lost: %w", path, err))
	}()
	unlock := func() {
		stop()
		<-gone
		c.destroy(ctx, id)
	}
	got, _, err := c.client.KV().Acquire(&api.KVPair{Key: path, Session: id}, w.WithContext(short))
	switch {
	case err != nil:
		unlock()
		return nil, nil, fmt.Errorf("consul: lock %q: %w", path, err)
	case !got:
		unlock()
		return nil, nil, ErrLocked
	}
	return held, unlock, nil
}

// keep renews a session until ctx ends or it is lost: Consul says so, or cannot be
// reached for so long that it may.
func (c *Consul) keep(ctx context.Context, id string) error {
	tick := time.NewTicker(consulTTL / 3)
	defer tick.Stop()
	renewed := time.Now()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		short, cancel := context.WithTimeout(ctx, consulTTL/3)
		w, err := c.write(short)
		var session *api.SessionEntry
		if err == nil {
			session, _, err = c.client.Session().Renew(id, w)
		}
		cancel()
		switch {
		case err == nil && session == nil:
			return api.ErrSessionExpired
		case err == nil:
			renewed = time.Now()
		case time.Since(renewed) > consulTTL*2/3:
			return err
		}
	}
}

// destroy ends a session, and its lock: if that fails, when it is not renewed.
func (c *Consul) destroy(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTimeout)
	defer cancel()
	if w, err := c.write(ctx); err == nil {
		_, _ = c.client.Session().Destroy(id, w)
	}
}

// Follow keeps what Peek looks at up to date. While Consul cannot be reached, what
// was known stays known.
func (c *Consul) Follow(ctx context.Context, changed func(key string)) {
	var index uint64
	for ctx.Err() == nil {
		pause := consulPace
		next, err := c.follow(ctx, index, changed)
		if index = next; err != nil {
			index, pause = 0, consulPause
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// follow waits for one change after index, and returns the next one.
func (c *Consul) follow(ctx context.Context, index uint64, changed func(key string)) (uint64, error) {
	q, err := c.query(ctx)
	if err != nil {
		return 0, err
	}
	q.WaitIndex, q.WaitTime = index, consulWait
	pairs, meta, err := c.client.KV().List(c.prefix+consulLive, q)
	if err != nil {
		return 0, err
	}
	before, now := *c.live.Load(), make(map[string][]byte, len(pairs))
	for _, p := range pairs {
		now[strings.TrimPrefix(p.Key, c.prefix+consulLive)] = p.Value
	}
	c.live.Store(&now)
	for key, value := range now {
		if old, had := before[key]; !had || !slices.Equal(old, value) || index == 0 {
			changed(key)
		}
	}
	for key := range maps.Keys(before) {
		if _, has := now[key]; !has {
			changed(key)
		}
	}
	if meta.LastIndex < index {
		return 0, nil // Consul's own advice after a snapshot was restored
	}
	return meta.LastIndex, nil
}
