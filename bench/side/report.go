//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// report is everything that was measured. It is written as Markdown.
type report struct {
	options options
	machine []string
	plain   figures
	secure  figures
}

// peers are the proxies that lb is to be better than.
var peers = []string{"nginx", "HAProxy"}

func (r report) String() string {
	var b strings.Builder
	b.WriteString("# lb side by side\n\n")
	for _, line := range r.machine {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	fmt.Fprintf(&b, "- backends, contenders and wrk share the machine; medians of %d alternating rounds of %s; %d threads each\n",
		r.options.rounds, r.options.duration, r.options.threads)
	r.writeFigures(&b, r.plain, "")
	r.writeFigures(&b, r.secure, "TLS: ")
	return b.String()
}

func (r report) writeFigures(b *strings.Builder, f figures, prefix string) {
	if len(f.speed) == 0 {
		return
	}
	for _, path := range r.options.paths {
		for _, c := range r.options.connections {
			fmt.Fprintf(b, "\n## %s%s, %d connections\n\n", prefix, path, c)
			writeSpeed(b, f.under(path, c))
		}
	}
	if len(f.handshakes) > 0 {
		fmt.Fprintf(b, "\n## %sconnections for one request each\n\n", prefix)
		writeHandshakes(b, f.handshakes)
	}
	if len(f.memory) > 0 {
		fmt.Fprintf(b, "\n## %s%d idle keep-alive connections\n\n", prefix, r.options.idle)
		writeMemory(b, f.memory)
	}
}

// under returns what all contenders did under one load.
func (f figures) under(path string, connections int) []speed {
	var all []speed
	for _, m := range f.speed {
		if m.path == path && m.connections == connections {
			all = append(all, m)
		}
	}
	return all
}

func writeSpeed(b *strings.Builder, all []speed) {
	b.WriteString("| proxy | requests/s | p50, ms | p99, ms | CPU, µs/request | failed |\n|---|---|---|---|---|---|\n")
	var lb *speed
	for i, m := range all {
		fmt.Fprintf(b, "| %s | %.0f | %.2f | %.2f | %.2f | %d |\n",
			m.contender, m.perSecond(), m.p50()*1e3, m.p99()*1e3, m.cpu(), m.failed())
		if m.contender == "lb" {
			lb = &all[i]
		}
	}
	others := against(all)
	if lb == nil || len(others) == 0 {
		return
	}
	b.WriteString("\n| lb divided by | requests/s | p99 | CPU/request |\n|---|---|---|---|\n")
	for _, other := range others {
		fmt.Fprintf(b, "| %s | %.2f | %.2f | %.2f |\n", other.name,
			lb.perSecond()/other.perSecond, lb.p99()/other.p99, lb.cpu()/other.cpu)
	}
}

// other is what lb is divided by.
type other struct {
	name                string
	perSecond, p99, cpu float64
}

// against returns the figures of everyone but lb, and of the better peer, which is
// the better one figure by figure.
func against(all []speed) []other {
	var others []other
	var better other
	for _, m := range all {
		if m.contender == "lb" {
			continue
		}
		f := other{m.contender, m.perSecond(), m.p99(), m.cpu()}
		others = append(others, f)
		if !slices.Contains(peers, f.name) {
			continue
		}
		if better.name == "" {
			better = f
			better.name = "the better of nginx and HAProxy"
			continue
		}
		better.perSecond = max(better.perSecond, f.perSecond)
		better.p99 = min(better.p99, f.p99)
		better.cpu = min(better.cpu, f.cpu)
	}
	if better.name != "" {
		others = append(others, better)
	}
	return others
}

// writeHandshakes tells how many connections a second of CPU time is enough for.
func writeHandshakes(b *strings.Builder, all []handshakes) {
	b.WriteString("| proxy | full handshakes per CPU second | resumed |\n|---|---|---|\n")
	var lb, better handshakes // µs, so that less is better
	for _, h := range all {
		fmt.Fprintf(b, "| %s | %.0f | %.0f |\n", h.contender, 1e6/h.full, 1e6/h.resumed)
		switch {
		case h.contender == "lb":
			lb = h
		case !slices.Contains(peers, h.contender):
		case better.contender == "":
			better = h
		default:
			better.full, better.resumed = min(better.full, h.full), min(better.resumed, h.resumed)
		}
	}
	if lb.contender != "" && better.contender != "" {
		fmt.Fprintf(b, "\n| lb divided by | full | resumed |\n|---|---|---|\n| the better of nginx and HAProxy | %.2f | %.2f |\n",
			better.full/lb.full, better.resumed/lb.resumed)
	}
}

func writeMemory(b *strings.Builder, all []memory) {
	b.WriteString("| proxy | resident before, KiB | with them, KiB | bytes/connection |\n|---|---|---|---|\n")
	for _, m := range all {
		fmt.Fprintf(b, "| %s | %.0f | %.0f | %.0f |\n", m.contender, m.before/1024, m.with/1024, m.each)
	}
}

// write puts the report into the folder of results, named for the day. A later
// report of a day replaces an earlier one.
func (r report) write(now time.Time) error {
	if r.options.out == "" {
		return nil
	}
	if err := os.MkdirAll(r.options.out, 0o755); err != nil {
		return fmt.Errorf("create folder of results: %w", err)
	}
	path := filepath.Join(r.options.out, now.Format(time.DateOnly)+".md")
	if err := os.WriteFile(path, []byte(r.String()), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	fmt.Println("\nwritten to", path)
	return nil
}

// check returns an error when requests failed: the figures are then worth nothing.
func (r report) check() error {
	var errs []error
	for _, m := range slices.Concat(r.plain.speed, r.secure.speed) {
		if n := m.failed(); n > 0 {
			errs = append(errs, fmt.Errorf("%s, %s, %d connections: %d requests failed", m.contender, m.path, m.connections, n))
		}
	}
	return errors.Join(errs...)
}
