//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// load is what wrk says about one run.
type load struct {
	requests  int
	perSecond float64
	p50, p99  time.Duration
	failed    int // socket errors, and answers that are neither 2xx nor 3xx
}

// runWrk loads url for d with c connections.
func runWrk(ctx context.Context, url string, c, threads int, d time.Duration) (load, error) {
	cmd := exec.CommandContext(ctx, "wrk",
		"-t"+strconv.Itoa(min(c, threads)), "-c"+strconv.Itoa(c), fmt.Sprintf("-d%ds", int(d.Seconds())),
		"--latency", "-H", "Host: "+hostname, url)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return load{}, fmt.Errorf("run wrk on %q: %w\n%s", url, err, out)
	}
	l, err := parseWrk(string(out))
	if err != nil {
		return load{}, fmt.Errorf("read what wrk says about %q: %w\n%s", url, err, out)
	}
	return l, nil
}

// Whatever wrk says; the last two lines are there only when something failed.
var (
	wrkNumbers = regexp.MustCompile(`(?s)\n\s+50%\s+(\S+).*\n\s+99%\s+(\S+)\n\s+(\d+) requests in .*\nRequests/sec:\s+([\d.]+)`)
	wrkSocket  = regexp.MustCompile(`\n\s+Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
	wrkStatus  = regexp.MustCompile(`\n\s+Non-2xx or 3xx responses: (\d+)`)
)

func parseWrk(out string) (load, error) {
	m := wrkNumbers.FindStringSubmatch(out)
	if m == nil {
		return load{}, errors.New("not what wrk 4 prints with --latency")
	}
	var l load
	var errs [4]error
	l.p50, errs[0] = time.ParseDuration(m[1])
	l.p99, errs[1] = time.ParseDuration(m[2])
	l.requests, errs[2] = strconv.Atoi(m[3])
	l.perSecond, errs[3] = strconv.ParseFloat(m[4], 64)
	if err := errors.Join(errs[:]...); err != nil {
		return load{}, err
	}
	if l.requests == 0 {
		return load{}, errors.New("not one request was answered")
	}
	failed := append(wrkSocket.FindStringSubmatch(out), wrkStatus.FindStringSubmatch(out)...)
	for _, s := range failed {
		n, err := strconv.Atoi(s)
		if err != nil {
			continue // the whole line, which stands before its numbers
		}
		l.failed += n
	}
	return l, nil
}
