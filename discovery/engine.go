package discovery

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/moby/moby/client"

	"arzur.net/lb/rules/labels"
)

// engineTime bounds one call to an Engine. Listing a thousand containers on a
// busy machine takes seconds.
const engineTime = 30 * time.Second

// DockerConfig says how to reach a Docker Engine and what the labels there mean.
// lb only reads: every call is a GET, or the HEAD of a ping.
type DockerConfig struct {
	// Endpoint is unix:///path or tcp://host:port. "" leaves it to DOCKER_HOST,
	// DOCKER_TLS_VERIFY and DOCKER_CERT_PATH; without those it is
	// unix:///var/run/docker.sock.
	Endpoint      string
	TLS           EngineTLS // with tcp://
	Network       string    // whose addresses are used where a label names none
	UseBindPortIP bool      // use the host's address and port where a port is published at one
	Labels        labels.Options

	own   func() []string                                                      // nil: ownIDs
	links func() []netip.Prefix                                                // nil: ownLinks
	dial  func(ctx context.Context, network, address string) (net.Conn, error) // nil: as Endpoint says
}

// DefaultDockerConfig is what an empty configuration means.
var DefaultDockerConfig = DockerConfig{Labels: labels.DefaultOptions}

// EngineTLS are files in PEM. The zero value is no TLS.
type EngineTLS struct {
	CA                 string // who signs the Engine's certificate; "": the system's authorities
	Cert, Key          string // of the client, both or none
	InsecureSkipVerify bool
}

// Validate says what about c can never work.
func (c *DockerConfig) Validate() error {
	if err := checkEndpoint("endpoint", c.Endpoint); err != nil {
		return err
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		return errors.New("tls: cert and key belong together; want both or none")
	}
	if c.TLS != (EngineTLS{}) {
		if u, err := url.Parse(c.Endpoint); err != nil || u.Scheme != "tcp" {
			return fmt.Errorf("tls: endpoint %q; want tcp://host:port", c.Endpoint)
		}
	}
	return c.Labels.Validate()
}

// checkEndpoint checks the address of an Engine; "" is for others to choose.
// What says where it stands.
func checkEndpoint(what, endpoint string) error {
	u, err := url.Parse(endpoint)
	switch {
	case endpoint == "":
		return nil
	case err != nil:
	case u.Scheme == "unix" && u.Path != "" && u.Host == "":
		return nil
	case u.Scheme == "tcp":
		if _, _, err := net.SplitHostPort(u.Host); err == nil {
			return nil
		}
	case u.Scheme == "ssh":
		return fmt.Errorf("%s %q: lb does not speak ssh; forward the socket with ssh -nNT -L /run/engine.sock:/var/run/docker.sock %s, and want unix:///run/engine.sock",
			what, endpoint, strings.TrimPrefix(endpoint, "ssh://"))
	}
	return fmt.Errorf("%s %q: want unix:///path or tcp://host:port", what, endpoint)
}

// CheckEnvironment says what about the environment can never work, where Endpoint
// leaves the Engine to it.
func (c *DockerConfig) CheckEnvironment() error {
	host, context := os.Getenv(client.EnvOverrideHost), os.Getenv("DOCKER_CONTEXT")
	switch {
	case c.Endpoint != "":
		return nil
	case host == "" && context != "" && context != "default":
		return fmt.Errorf("docker: DOCKER_CONTEXT %q: contexts are docker's own, and lb does not read them; set %s to its endpoint", context, client.EnvOverrideHost)
	}
	return checkEndpoint("docker: "+client.EnvOverrideHost, host)
}

// connect makes a client that speaks the newest API version that both know.
func (c *DockerConfig) connect(ctx context.Context) (*client.Client, error) {
	options := []client.Opt{client.FromEnv}
	if c.Endpoint != "" {
		options = []client.Opt{client.WithHost(c.Endpoint)}
		if c.TLS != (EngineTLS{}) {
			config, err := c.TLS.config()
			if err != nil {
				return nil, err
			}
			h := &http.Client{Transport: &http.Transport{TLSClientConfig: config}, CheckRedirect: client.CheckRedirect}
			options = append([]client.Opt{client.WithHTTPClient(h)}, options...)
		}
	} else if err := c.CheckEnvironment(); err != nil {
		return nil, err // others, such as ssh, would be tried in vain
	}
	if c.dial != nil {
		options = append(options, client.WithDialContext(c.dial))
	}
	cli, err := client.New(append(options, client.WithUserAgent("lb"))...)
	if err != nil {
		return nil, fmt.Errorf("docker: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, engineTime)
	defer cancel()
	if _, err := cli.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		_ = cli.Close()
		return nil, fmt.Errorf("docker: %w", err)
	}
	return cli, nil
}

func (t *EngineTLS) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.InsecureSkipVerify}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("docker: tls ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("docker: tls ca %q: no certificate in PEM", t.CA)
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("docker: tls cert %q: %w", t.Cert, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// remoteHost is the host of an Engine on another machine, "" for one on this.
func remoteHost(cli *client.Client) string {
	u, err := url.Parse(cli.DaemonHost())
	if err != nil || u.Scheme == "unix" {
		return ""
	}
	host := u.Hostname()
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return ""
	}
	return host
}
