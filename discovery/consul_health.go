package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// consulHealth is which questions go unanswered, and since when.
type consulHealth struct {
	crowd   atomic.Int64 // services that are asked about
	waiters atomic.Int64 // of these, those with a blocking query of their own
	known   atomic.Bool  // the catalog has been read, and the rest too or in vain
	whole   atomic.Bool  // all that is asked now has been answered once

	state   sync.Mutex
	log     *zap.Logger
	failing map[string]consulFailure // by question
	back    chan struct{}            // closed when a question is answered again
	cached  time.Time                // of what is in use until there is an answer; zero: there is nothing
}

type consulFailure struct {
	since  time.Time
	reason string // at first
	err    error  // of late
}

// reasonOf is an error without the question, so that many fail for one reason.
func reasonOf(err error) string {
	if request := (*url.Error)(nil); errors.As(err, &request) {
		return request.Err.Error()
	}
	return err.Error()
}

// isKnown says whether a question fails for the reason. h.state is held.
func (h *consulHealth) isKnown(reason string) bool {
	for _, f := range h.failing {
		if f.reason == reason {
			return true
		}
	}
	return false
}

func (h *consulHealth) begin(log *zap.Logger) {
	h.state.Lock()
	defer h.state.Unlock()
	h.log = log
	h.failing = make(map[string]consulFailure)
	h.back = make(chan struct{})
}

// recall notes that what Consul said then is in use until it answers.
func (h *consulHealth) recall(at time.Time) {
	h.state.Lock()
	defer h.state.Unlock()
	h.cached = at
}

// failed notes that a question has no answer. It logs the first one for a reason.
func (h *consulHealth) failed(what string, err error) {
	h.state.Lock()
	defer h.state.Unlock()
	f, again := h.failing[what]
	if !again {
		f.since, f.reason = time.Now(), reasonOf(err)
	}
	if !again && !h.isKnown(f.reason) {
		h.log.Warn("consul does not answer; what it said last stays in use", zap.String("query", what), zap.Error(err))
	}
	f.err = err
	h.failing[what] = f
}

// recovered notes that a question has an answer, or is no longer asked.
func (h *consulHealth) recovered(what string) {
	h.state.Lock()
	defer h.state.Unlock()
	f, failed := h.failing[what]
	if !failed {
		return
	}
	delete(h.failing, what)
	close(h.back) // what waits for a retry need not wait any longer
	h.back = make(chan struct{})
	if !h.isKnown(f.reason) {
		h.log.Info("consul answers again", zap.String("query", what), zap.Duration("after", time.Since(f.since)))
	}
}

// pauseOrRecover waits for d, less when Consul answers another question.
func (h *consulHealth) pauseOrRecover(ctx context.Context, d time.Duration) {
	h.state.Lock()
	back := h.back
	h.state.Unlock()
	select {
	case <-ctx.Done():
		return
	case <-time.After(min(d, consulRetryFirst)): // a question that alone fails must not spin
	}
	select {
	case <-ctx.Done():
	case <-back:
	case <-time.After(d - min(d, consulRetryFirst)):
	}
}

// Report implements Reporter. Age is how long some answer has been overdue.
func (h *consulHealth) Report() Report {
	h.state.Lock()
	defer h.state.Unlock()
	heard := h.known.Load()
	r := Report{Well: heard && len(h.failing) == 0, Unheard: !h.whole.Load() && h.cached.IsZero(), Text: fmt.Sprintf("%d services", h.crowd.Load())}
	if len(h.failing) == 0 {
		if !heard {
			r.Text = "has not answered yet"
		}
		return r
	}
	var oldest string
	for what, f := range h.failing {
		age := time.Since(f.since)
		if oldest == "" || age > r.Age || age == r.Age && what < oldest {
			r.Age, oldest = age, what
		}
	}
	r.Text = fmt.Sprintf("what it said %s ago stays in use; %s: %v", r.Age.Round(time.Second), oldest, h.failing[oldest].err)
	switch {
	case heard && !r.Unheard:
	case h.cached.IsZero():
		r.Text = fmt.Sprintf("has not answered for %s; %s: %v", r.Age.Round(time.Second), oldest, h.failing[oldest].err)
	default:
		r.Age = time.Since(h.cached)
		r.Text = fmt.Sprintf("has not answered yet; what it said at %s is in use; %s: %v", h.cached.Format(time.DateTime), oldest, h.failing[oldest].err)
	}
	if more := len(h.failing) - 1; more > 0 {
		r.Text += fmt.Sprintf(" (and %d more queries)", more)
	}
	return r
}
