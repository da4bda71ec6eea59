package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"arzur.net/lb/configs"
)

// askPatience is how long a running lb may take to say how it is: less than the
// 3 s that the Dockerfile gives `lb health`.
const askPatience = 2 * time.Second

// askHealth asks a running lb how it is; 0 if it is well. Where its admin
// listener is says -admin, else -config, else the default.
func askHealth(args []string) int {
	var f flags
	var set flag.FlagSet
	f.defineConfig(&set)
	set.StringVar(&f.admin, "admin", "", "")
	if err := cmp.Or(parse(&set, args), f.check()); errors.Is(err, errHelp) {
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
	text, err := ask(address, "/healthz")
	if err != nil {
		return bad(fmt.Errorf("health: %w", err))
	}
	fmt.Println(text)
	return exitOK
}

// ask has the admin listener at address, where no host means this one, answer a
// GET. A status that is not 200 is an error with its text.
func ask(address, path string) (string, error) {
	if address == "" || address == "off" {
		return "", errors.New("the admin listener is off; nobody can be asked")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err // check has let it pass
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	client := http.Client{Timeout: askPatience}
	answer, err := client.Get("http://" + net.JoinHostPort(host, port) + path)
	if err != nil {
		if e := (*url.Error)(nil); errors.As(err, &e) && !e.Timeout() {
			err = e.Err // which names the address
		}
		return "", fmt.Errorf("%w; is lb running, and is that its admin listener? -admin says where it is", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 16<<20))
	text := strings.TrimSpace(string(body))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", answer.StatusCode, text)
	}
	return text, err
}
