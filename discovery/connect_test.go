package discovery

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules/labels"
)

func TestDockerConfig_Validate(t *testing.T) {
	f := func(c DockerConfig, want string) {
		t.Helper()
		c.Labels = labels.DefaultOptions
		if err := c.Validate(); want != "" {
			require.ErrorContains(t, err, want)
		} else {
			require.NoError(t, err)
		}
	}
	f(DockerConfig{}, "")
	f(DockerConfig{Endpoint: "unix:///var/run/docker.sock"}, "")
	f(DockerConfig{Endpoint: "tcp://10.0.0.1:2375"}, "")
	f(DockerConfig{Endpoint: "tcp://[::1]:2376", TLS: EngineTLS{Cert: "a", Key: "b"}}, "")
	f(DockerConfig{Endpoint: "tcp://10.0.0.1"}, "want unix:///path or tcp://host:port")
	f(DockerConfig{Endpoint: "unix://"}, "want unix:///path or tcp://host:port")
	f(DockerConfig{Endpoint: "ssh://host:22"}, "lb does not speak ssh; forward the socket")
	f(DockerConfig{Endpoint: "/var/run/docker.sock"}, "want unix:///path or tcp://host:port")
	f(DockerConfig{Endpoint: "tcp://10.0.0.1:2376", TLS: EngineTLS{Key: "b"}}, "cert and key belong together")
	f(DockerConfig{TLS: EngineTLS{CA: "a"}}, "want tcp://host:port")
}

// reach says whether a Docker gets to an Engine.
func reach(t *testing.T, c DockerConfig) error {
	t.Helper()
	c.Labels = labels.DefaultOptions
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	published := false
	err := (&Docker{DockerConfig: c}).Watch(ctx, func(Snapshot) {
		published = true
		cancel()
	})
	require.Equal(t, err == nil, published)
	return err
}

// serveEngine serves a fake Engine on a listener.
func serveEngine(t *testing.T, l net.Listener) {
	t.Helper()
	e := &fakeEngine{t: t, containers: make(map[string]*fakeContainer), streams: make(map[chan object]bool), asked: make(map[string]int)}
	server := &http.Server{Handler: e, ErrorLog: log.New(io.Discard, "", 0)} // clients fail on purpose
	done := make(chan struct{})
	go func() { // ends with Close
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		<-done
	})
}

func TestDockerConfig_UnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	serveEngine(t, l)
	require.NoError(t, reach(t, DockerConfig{Endpoint: "unix://" + path}))
	t.Setenv("DOCKER_HOST", "unix://"+path)
	require.NoError(t, reach(t, DockerConfig{}))
	t.Setenv("DOCKER_HOST", "unix://"+path+"-missing")
	require.ErrorContains(t, reach(t, DockerConfig{}), "docker: ")
	require.NoError(t, reach(t, DockerConfig{Endpoint: "unix://" + path}), "what is written counts")
	t.Setenv("DOCKER_HOST", "npipe:////./pipe/docker_engine")
	require.EqualError(t, reach(t, DockerConfig{}), `docker: DOCKER_HOST "npipe:////./pipe/docker_engine": want unix:///path or tcp://host:port`)
	t.Setenv("DOCKER_HOST", "ssh://host")
	require.EqualError(t, reach(t, DockerConfig{}), `docker: DOCKER_HOST "ssh://host": lb does not speak ssh; `+
		"forward the socket with ssh -nNT -L /run/engine.sock:/var/run/docker.sock host, and want unix:///run/engine.sock")
	t.Setenv("DOCKER_CONTEXT", "far")
	t.Setenv("DOCKER_HOST", "unix://"+path)
	require.NoError(t, reach(t, DockerConfig{}), "as for docker itself DOCKER_HOST counts before a context")
	t.Setenv("DOCKER_HOST", "")
	require.ErrorContains(t, reach(t, DockerConfig{}), `docker: DOCKER_CONTEXT "far": contexts are docker's own`)
	require.NoError(t, reach(t, DockerConfig{Endpoint: "unix://" + path}), "what is written counts")
}

func TestDockerConfig_TLS(t *testing.T) {
	dir := t.TempDir()
	pool, pair := certificates(t, dir)
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	serveEngine(t, tls.NewListener(plain, &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}))
	endpoint := "tcp://" + plain.Addr().String()
	file := func(name string) string { return filepath.Join(dir, name+".pem") }
	good := EngineTLS{CA: file("ca"), Cert: file("cert"), Key: file("key")}

	require.NoError(t, reach(t, DockerConfig{Endpoint: endpoint, TLS: good}))
	require.ErrorContains(t, reach(t, DockerConfig{Endpoint: endpoint, TLS: EngineTLS{CA: good.CA}}), "docker: ")
	require.ErrorContains(t, reach(t, DockerConfig{Endpoint: endpoint, TLS: EngineTLS{Cert: good.Cert, Key: good.Key}}), "unknown authority")
	require.NoError(t, reach(t, DockerConfig{Endpoint: endpoint, TLS: EngineTLS{Cert: good.Cert, Key: good.Key, InsecureSkipVerify: true}}))
	require.ErrorContains(t, reach(t, DockerConfig{Endpoint: endpoint, TLS: EngineTLS{CA: file("missing")}}), "no such file")
	require.ErrorContains(t, reach(t, DockerConfig{Endpoint: endpoint, TLS: EngineTLS{CA: file("key")}}), "no certificate in PEM")

	t.Setenv("DOCKER_HOST", endpoint)
	t.Setenv("DOCKER_CERT_PATH", dir)
	t.Setenv("DOCKER_TLS_VERIFY", "1")
	require.NoError(t, reach(t, DockerConfig{}))
}

// certificates writes ca.pem, cert.pem and key.pem: one certificate for all.
func certificates(t *testing.T, dir string) (*x509.CertPool, tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "engine"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	secret := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	for name, text := range map[string][]byte{"ca": cert, "cert": cert, "key": secret} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".pem"), text, 0o600))
	}
	pair, err := tls.X509KeyPair(cert, secret)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(cert))
	return pool, pair
}
