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
	streams figures
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
	r.writeFigures(&b, r.plain, "", "keep-alive connections")
	r.writeFigures(&b, r.secure, "TLS: ", "keep-alive connections")
	r.writeFigures(&b, r.streams, "tcp: ", "tunnels")
	return b.String()
}

// writeFigures writes all that there are. idle is what the idle connections were.
func (r report) writeFigures(b *strings.Builder, f figures, prefix, idle string) {
	for i, m := range f.speed {
		if i == 0 || m.load() != f.speed[i-1].load() {
			fmt.Fprintf(b, "\n## %s%s\n\n", prefix, m.load())
			writeSpeed(b, f.under(m.load()))
		}
	}
	writePrices(b, prefix+"connections for one request each", handshakes, f.handshakes)
	writePrices(b, prefix+"connections for one request each", openings, f.opened)
	if len(f.memory) > 0 {
		fmt.Fprintf(b, "\n## %s%d idle %s\n\n", prefix, r.options.idle, idle)
		writeMemory(b, f.memory)
	}
	writePrices(b, "udp: datagrams of 64 bytes", questions, f.datagrams)
}

// under returns what all contenders did under one load.
func (f figures) under(load string) []speed {
	return slices.DeleteFunc(slices.Clone(f.speed), func(m speed) bool { return m.load() != load })
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

// writePrices tells how much a second of CPU time is enough for.
func writePrices(b *strings.Builder, title string, kinds []kind, all []prices) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n| proxy |", title)
	for _, k := range kinds {
		fmt.Fprintf(b, " %s |", k.title)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(kinds)) + "\n")
	var lb, better []float64 // µs, so that less is better
	for _, p := range all {
		fmt.Fprintf(b, "| %s |", p.contender)
		for _, price := range p.each {
			fmt.Fprintf(b, " %.0f |", 1e6/price)
		}
		b.WriteString("\n")
		switch {
		case p.contender == "lb":
			lb = p.each
		case !slices.Contains(peers, p.contender):
		case better == nil:
			better = slices.Clone(p.each)
		default:
			for i := range better {
				better[i] = min(better[i], p.each[i])
			}
		}
	}
	if lb == nil || better == nil {
		return
	}
	b.WriteString("\n| lb divided by |")
	for _, k := range kinds {
		fmt.Fprintf(b, " %s |", k.short)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(kinds)) + "\n| the better of nginx and HAProxy |")
	for i := range better {
		fmt.Fprintf(b, " %.2f |", better[i]/lb[i])
	}
	b.WriteString("\n")
}

func writeMemory(b *strings.Builder, all []memory) {
	b.WriteString("| proxy | resident before, KiB | with them, KiB | bytes/connection |\n|---|---|---|---|\n")
	for _, m := range all {
		fmt.Fprintf(b, "| %s | %.0f | %.0f | %.0f |\n", m.contender, m.before/1024, m.with/1024, m.each)
	}
}

// write puts the report into the folder of results, named for the day, and for
// streams if there is nothing else in it. A later report replaces an earlier one.
func (r report) write(now time.Time) error {
	if r.options.out == "" {
		return nil
	}
	if err := os.MkdirAll(r.options.out, 0o755); err != nil {
		return fmt.Errorf("create folder of results: %w", err)
	}
	name := now.Format(time.DateOnly)
	if len(r.plain.speed)+len(r.secure.speed) == 0 {
		name += "-streams"
	}
	path := filepath.Join(r.options.out, name+".md")
	if err := os.WriteFile(path, []byte(r.String()), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	fmt.Println("\nwritten to", path)
	return nil
}

// check returns an error when requests failed: the figures are then worth nothing.
func (r report) check() error {
	var errs []error
	for _, m := range slices.Concat(r.plain.speed, r.secure.speed, r.streams.speed) {
		if n := m.failed(); n > 0 {
			errs = append(errs, fmt.Errorf("%s, %s, %d connections: %d requests failed", m.contender, m.path, m.connections, n))
		}
	}
	return errors.Join(errs...)
}
