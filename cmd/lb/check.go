package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"arzur.net/lb/configs"
)

// check validates a configuration. What is not in force goes to stderr even if
// the rest can be served.
func check(args []string) int {
	var f flags
	var set flag.FlagSet
	f.defineConfig(&set)
	verbose := set.Bool("v", false, "")
	if err := parse(&set, args); errors.Is(err, errHelp) {
		return help(os.Stdout)
	} else if err != nil {
		return usage("check: %v", err)
	}
	if len(f.configs) == 0 && !f.discovers() {
		return usage("check: no -config; try lb check -config rules.yml")
	}
	l, err := f.load()
	if err != nil {
		return bad(err)
	}
	problems := slices.Concat(l.problems, l.table.Doubts(), untrusted(l.table, l.Config), checkCertificates(l))
	for i := range problems {
		fmt.Fprintln(os.Stderr, "warning:", problemError(&problems[i]))
	}
	if *verbose {
		fmt.Print(l.table)
	}
	fmt.Printf("ok: %s, %s%s\n", count(len(l.table.Entries()), "rule"), count(len(l.table.Ports()), "listener"), unasked(&l.Sources))
	return exitOK
}

// unasked names what announces more rules at run time.
func unasked(s *configs.Sources) string {
	var names []string
	if s.Docker != nil {
		names = append(names, "Docker")
	}
	if s.Consul != nil {
		names = append(names, "Consul")
	}
	if names == nil {
		return ""
	}
	return "; " + strings.Join(names, " and ") + " will be asked at run time"
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprint(n, " ", what)
}
