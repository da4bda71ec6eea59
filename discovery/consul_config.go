package discovery

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"arzur.net/lb/rules/labels"
)

// ConsulConfig says where Consul is and what of it counts. What is empty is left
// to the environment that Consul's own tools know (CONSUL_HTTP_ADDR, ...), then
// to their defaults.
type ConsulConfig struct {
	Address    string // host:port or URL; "": 127.0.0.1:8500
	Scheme     string // http or https
	Token      string
	TokenFile  string // read anew for each query, so that a token can be replaced
	Datacenter string // "": the agent's
	Namespace  string
	Partition  string
	TLS        ConsulTLS

	TagPrefix     string        // of our own labels in tags and meta; "": lb
	Filter        string        // Consul's expression over instances, evaluated there
	Stale         bool          // let any server answer, one that lags by up to consulLag
	Require       string        // "passing": nothing else gets requests; "warning": that too. "": passing
	TaggedAddress string        // lan, wan, ...: which of several addresses; "": the service's
	KV            string        // prefix of the keys that hold rules; "": none
	Connections   int           // that queries about services may hold; with more services they are scouted; 0: DefaultConsulConnections
	Cache         string        // file that keeps what Consul said, for a start while it does not answer; "": none
	Register      *ConsulMyself // how the program appears in Consul; nil: not at all

	Labels labels.Options

	client *http.Client // for tests; nil: one to Address
}

// ConsulTLS is how to speak TLS with Consul; files are in PEM format.
type ConsulTLS struct {
	CA         string
	Cert, Key  string
	ServerName string
	SkipVerify bool
}

// ConsulMyself is the program as a service, which the agent checks by GET
// /healthz at Admin.
type ConsulMyself struct {
	Name       string // "": lb
	Address    string // "": its node's
	Port       uint16 // 0: Admin's
	Tags       []string
	Admin      string        // host:port of the admin listener; no host means this machine
	Interval   time.Duration // 0: 5 s
	Deregister time.Duration // Consul forgets it when it was critical for so long; 0: 10 min
}

// DefaultConsul is what an empty configuration means.
var DefaultConsul = ConsulConfig{TagPrefix: "lb", Stale: true, Require: api.HealthPassing}

// DefaultConsulConnections leaves room for a successor and for other programs below
// the 200 that an agent grants one client address (limits.http_max_conns_per_client).
const DefaultConsulConnections = 64

// Validate finds what cannot work. It reads the files of TLS.
func (c *ConsulConfig) Validate() error {
	if c.Require != "" && c.Require != api.HealthPassing && c.Require != api.HealthWarning {
		return fmt.Errorf("require %q: want passing or warning", c.Require)
	}
	if c.Token != "" && c.TokenFile != "" {
		return errors.New("token and token_file are one setting; keep one")
	}
	if err := checkConsulAddress(c.Address); err != nil {
		return fmt.Errorf("address %q: %w", c.Address, err)
	}
	if c.Cache != "" {
		if info, err := os.Stat(filepath.Dir(c.Cache)); err != nil || !info.IsDir() {
			return fmt.Errorf("cache %q: its folder does not exist", c.Cache)
		}
	}
	if err := checkTagPrefix(c.TagPrefix); err != nil {
		return fmt.Errorf("tag_prefix %q: %w", c.TagPrefix, err)
	}
	if strings.HasPrefix(c.KV, "/") {
		return fmt.Errorf("kv %q: Consul's keys begin without a slash; want %q", c.KV, strings.TrimLeft(c.KV, "/"))
	}
	if err := c.Labels.Validate(); err != nil {
		return err
	}
	_, err := c.connect()
	return err
}

// checkConsulAddress finds what api.NewClient takes and then asks in vain.
func checkConsulAddress(address string) error {
	scheme, rest, isURL := strings.Cut(address, "://")
	switch {
	case address == "":
		return nil
	case scheme == "unix" && isURL:
		if rest == "" {
			return errors.New("want unix:// and the path of a socket")
		}
		return nil
	case !isURL:
		rest = address
	}
	at, _, _ := strings.Cut(rest, "/") // a path may follow
	host, port, err := net.SplitHostPort(at)
	if isURL && err != nil {
		host, port = at, "80" // a URL need not say it
	} else if err != nil {
		return errors.New("want host:port, such as 127.0.0.1:8500, or a URL")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("want a port from 1 to 65535, got %q", port)
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil && (isURL || host != "") && !IsDNSName(host) {
		return fmt.Errorf("%q is neither a name nor an IP address", host)
	}
	return nil
}

// checkTagPrefix finds prefixes that no tag can have, or that others have.
func checkTagPrefix(prefix string) error {
	switch {
	case prefix == "traefik" || strings.HasPrefix(prefix, "urlprefix"):
		return errors.New("that is another dialect's; want a word of your own")
	case strings.HasSuffix(prefix, "."):
		return fmt.Errorf("the dot is not part of it; want %q", strings.TrimRight(prefix, "."))
	case strings.ContainsAny(prefix, " =\t"):
		return errors.New("want a word without spaces and equals signs")
	}
	return nil
}

// Client makes a client for other uses of the same Consul. Requests are to be sent
// with what token returns; "" if the client has one of its own.
func (c *ConsulConfig) Client() (client *api.Client, token func() (string, error), err error) {
	client, err = c.connect()
	return client, c.token, err
}

// connect makes a client; it does not talk to Consul yet.
func (c *ConsulConfig) connect() (*api.Client, error) {
	config := c.apiConfig()
	client, err := api.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("consul client for %q: %w", config.Address, err)
	}
	return client, nil
}

func (c *ConsulConfig) apiConfig() *api.Config {
	config := api.DefaultConfig()
	config.Address = cmp.Or(c.Address, config.Address)
	config.Scheme = cmp.Or(c.Scheme, config.Scheme)
	config.Datacenter = c.Datacenter
	config.Namespace = cmp.Or(c.Namespace, config.Namespace)
	config.Partition = cmp.Or(c.Partition, config.Partition)
	config.Token, config.TokenFile = cmp.Or(c.Token, config.Token), "" // tokenFile reads it
	config.HttpClient = c.client
	t := &config.TLSConfig
	t.CAFile = cmp.Or(c.TLS.CA, t.CAFile)
	t.CertFile, t.KeyFile = cmp.Or(c.TLS.Cert, t.CertFile), cmp.Or(c.TLS.Key, t.KeyFile)
	t.Address = cmp.Or(c.TLS.ServerName, t.Address)
	t.InsecureSkipVerify = c.TLS.SkipVerify || t.InsecureSkipVerify
	// Else many queries would each end in a new connection.
	config.Transport.MaxIdleConns, config.Transport.MaxIdleConnsPerHost = 0, c.connections()+scouts
	return config
}

// connections is how many queries about services may wait at the same time.
func (c *ConsulConfig) connections() int { return cmp.Or(c.Connections, DefaultConsulConnections) }

// tokenFile is the file that holds the token, "" if none does.
func (c *ConsulConfig) tokenFile() string {
	if c.Token != "" {
		return ""
	}
	return cmp.Or(c.TokenFile, os.Getenv(api.HTTPTokenFileEnvName))
}

// token is what the file for it says now; "" if there is no file.
func (c *ConsulConfig) token() (string, error) {
	file := c.tokenFile()
	if file == "" {
		return "", nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("token_file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		// Without a token Consul would answer that there is nothing, and not that it hides it.
		return "", fmt.Errorf("token_file: %s is empty", file)
	}
	return token, nil
}

// options are those of one query.
func (c *ConsulConfig) options() (*api.QueryOptions, error) {
	token, err := c.token()
	if err != nil {
		return nil, err
	}
	return &api.QueryOptions{Datacenter: c.Datacenter, Namespace: c.Namespace, Partition: c.Partition, Token: token}, nil
}
