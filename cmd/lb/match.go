package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"

	"arzur.net/lb/admin"
	"arzur.net/lb/configs"
)

// match says which rule takes a request: 0 if it would be answered by a server
// or a redirect, at every listener that may get it. It asks a running lb, or with
// -config the files, which know nothing of labels and of the health of servers.
func match(args []string) int {
	var f flags
	var set flag.FlagSet
	var q admin.Question
	set.Var(&f.configs, "config", "")
	set.StringVar(&f.stack, "stack", "", "")
	set.StringVar(&f.admin, "admin", "", "")
	defineQuestion(&set, &q)
	err := cmp.Or(parseAround(&set, args, &q.URL), f.check())
	switch {
	case errors.Is(err, errHelp):
		return help(os.Stdout)
	case err != nil:
		return usage("match: %v", err)
	case q.URL == "":
		return usage("match: no URL; try lb match http://arzur.net:8010/blog")
	case len(f.configs) > 0 && f.admin != "":
		return usage("match: -config asks the files, -admin a running lb; take one of them out")
	}
	answers, err := f.explain(&q)
	if err != nil {
		return bad(fmt.Errorf("match: %w", err))
	}
	status := exitOK
	for i := range answers {
		fmt.Print(&answers[i])
		if !answers[i].Served() {
			status = exitBad
		}
	}
	return status
}

// defineQuestion is curl's flags, where it has them.
func defineQuestion(set *flag.FlagSet, q *admin.Question) {
	set.StringVar(&q.Method, "X", "", "")
	set.Func("H", "", func(line string) error {
		q.Header = append(q.Header, line)
		return nil
	})
	set.StringVar(&q.Client, "client", "", "")
}

// explain has the files answer, or a running lb.
func (f *flags) explain(q *admin.Question) ([]admin.Match, error) {
	if len(f.configs) > 0 {
		l, err := f.load()
		if err != nil {
			return nil, err
		}
		return admin.Explain(l.table, q, false, nil)
	}
	v := url.Values{"url": {q.URL}, "method": {q.Method}, "header": q.Header, "client": {q.Client}}
	text, err := ask(cmp.Or(f.admin, configs.DefaultAdmin.Address), "/api/match?"+v.Encode())
	if err != nil {
		return nil, err
	}
	var answers []admin.Match
	if err := json.Unmarshal([]byte(text), &answers); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return answers, nil
}
