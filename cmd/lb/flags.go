package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
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
	set.Init("lb", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Usage = func() {}
	err := set.Parse(args)
	if err == nil && set.NArg() > 0 {
		return fmt.Errorf("unexpected %q%s", set.Arg(0), asConfig(set.Arg(0)))
	}
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return err
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

// asConfig is for those who forget -config.
func asConfig(word string) string {
	if _, err := os.Stat(word); err == nil {
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
