// Command consul measures how lb does with a large catalog: how long the start
// takes until every server is in the table, how long one change takes, and what
// waiting costs. It runs a real Consul and a real lb on the loopback interface.
//
//	go build -o bin/lb ./cmd/lb && go run ./bench/consul -consul ~/.cache/lb-test/consul-v1.22.0/consul
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	consul      = flag.String("consul", "", "the Consul `binary`")
	lb          = flag.String("lb", "bin/lb", "the lb `binary`")
	services    = flag.Int("services", 1000, "services")
	instances   = flag.Int("instances", 10, "instances of each service")
	connections = flag.Int("connections", 0, "sources.consul.connections, which Consul then allows; 0: the defaults of both")
	changes     = flag.Int("changes", 20, "changes of each kind to measure")
	pause       = flag.Duration("pause", 3*time.Second, "between two changes")
	idle        = flag.Duration("idle", 20*time.Second, "how long to watch the idle CPU")
)

// The ports are apart from those of a Consul or an lb that runs already.
const (
	agent = "127.0.0.1:18500"
	admin = "127.0.0.1:18980"
	front = 18981
)

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench/consul:", err)
		os.Exit(1)
	}
}

func run() error {
	dir, err := os.MkdirTemp("", "bench-consul")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	hcl := "disable_update_check = true ports { http = 18500, server = 18501, serf_lan = 18502, serf_wan = -1, dns = -1, grpc = -1, grpc_tls = -1 }"
	more := ""
	if *connections > 0 {
		hcl += fmt.Sprintf(" limits { http_max_conns_per_client = %d }", *connections+100)
		more = fmt.Sprintf(", connections: %d", *connections)
	}
	server := exec.Command(*consul, "agent", "-dev", "-bind", "127.0.0.1", "-client", "127.0.0.1", "-log-level", "warn", "-hcl", hcl)
	if err := server.Start(); err != nil {
		return fmt.Errorf("start consul: %w", err)
	}
	defer end(server)
	if err := fill(); err != nil {
		return err
	}
	config := filepath.Join(dir, "lb.yml")
	text := fmt.Sprintf("sources: {consul: {address: %q, entry_points: {web: %d}%s}}\nadmin: {address: %q}\n",
		agent, front, more, admin)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	return measure(config)
}

func end(c *exec.Cmd) {
	_ = c.Process.Kill() // has it ended, so much the better
	_ = c.Wait()
}

// measure runs lb and prints the figures.
func measure(config string) error {
	cmd := exec.Command(*lb, "-config", config, "-log-format", "json")
	log, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start lb: %w", err)
	}
	defer end(cmd)
	lines := make(chan string, 1<<16)
	go func() { // ends with lb
		for s := bufio.NewScanner(log); s.Scan(); {
			lines <- s.Text()
		}
		close(lines)
	}()
	added := 0
	if err := await(lines, func(line string) bool {
		if strings.Contains(line, `"rule added"`) && strings.Count(line, "10.") >= *instances {
			added++
		}
		return strings.Contains(line, `"serving"`)
	}); err != nil {
		return err
	}
	fmt.Printf("start to serving: %s, with %d of %d rules complete\n", time.Since(began).Round(time.Millisecond), added, *services)
	before, err := cpu(cmd.Process.Pid)
	if err != nil {
		return err
	}
	time.Sleep(*idle)
	after, err := cpu(cmd.Process.Pid)
	if err != nil {
		return err
	}
	fmt.Printf("idle: %.2f %% of a CPU over %s\n", 100*(after-before).Seconds()/idle.Seconds(), *idle)
	for _, kind := range kinds {
		if err := change(cmd.Process.Pid, lines, kind); err != nil {
			return err
		}
	}
	return nil
}

// kind is a kind of change: what Consul is told about instance 0 of a service, and
// what is then in the line about its rule, or no more.
type kind struct {
	name  string
	told  func(service, address string) object
	there bool
}

var kinds = []kind{
	{"a new address", func(service, address string) object { return object{"Service": instance(service, 0, address)} }, true},
	{"a check that fails", func(service, address string) object {
		return object{"Check": object{"Node": "n0", "CheckID": "alive-" + service, "ServiceID": service + "-0", "Status": "critical"}}
	}, false},
	{"a check that passes", func(service, address string) object {
		return object{"Check": object{"Node": "n0", "CheckID": "alive-" + service, "ServiceID": service + "-0", "Status": "passing"}}
	}, true},
}

// change measures changes of one kind.
func change(pid int, lines <-chan string, k kind) error {
	before, err := cpu(pid)
	if err != nil {
		return err
	}
	var took []time.Duration
	for n := range *changes {
		name, address := fmt.Sprint("s", n**services / *changes), fmt.Sprintf("10.99.%d.1:80", n)
		told := k.told(name, strings.TrimSuffix(address, ":80"))
		told["Node"], told["SkipNodeUpdate"] = "n0", true
		asked := time.Now()
		if err := put("/v1/catalog/register", told); err != nil {
			return err
		}
		if err := await(lines, func(line string) bool {
			return strings.Contains(line, `"rule changed"`) && strings.Contains(line, name+".example") && strings.Contains(line, address) == k.there
		}); err != nil {
			return err
		}
		took = append(took, time.Since(asked))
		time.Sleep(*pause) // what a change brings about later is not the next one's
	}
	after, err := cpu(pid)
	if err != nil {
		return err
	}
	slices.Sort(took)
	fmt.Printf("%s, from the request to Consul to the table in use: median %s, worst %s, %s of CPU each\n", k.name,
		took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond), (after-before)/time.Duration(len(took)))
	return nil
}

// await reads lines until one is the right one.
func await(lines <-chan string, right func(string) bool) error {
	timeout := time.After(time.Minute)
	for {
		select {
		case line, open := <-lines:
			if !open {
				return fmt.Errorf("lb has ended")
			}
			if right(line) {
				return nil
			}
		case <-timeout:
			return fmt.Errorf("lb did not say what was expected within a minute")
		}
	}
}

// cpu is how long a process has run so far.
func cpu(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond, nil // in ticks, of which Linux has 100 a second
}

type object = map[string]any

func instance(service string, n int, address string) object {
	return object{"ID": fmt.Sprint(service, "-", n), "Service": service, "Tags": []string{"lb.hostname=" + service + ".example"},
		"Address": address, "Port": 80}
}

// fill registers everything, with 100 instances to a transaction.
func fill() error {
	deadline := time.Now().Add(30 * time.Second)
	for n := 0; n < *instances; n++ {
		err := put("/v1/catalog/register", object{"Node": fmt.Sprint("n", n), "Address": fmt.Sprint("10.0.0.", n+1)})
		if err != nil && n == 0 && time.Now().Before(deadline) {
			time.Sleep(100 * time.Millisecond)
			n--
			continue
		}
		if err != nil {
			return err
		}
	}
	var batch []object
	for s := range *services {
		for n := range *instances {
			batch = append(batch, object{"Service": object{"Verb": "set", "Node": fmt.Sprint("n", n),
				"Service": instance(fmt.Sprint("s", s), n, fmt.Sprintf("10.%d.%d.%d", s>>8, s&255, n+1))}})
		}
		if len(batch) > 100 || s == *services-1 {
			if err := put("/v1/txn", batch); err != nil {
				return err
			}
			batch = nil
		}
	}
	return nil
}

func put(path string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	r, err := http.NewRequest(http.MethodPut, "http://"+agent+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %d %s %v", path, answer.StatusCode, text, err)
	}
	return nil
}
