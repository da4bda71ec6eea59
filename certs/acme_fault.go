package certs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
)

// How orders end: label values of lb_acme_orders_total.
const (
	resultIssued      = "issued"
	resultUnverified  = "unverified"   // the CA did not get the challenge's answer
	resultRefused     = "refused"      // the CA does not want to
	resultRateLimited = "rate_limited" // not now
	resultUnreachable = "unreachable"  // the CA is down, slow or broken
	resultCache       = "cache"        // nothing could be kept
)

var results = []string{resultIssued, resultUnverified, resultRefused, resultRateLimited, resultUnreachable, resultCache}

// Bounds of the back-off. CAs count failures by the hour.
const (
	backoffFirst = time.Minute
	backoffMost  = time.Hour
	// patience bounds what a CA may ask for; Let's Encrypt's longest window is a week.
	patience = 7 * 24 * time.Hour
)

// backoff doubles from a minute to an hour, give or take a quarter.
func backoff(n int) time.Duration {
	d := min(backoffFirst<<min(max(n-1, 0), 10), backoffMost)
	return d*3/4 + rand.N(d/2)
}

// cacheError is one of the Cache, in the middle of an order.
type cacheError struct{ error }

func (e *cacheError) Unwrap() error { return e.error }

// fault is a failed order as others see it.
type fault struct {
	result string
	words  string
	after  time.Duration // the CA asked for; 0: it did not
}

func faultOf(err error) fault {
	f := fault{result: resultRefused, words: words(err)}
	var cache *cacheError
	var unverified *acme.AuthorizationError
	var order *acme.OrderError
	var problem *acme.Error
	var syntax *json.SyntaxError
	var down resting
	switch {
	case errors.As(err, &down):
		f.result = resultUnreachable
	case errors.As(err, &cache):
		f.result = resultCache
	case errors.As(err, &unverified):
		f.result = resultUnverified
	case errors.As(err, &problem):
		f.after = retryAfter(problem.Header)
		switch {
		case strings.HasSuffix(problem.ProblemType, ":rateLimited") || problem.StatusCode == http.StatusTooManyRequests:
			f.result = resultRateLimited
		case problem.StatusCode >= 500:
			f.result = resultUnreachable
		}
	case errors.As(err, &order):
	case errors.Is(err, context.DeadlineExceeded):
		f.result, f.words = resultUnreachable, "the CA did not answer in time: "+f.words
	case isTransport(err):
		f.result, f.words = resultUnreachable, "the CA cannot be reached: "+f.words
	case errors.As(err, &syntax), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // no JSON, or none to its end
		f.result, f.words = resultUnreachable, "the CA's answer is not ACME: "+f.words
	}
	return f
}

// isTransport tells what went wrong on the way from what the CA said.
func isTransport(err error) bool {
	var timeout interface{ Timeout() bool } // url.Error, net.Error
	return errors.As(err, &timeout)
}

// words is what an error says, without what only a program wants to know.
func words(err error) string {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []string
		for _, e := range joined.Unwrap() {
			all = append(all, words(e))
		}
		return strings.Join(all, "; ")
	}
	text := err.Error()
	var unverified *acme.AuthorizationError
	var order *acme.OrderError
	var problem *acme.Error
	switch {
	case errors.As(err, &unverified) && len(unverified.Errors) > 0:
		text = strings.Replace(text, unverified.Error(), words(errors.Join(unverified.Errors...)), 1)
	case errors.As(err, &problem):
		kind := strings.TrimPrefix(problem.ProblemType, "urn:ietf:params:acme:error:")
		text = strings.Replace(text, problem.Error(), fmt.Sprintf("%s (%s)", problem.Detail, kind), 1)
	case errors.As(err, &order) && order.Problem != nil:
		text = strings.Replace(text, order.Error(), words(order.Problem), 1)
	}
	return strings.ReplaceAll(text, "acme: ", "")
}

// retryAfter is what a response asks for (RFC 9110 section 10.2.3), within reason.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if seconds, err := strconv.ParseInt(v, 10, 32); err == nil {
		return min(max(time.Duration(seconds)*time.Second, 0), patience)
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(time.Until(at), 0), patience)
	}
	return 0
}
