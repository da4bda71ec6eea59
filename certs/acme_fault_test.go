package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"hash/maphash"
	"math/big"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/acme"
)

func TestBackoff_DoublesFromAMinuteToAnHour(t *testing.T) {
	f := func(n int, want time.Duration) {
		t.Helper()
		for range 100 {
			require.WithinRange(t, time.Time{}.Add(backoff(n)), time.Time{}.Add(want*3/4), time.Time{}.Add(want*5/4))
		}
	}
	f(0, time.Minute)
	f(1, time.Minute)
	f(2, 2*time.Minute)
	f(6, 32*time.Minute)
	f(7, time.Hour)
	f(1000, time.Hour)
}

func TestRetryAfter_IsWithinReason(t *testing.T) {
	f := func(value string, want time.Duration) {
		t.Helper()
		require.Equal(t, want, retryAfter(http.Header{"Retry-After": {value}}), value)
	}
	f("", 0)
	f("120", 2*time.Minute)
	f("-1", 0)
	f("soon", 0)
	f("99999999", patience)
	f("Fri, 31 Dec 2399 23:59:59 GMT", patience)
	f("Fri, 31 Dec 1999 23:59:59 GMT", 0)
	f("999999999999999999999", 0)
}

func TestWords_LeaveOutWhatOnlyProgramsWantToKnow(t *testing.T) {
	no := &acme.Error{StatusCode: 403, ProblemType: "urn:ietf:params:acme:error:unauthorized", Detail: "wrong token"}
	f := func(err error, want string) {
		t.Helper()
		require.Equal(t, want, words(err))
	}
	f(errors.New("acme: no"), "no")
	f(fmt.Errorf("order: %w", no), "order: wrong token (unauthorized)")
	f(fmt.Errorf("challenge http-01: %w", &acme.AuthorizationError{URI: "u", Identifier: "a", Errors: []error{no}}), "challenge http-01: wrong token (unauthorized)")
	f(fmt.Errorf("challenge http-01: %w", &acme.AuthorizationError{URI: "u", Identifier: "a"}), "challenge http-01: authorization error for a: ")
	f(fmt.Errorf("finalize: %w", &acme.OrderError{OrderURL: "u", Status: "invalid", Problem: no}), "finalize: wrong token (unauthorized)")
	f(fmt.Errorf("finalize: %w", &acme.OrderError{OrderURL: "u", Status: "invalid"}), "finalize: order u status: invalid")
	f(errors.Join(errors.New("one"), fmt.Errorf("order: %w", no)), "one; order: wrong token (unauthorized)")
}

func TestRenewAt_IsInTheLastThird(t *testing.T) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const days = 24 * time.Hour
	f := func(lifetime, before, earliest, latest time.Duration) {
		t.Helper()
		a := &ACME{config: ACMEConfig{RenewBefore: before}, seed: maphash.MakeSeed()}
		spread := make(map[time.Time]bool)
		for n := range int64(100) {
			at := a.renewAt(&x509.Certificate{SerialNumber: big.NewInt(n), NotBefore: began, NotAfter: began.Add(lifetime)})
			require.WithinRange(t, at, began.Add(earliest), began.Add(latest))
			spread[at] = true
		}
		require.Greater(t, len(spread), 50, "all would be renewed at once")
	}
	f(90*days, 0, 57*days, 60*days)
	f(90*days, 20*days, 68*days, 70*days)
	f(6*days, 0, 3*days, 4*days)
	f(6*days, 30*days, 2*days, 3*days)
}
