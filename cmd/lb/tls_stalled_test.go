package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// clientHello is what a client begins with.
func clientHello(t *testing.T) []byte {
	t.Helper()
	ours, its := net.Pipe()
	defer ours.Close()
	go func() { // ends with the pipe
		_ = tls.Client(its, &tls.Config{ServerName: "arzur.net"}).Handshake()
		its.Close()
	}()
	hello := make([]byte, 16<<10)
	n, err := ours.Read(hello)
	require.NoError(t, err)
	return hello[:n]
}

// stall sends what it is given, and then nothing more, and says how long it takes
// until it is cut off.
func stall(address string, sent []byte) (time.Duration, error) {
	begun := time.Now()
	c, err := net.Dial("tcp", address)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if _, err := c.Write(sent); err != nil {
		return 0, err
	}
	if err := c.SetReadDeadline(begun.Add(patience)); err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, c) // a reset is as good as an end
	if e, timeout := err.(net.Error); timeout && e.Timeout() {
		return 0, err
	}
	return time.Since(begun), nil
}

// TestTLSStalled_TwoThousandHurtNobody has clients stop at every point of their
// handshake, and asks on meanwhile.
func TestTLSStalled_TwoThousandHurtNobody(t *testing.T) {
	const stalled, timeout = 2000, 4 * time.Second // in which those who shake hands do, on a busy machine too
	a := newAuthority(t)
	s := secured(t, a, fmt.Sprintf("defaults: {handshake_timeout: %s}\n", timeout), namedServer(t, "one"))
	hello := clientHello(t)
	points := [][]byte{nil, hello[:1], hello[:5], hello[:len(hello)/2], hello[:len(hello)-1], hello}

	var running sync.WaitGroup
	took, errs := make([]time.Duration, stalled), make([]error, stalled)
	for i := range stalled {
		running.Go(func() { took[i], errs[i] = stall(local(s.port), points[i%len(points)]) })
	}
	ended := make(chan struct{})
	go func() { running.Wait(); close(ended) }()
	asked := 0
	for over := false; !over; asked++ {
		require.Equal(t, "one\n200", curlTLS(t, a, "arzur.net", s.port))
		select {
		case <-ended:
			over = true
		default:
		}
	}
	for i := range stalled {
		require.NoError(t, errs[i], "client %d", i)
		require.Greater(t, took[i], timeout-100*time.Millisecond, "client %d", i)
	}
	// How long others wait until they are accepted, or hear of their end, is up to the machine.
	require.Less(t, slices.Min(took), timeout+2*time.Second)
	require.Greater(t, asked, 5)
	require.Eventually(t, func() bool {
		metrics := curl(t, "http://"+local(s.control)+"/metrics")
		return strings.Contains(metrics, fmt.Sprintf(`lb_tls_handshakes_total{result="timeout",side="client"} %d`, stalled)) &&
			strings.Contains(metrics, "\nlb_tls_handshakes_in_progress 0\n")
	}, patience, 100*time.Millisecond)
	t.Logf("%d requests meanwhile, none failed", asked)
}

// TestTLSStalled_ProgressGainsNoTime sends a ClientHello byte by byte.
func TestTLSStalled_ProgressGainsNoTime(t *testing.T) {
	s := secured(t, newAuthority(t), "defaults: {handshake_timeout: 500ms}\n", namedServer(t, "one"))
	c, err := net.Dial("tcp", local(s.port))
	require.NoError(t, err)
	defer c.Close()
	begun := time.Now()
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for _, b := range clientHello(t) {
		<-pace.C
		if _, err = c.Write([]byte{b}); err != nil {
			break
		}
	}
	require.True(t, errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE), "%v", err)
	require.Less(t, time.Since(begun), 9*time.Second, "the default is 10 s, and all of the hello takes longer")
}
