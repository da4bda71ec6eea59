package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"go.uber.org/zap/zapcore"

	"arzur.net/lb/rules"
)

// flags are what the command line says. An empty one leaves it to the
// configuration.
type flags struct {
	configs   paths
	stack     string
	docker    bool
	swarm     bool
	consul    bool
	admin     string // host:port or "off"
	logLevel  string
	logFormat string
	loops     int
}

// paths is a flag that may be repeated.
type paths []string

// String implements flag.Value.
func (p *paths) String() string { return strings.Join(*p, " ") }

// Set implements flag.Value.
func (p *paths) Set(path string) error {
	if path == "" {
		return errors.New("want a file or a folder")
	}
	*p = append(*p, path)
	return nil
}

func (f *flags) defineConfig(set *flag.FlagSet) {
	set.Var(&f.configs, "config", "")
	set.StringVar(&f.stack, "stack", "", "")
	set.BoolVar(&f.docker, "docker", false, "")
	set.BoolVar(&f.swarm, "swarm", false, "")
	set.BoolVar(&f.consul, "consul", false, "")
}

func (f *flags) defineRun(set *flag.FlagSet) {
	set.StringVar(&f.admin, "admin", "", "")
	set.StringVar(&f.logLevel, "log-level", "", "")
	set.StringVar(&f.logFormat, "log-format", "", "")
	set.IntVar(&f.loops, "loops", 0, "")
}

// errHelp asks for the help text instead.
var errHelp = flag.ErrHelp

// parse reads args, in which nothing but flags may stand.
func parse(set *flag.FlagSet, args []string) error {
	err := parseFlags(set, args)
	if err == nil && set.NArg() > 0 {
		return fmt.Errorf("unexpected %q%s", set.Arg(0), misplaced(set.Arg(0)))
	}
	return err
}

// parseAround reads args, in which one word may stand among the flags.
func parseAround(set *flag.FlagSet, args []string, word *string) error {
	err := parseFlags(set, args)
	if err != nil || set.NArg() == 0 {
		return err
	}
	*word = set.Arg(0)
	return parse(set, set.Args()[1:])
}

// parseFlags reads args up to the first that is no flag.
func parseFlags(set *flag.FlagSet, args []string) error {
	set.Init("lb", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Usage = func() {}
	err := set.Parse(args)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return err
	}
	if text, wrong := strings.CutSuffix(err.Error(), ": parse error"); wrong && strings.HasPrefix(text, "invalid value") {
		return errors.New(text + ": want a whole number")
	} else if wrong {
		return errors.New(text + ": want true or false")
	}
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return err
	}
	var known []string
	set.VisitAll(func(f *flag.Flag) { known = append(known, f.Name) })
	text := "unknown flag -" + name
	if near := rules.NearMisses(name, known); len(near) > 0 {
		text += "; did you mean -" + near[0] + "?"
	}
	return errors.New(text)
}

// misplaced is for those who forget -config, or that a command comes first.
func misplaced(word string) string {
	_, err := os.Stat(word)
	switch {
	case commands()[word] != nil:
		return "; a command comes first: lb " + word
	case err == nil || strings.HasSuffix(word, ".yml") || strings.HasSuffix(word, ".yaml"):
		return "; did you mean -config " + word + "?"
	}
	return ""
}

// check finds what is wrong with the values.
func (f *flags) check() error {
	switch f.logLevel {
	case "", "debug", "info", "warn", "error":
	default:
		return fmt.Errorf("-log-level %q: want debug, info, warn or error", f.logLevel)
	}
	switch f.logFormat {
	case "", "auto", "console", "json":
	default:
		return fmt.Errorf("-log-format %q: want auto, console or json", f.logFormat)
	}
	if f.loops < 0 || f.loops > 1024 {
		return fmt.Errorf("-loops %d: want 1 to 1024, or 0 for one per CPU", f.loops)
	}
	if host, port, err := net.SplitHostPort(f.admin); f.admin != "" && f.admin != "off" {
		if _, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil || strings.ContainsAny(host, " /") {
			return fmt.Errorf("-admin %q: want host:port such as 127.0.0.1:8080, or off", f.admin)
		}
	}
	return nil
}

// discovers says whether the command line asks for a Source besides files.
func (f *flags) discovers() bool { return f.docker || f.swarm || f.consul }

// level is the log level that the command line asks for, or else byDefault.
func (f *flags) level(byDefault zapcore.Level) zapcore.Level {
	if l, err := zapcore.ParseLevel(f.logLevel); f.logLevel != "" && err == nil {
		return l
	}
	return byDefault
}
