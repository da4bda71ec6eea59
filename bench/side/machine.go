//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// describe returns the lines that say where and with what it was measured.
func describe(ctx context.Context, s site, contenders []contender) []string {
	lines := []string{
		fmt.Sprintf("%d CPUs, %s; Linux %s; load average before: %s",
			runtime.NumCPU(), cpuModel(), firstWord("/proc/sys/kernel/osrelease"), firstWord("/proc/loadavg")),
		"this tree is " + said(ctx, "git", "describe", "--always", "--dirty"),
		runtime.Version() + "; fasthttp " + said(ctx, "go", "list", "-m", "-f", "{{.Version}}", "github.com/valyala/fasthttp"),
	}
	for _, c := range contenders {
		if c.version != nil {
			lines = append(lines, said(ctx, c.version[0], c.version[1:]...))
		}
	}
	// wrk has no option for its version alone: it prints it above its usage and exits with 1.
	return append(lines, said(ctx, "wrk", "-v"))
}

// said returns the first line that a command prints, whatever its exit code.
func said(ctx context.Context, name string, args ...string) string {
	out, _ := exec.CommandContext(ctx, name, args...).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

func firstWord(path string) string {
	b, err := os.ReadFile(path)
	if err != nil || len(b) == 0 {
		return "unknown"
	}
	return strings.Fields(string(b))[0]
}

func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	for line := range strings.Lines(string(b)) {
		if key, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return runtime.GOARCH
}
