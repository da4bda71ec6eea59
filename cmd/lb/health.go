package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"arzur.net/lb/configs"
)

// healthPatience is how long a running lb may take to say how it is: less than
// the 3 s that the Dockerfile gives this command.
const healthPatience = 2 * time.Second

// askHealth asks a running lb how it is; 0 if it is well. Where its admin
// listener is says -admin, else -config, else the default.
func askHealth(args []string) int {
	var f flags
	var set flag.FlagSet
	f.defineConfig(&set)
	set.StringVar(&f.admin, "admin", "", "")
	if err := parse(&set, args); errors.Is(err, errHelp) {
		return help(os.Stdout)
	} else if err != nil {
		return usage("health: %v", err)
	}
	address := f.admin
	if address == "" {
		address = configs.DefaultAdmin.Address
		if len(f.configs) > 0 {
			c, err := configs.Load(f.configs, f.stack)
			if err != nil {
				return bad(err)
			}
			address = c.Admin.Address
		}
	}
	text, err := get(address)
	if err != nil {
		return bad(err)
	}
	fmt.Println(text)
	return exitOK
}

// get asks the admin listener at address, where no host means this one.
func get(address string) (string, error) {
	if address == "" || address == "off" {
		return "", errors.New("health: the admin listener is off; nobody can be asked")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("health: -admin %q: %w", address, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	client := http.Client{Timeout: healthPatience}
	answer, err := client.Get("http://" + net.JoinHostPort(host, port) + "/healthz")
	if err != nil {
		return "", fmt.Errorf("health: %w", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	text := strings.TrimSpace(string(body))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("health: status %d: %s", answer.StatusCode, text)
	}
	return text, err
}
