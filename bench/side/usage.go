//go:build linux

package main

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc: USER_HZ is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// usage is what a process and its children have used of the machine.
type usage struct {
	cpu time.Duration // user and system time since the start
	rss int           // resident memory, bytes
}

// usageOf adds up the process pid and its descendants. proc is /proc.
func usageOf(proc fs.FS, pid int) (usage, error) {
	stats, err := readStats(proc)
	if err != nil {
		return usage{}, err
	}
	if _, ok := stats[pid]; !ok {
		return usage{}, fmt.Errorf("read usage of process %d: it has ended", pid)
	}
	var u usage
	for id, s := range stats {
		if !descends(stats, id, pid) {
			continue
		}
		u.cpu += s.cpu
		rss, err := readRSS(proc, id)
		if err != nil {
			return usage{}, err
		}
		u.rss += rss
	}
	return u, nil
}

type stat struct {
	parent int
	cpu    time.Duration
}

func descends(stats map[int]stat, pid, ancestor int) bool {
	for pid != 0 && pid != ancestor {
		pid = stats[pid].parent
	}
	return pid == ancestor
}

func readStats(proc fs.FS) (map[int]stat, error) {
	entries, err := fs.ReadDir(proc, ".")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	stats := map[int]stat{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := fs.ReadFile(proc, e.Name()+"/stat")
		if err != nil {
			continue // it has ended since
		}
		if stats[pid], err = parseStat(string(b)); err != nil {
			return nil, fmt.Errorf("read /proc/%d/stat: %w", pid, err)
		}
	}
	return stats, nil
}

// parseStat reads fields 4, 14 and 15 of proc(5)'s stat.
func parseStat(s string) (stat, error) {
	// The name in field 2 may hold anything, blanks and parentheses too.
	fields := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(fields) < 13 {
		return stat{}, fmt.Errorf("parse %q: too few fields", s)
	}
	var n [3]int
	for i, at := range []int{1, 11, 12} {
		v, err := strconv.Atoi(fields[at])
		if err != nil {
			return stat{}, fmt.Errorf("parse %q: %w", s, err)
		}
		n[i] = v
	}
	return stat{parent: n[0], cpu: time.Duration(n[1]+n[2]) * tick}, nil
}

// readRSS takes the sum over the mappings, which is exact; the counters of statm
// and status may lag behind by some hundred KiB.
func readRSS(proc fs.FS, pid int) (int, error) {
	b, err := fs.ReadFile(proc, strconv.Itoa(pid)+"/smaps_rollup")
	if err != nil {
		return 0, fmt.Errorf("read memory of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(b)) {
		if kib, ok := strings.CutPrefix(line, "Rss:"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(kib), " kB"))
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("read memory of process %d: no Rss line", pid)
}
