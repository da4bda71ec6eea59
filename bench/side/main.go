//go:build linux

// Command side measures lb side by side with nginx, HAProxy, a plain fasthttp
// proxy and the bare pass-through floor: the same rule, the same backends, the
// same load, in alternating rounds. See bench/README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type options struct {
	lb          string
	only        string
	connections []int
	paths       []string
	rounds      int
	duration    time.Duration
	threads     int
	idle        int
	http        bool
	tls         bool
	streams     bool
	out         string
	require     bool
}

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err = run(ctx, o)
	if ctx.Err() != nil {
		err = errors.New("interrupted") // which is why wrk ended with an error
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	o := options{require: os.Getenv("LB_TEST_REQUIRE") == "all"}
	f := flag.NewFlagSet("side", flag.ExitOnError)
	f.StringVar(&o.lb, "lb", "", "lb `binary` to measure (default: built from this tree)")
	f.StringVar(&o.only, "only", "", "contenders to run, separated by commas (default: all)")
	c := f.String("c", "64", "numbers of `connections`, separated by commas")
	paths := f.String("paths", "/", "what to ask for: / is 128 bytes, /10k, /1m; separated by commas")
	f.IntVar(&o.rounds, "rounds", 5, "rounds of every measurement; the medians are reported")
	f.DurationVar(&o.duration, "duration", 4*time.Second, "length of a round, in whole seconds")
	f.IntVar(&o.threads, "threads", 2, "threads of each contender, and of wrk")
	f.IntVar(&o.idle, "idle", 5000, "idle connections of the memory measurement; 0 leaves it out")
	f.BoolVar(&o.http, "http", true, "measure HTTP in the clear: requests and memory")
	f.BoolVar(&o.tls, "tls", true, "measure with TLS too: requests, handshakes and memory")
	f.BoolVar(&o.streams, "streams", true, "measure tcp and udp too: requests, connections, datagrams and memory")
	f.StringVar(&o.out, "out", "bench/results", "`folder` of the report; empty writes none")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	for s := range strings.SplitSeq(*c, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return o, fmt.Errorf("-c %q: want numbers of connections", *c)
		}
		o.connections = append(o.connections, n)
	}
	o.paths = strings.Split(*paths, ",")
	if o.rounds < 1 || o.threads < 1 || o.duration < time.Second || o.duration%time.Second != 0 {
		return o, fmt.Errorf("want at least one round of whole seconds and one thread")
	}
	return o, nil
}

// run is the story of a benchmark: build, start, check, measure, report.
func run(ctx context.Context, o options) error {
	if _, err := exec.LookPath("wrk"); err != nil {
		return fmt.Errorf("find the load generator: %w", err)
	}
	dir, err := os.MkdirTemp("", "lb-bench-")
	if err != nil {
		return fmt.Errorf("create folder: %w", err)
	}
	defer os.RemoveAll(dir)

	contenders, err := present(o)
	if err != nil {
		return err
	}
	s := site{dir: dir, lb: o.lb, threads: o.threads, connections: slices.Max(o.connections)}
	ours := slices.ContainsFunc(contenders, func(c contender) bool { return strings.HasPrefix(c.name, "lb") }) && s.lb == ""
	if ours {
		s.lb = filepath.Join(dir, "lb")
	}
	if err := build(ctx, dir, ours); err != nil {
		return err
	}
	backends, err := startBackends(&s)
	if err != nil {
		return err
	}
	defer backends.stop()

	r := report{options: o, machine: describe(ctx, s, contenders)}
	if o.http {
		if r.plain, err = measure(ctx, o, s, contenders); err != nil {
			return err
		}
	}
	if o.tls {
		if r.secure, err = measureSecure(ctx, o, s, contenders); err != nil {
			return err
		}
	}
	if o.streams {
		if r.streams, err = measureStreams(ctx, o, s, contenders); err != nil {
			return err
		}
	}
	fmt.Println()
	fmt.Print(r.String())
	if err := r.write(time.Now()); err != nil {
		return err
	}
	return r.check()
}

// figures are what was measured of all contenders in one way: in the clear, with
// TLS, or of streams.
type figures struct {
	speed      []speed
	handshakes []prices // with TLS only
	memory     []memory

	opened, datagrams []prices // of streams only
}

func measure(ctx context.Context, o options, s site, contenders []contender) (f figures, err error) {
	if f.speed, err = measureSpeed(ctx, o, s, contenders); err != nil {
		return f, err
	}
	if s.secure != nil {
		if f.handshakes, err = measurePrices(ctx, o, s, contenders, "handshakes", handshakes); err != nil {
			return f, err
		}
	}
	if o.idle > 0 {
		f.memory, err = measureMemory(ctx, o, s, contenders)
	}
	return f, err
}

// measureSecure is measure with TLS between the clients and the contenders.
func measureSecure(ctx context.Context, o options, s site, contenders []contender) (f figures, err error) {
	contenders = slices.DeleteFunc(slices.Clone(contenders), func(c contender) bool { return c.plain })
	if len(contenders) == 0 {
		return f, nil
	}
	if s.secure, err = newIdentity(s.dir); err != nil {
		return f, err
	}
	fmt.Println("\nwith TLS")
	return measure(ctx, o, s, contenders)
}
