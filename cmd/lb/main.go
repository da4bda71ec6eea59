// Command lb is a layer-7 load balancer: `lb -config rules.yml` routes requests
// by port, hostname and path, and balances them over healthy servers.
package main

import (
	"fmt"
	"os"
	"strings"

	"arzur.net/lb/rules"
)

// Exit statuses. One that a second signal forces is 128 plus its number.
const (
	exitOK    = 0
	exitBad   = 1 // a bad configuration, or something the system refuses
	exitUsage = 2 // a command line that makes no sense
)

// commands are the subcommands. Running is none: it is what happens without one.
func commands() map[string]func(args []string) int {
	return map[string]func(args []string) int{
		"check":   check,
		"demo":    demo,
		"health":  askHealth,
		"match":   match,
		"help":    func([]string) int { return help(os.Stdout) },
		"version": func([]string) int { return printVersion(os.Stdout) },
	}
}

func main() { os.Exit(command(os.Args[1:])) }

// command does what the command line says and returns the exit status.
func command(args []string) int {
	if len(args) == 1 && (args[0] == "-version" || args[0] == "--version") {
		return printVersion(os.Stdout) // what most programs understand
	}
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return run(args)
	}
	if c := commands()[args[0]]; c != nil {
		return c(args[1:])
	}
	return usage("unknown command %q%s", args[0], meant(args[0]))
}

// meant guesses what an unknown command was to be.
func meant(word string) string {
	if _, err := os.Stat(word); err == nil {
		return fmt.Sprintf("; did you mean lb -config %s?", word)
	}
	known := []string{"run"} // what other programs call it
	for name := range commands() {
		known = append(known, name)
	}
	near := rules.NearMisses(word, known)
	switch {
	case len(near) == 0:
		return ""
	case near[0] == "run":
		return "; running needs no command: lb -config rules.yml"
	}
	return fmt.Sprintf("; did you mean lb %s?", near[0])
}

// usage reports a mistake in the command line.
func usage(format string, args ...any) int {
	fmt.Fprintf(os.Stderr, "lb: "+format+"\n`lb help` lists commands and flags.\n", args...)
	return exitUsage
}

// bad reports why the program ends, one line per mistake, as they are: they name
// file and line.
func bad(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return exitBad
}
