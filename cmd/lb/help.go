package main

import (
	"io"
)

const helpText = `lb routes HTTP by port, hostname and path, and balances over healthy servers.

  lb -config rules.yml [flags]   run
  lb check -config rules.yml     validate and exit 0 or 1; -v prints the rules in
                                 the order in which they are tried
  lb demo                        run with three built-in servers, on port 8000
  lb health                      ask a running lb; exit 0 if it is well
  lb match URL                   which rule takes it, and why not another: ask a
                                 running lb, or with -config the files; -X METHOD,
                                 -H 'Name: value' as with curl, -client IP
  lb version
  lb help

What to serve
  -config PATH      rules file, compose file or folder; may be repeated
  -stack NAME       the stack of the compose files (default: their folder)
  -docker           what the labels of containers say; sources.docker has more
  -consul           what services in Consul say (CONSUL_HTTP_ADDR, ...); likewise
  -swarm            what the labels of Swarm services say, asked of a manager

How to run
  -admin ADDR|off   /healthz, /metrics and /api (default 127.0.0.1:8080)
  -log-level L      debug, info, warn or error (default info)
  -log-format F     console, json or auto: console on a terminal (default auto)
  -loops N          event loops (default: one per CPU)

Signals
  HUP reload   TERM, INT drain and exit; twice: at once
  USR1 reopen the access log   USR2 hand over to a new binary

Examples
  lb -config rules.yml -admin off
  lb -config docker-compose.yml -config rancher-compose.yml
`

// help prints what there is to know about the command line.
func help(w io.Writer) int {
	_, _ = io.WriteString(w, helpText) // nobody is left to be told
	return exitOK
}
