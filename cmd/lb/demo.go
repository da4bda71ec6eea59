package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/valyala/fasthttp"

	"arzur.net/lb/configs"
)

// demo serves configs/demo.yml, its servers included.
func demo(args []string) int {
	var f flags
	var set flag.FlagSet
	f.defineRun(&set)
	err := parse(&set, args)
	if err == nil {
		err = f.check()
	}
	if errors.Is(err, errHelp) {
		return help(os.Stdout)
	} else if err != nil {
		return usage("demo: %v", err)
	}
	l, err := f.loadDemo()
	if err != nil {
		return bad(err)
	}
	for _, service := range l.Services {
		for i, server := range service.Instances {
			at := fmt.Sprintf("%s:%d", server.Host, server.Port)
			if err := answerAs(fmt.Sprintf("%s-%d", service.Name, i+1), at); err != nil {
				return bad(err)
			}
		}
	}
	for _, r := range l.Rules {
		fmt.Printf("Three servers and a load balancer are running. Try, a few times:\n\n  curl http://127.0.0.1:%d/\n\n", r.Port)
	}
	return serve(&f, f.loadDemo)
}

func (f *flags) loadDemo() (*loaded, error) {
	c, err := configs.Parse("demo.yml", configs.Demo)
	if err != nil {
		return nil, err
	}
	return f.judge(c)
}

// answerAs starts a server that answers with its name, for as long as the
// program runs.
func answerAs(name, address string) error {
	l, err := net.Listen("tcp4", address)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("demo: %s is in use by another program, perhaps another demo; stop it (`ss -ltnp` says which), as the demo needs ports 8000 to 8003", address)
		}
		return fmt.Errorf("demo server %s: %w", name, err)
	}
	s := &fasthttp.Server{
		Name:    name,
		Handler: func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString(name + "\n") },
	}
	go func() { _ = s.Serve(l) }() // ends with the program, and has nobody to tell
	return nil
}
