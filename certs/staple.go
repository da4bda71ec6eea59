package certs

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/ocsp"
)

const (
	// stapleEvery is how often it is looked for responses to be had: new
	// certificates wait that long for theirs.
	stapleEvery = time.Second
	// stapleWait is how long a responder may take, and stapleMost how large its
	// response may be; they have one or two KiB.
	stapleWait = 10 * time.Second
	stapleMost = 64 << 10
	// stapleAtOnce bounds how many responders are asked at a time, so that a great
	// many certificates do not look like an attack on one.
	stapleAtOnce = 8
	// After a failure a responder is asked again in a minute, then two, ..., an hour.
	stapleRetry     = time.Minute
	stapleRetryMost = time.Hour
	// stapleSkew is how far the responder's clock may be ahead of ours.
	stapleSkew = 5 * time.Minute
	// stapleLife is how long a response counts that says not when the next comes.
	stapleLife = time.Hour
)

// staple is what a Certificate's responder said last. Only the Stapler writes it.
type staple struct{ atomic.Pointer[response] }

// response never changes.
type response struct {
	status   string // "good", "revoked", "unknown"; "": none was had yet
	until    time.Time
	err      error // of the last try
	failures int   // in a row
	next     time.Time
}

// words are for operators; "" without a responder.
func (s *staple) words() string {
	r := s.Load()
	switch {
	case r == nil:
		return ""
	case r.err != nil && r.status != "":
		return fmt.Sprintf("%s until %s, then: %v", r.status, r.until.UTC().Format(time.RFC3339), r.err)
	case r.err != nil:
		return r.err.Error()
	case r.status == "":
		return "not asked yet"
	}
	return r.status
}

// Stapler gets OCSP responses (RFC 6960) for the certificates of a Store that
// name a responder, and staples those that say "good". No handshake waits for
// it; without a response they go on without.
type Stapler struct {
	Store *Store
	Log   *zap.Logger
	// Client asks the responders; nil means one of the Stapler's own.
	Client *http.Client
}

// Run asks until ctx ends.
func (s *Stapler) Run(ctx context.Context) {
	if s.Client == nil {
		s.Client = &http.Client{}
	}
	room := make(chan struct{}, stapleAtOnce)
	for {
		var asked sync.WaitGroup
		for _, c := range s.Store.all() {
			if !c.due(time.Now()) {
				continue
			}
			room <- struct{}{}
			asked.Go(func() { // ends within stapleWait, and is waited for below
				defer func() { <-room }()
				s.renew(ctx, c)
			})
		}
		asked.Wait()
		if !sleep(ctx, stapleEvery) {
			return
		}
	}
}

// due says whether c's responder is to be asked now.
func (c *Certificate) due(now time.Time) bool {
	r := c.staple.Load()
	return len(c.leaf.OCSPServer) > 0 && (r == nil || !now.Before(r.next))
}

// renew asks once and notes the outcome.
func (s *Stapler) renew(ctx context.Context, c *Certificate) {
	old := c.staple.Load()
	if old == nil {
		old = &response{}
	}
	der, answer, err := s.ask(ctx, c)
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	if err != nil {
		c.failed(old, err, now)
		if old.err == nil {
			s.Log.Warn("get OCSP response", zap.String("origin", c.Origin), zap.Strings("names", c.Names), zap.Error(err))
		}
		return
	}
	r := &response{status: statusWord(answer.Status), until: answer.NextUpdate}
	if r.until.IsZero() {
		r.until = now.Add(stapleLife)
	}
	// At half of its life, and not after it, or clients would get an old one.
	r.next = now.Add(min(max(r.until.Sub(now)/2, stapleRetry), r.until.Sub(now)))
	if answer.Status != ocsp.Good {
		der = nil
		r.next = now.Add(stapleRetryMost)
	}
	c.put(der)
	c.staple.Store(r)
	switch {
	case r.status == old.status:
	case answer.Status == ocsp.Good:
		s.Log.Debug("OCSP response stapled", zap.String("origin", c.Origin), zap.Time("until", r.until))
	default:
		s.Log.Error("certificate is not good any more, its OCSP responder says; renew it", zap.String("origin", c.Origin),
			zap.Strings("names", c.Names), zap.String("status", r.status))
	}
}

// failed keeps what is stapled for as long as it counts.
func (c *Certificate) failed(old *response, err error, now time.Time) {
	r := *old
	r.err = err
	r.next = now.Add(min(stapleRetry<<min(r.failures, 10), stapleRetryMost))
	r.failures++
	if !now.Before(r.until) {
		c.put(nil)
		r.status = ""
	} else if r.next.After(r.until) {
		r.next = r.until // to take it off in time
	}
	c.staple.Store(&r)
}

// put staples a response, or takes it off.
func (c *Certificate) put(der []byte) {
	served := c.served.Load()
	if bytes.Equal(served.OCSPStaple, der) {
		return
	}
	with := *served
	with.OCSPStaple = der
	c.served.Store(&with)
}

func statusWord(status int) string {
	switch status {
	case ocsp.Good:
		return "good"
	case ocsp.Revoked:
		return "revoked"
	}
	return "unknown"
}
