// Package configs reads what the operator wrote: rules files and a stack's own
// compose files. It decodes strictly and answers mistakes with the file, the
// line, the key and the fix.
package configs

import (
	"net/netip"
	"time"

	"go.uber.org/zap/zapcore"

	"arzur.net/lb/certs"
	"arzur.net/lb/discovery"
	"arzur.net/lb/rules"
)

// Config is the whole configuration of the program.
type Config struct {
	Rules    []rules.Rule
	Services []rules.Service

	Defaults       Defaults
	Log            Log
	AccessLog      AccessLog
	Admin          Admin
	Sources        Sources
	TrustedProxies []netip.Prefix // whose X-Forwarded-* and Forwarded fields are believed

	Certs       []certs.Files
	DefaultCert *certs.Files   // for clients that ask for a name which none is for; nil: they are refused
	ACME        *ACME          // nil: none
	TLS         certs.Settings // of all ports that speak TLS
	ClientCert  ClientCert     // how servers are told of client certificates

	// Problems is what was understood and is not in force: keys that have no
	// effect yet, a guessed service name. A Fatal one is a rule left out of Rules.
	Problems []rules.Problem
	// Files is every file that was read, for a watcher. Folders are not in it.
	Files []string
	// StackFiles are those of Files that are a stack's own compose files. What
	// is wrong with a rule there costs that rule, not the whole configuration.
	StackFiles []string
}

// Default is the configuration of an empty file.
func Default() Config {
	return Config{
		Defaults: DefaultDefaults, Log: DefaultLog, AccessLog: DefaultAccessLog, Admin: DefaultAdmin,
		Sources: Sources{DNS: discovery.DefaultDNS},
	}
}

// Defaults is what holds where a rule or a service says nothing else.
type Defaults struct {
	ConnectTimeout      time.Duration // to a server
	ResponseTimeout     time.Duration // from the request's last byte to the response head
	ResponseBodyTimeout time.Duration // between two pieces of a response body
	HeaderTimeout       time.Duration // for a whole request head, from its first byte
	BodyTimeout         time.Duration // between two pieces of a request body
	WriteTimeout        time.Duration // a client that takes nothing of its response
	KeepAliveTimeout    time.Duration // an idle client connection
	UpstreamKeepAlive   time.Duration // an idle connection to a server
	HandshakeTimeout    time.Duration // a whole TLS handshake
	UDPTimeout          time.Duration // an idle exchange of datagrams with one client
	TunnelTimeout       time.Duration // an idle tunnel (websocket)
	QueueTimeout        time.Duration // waiting for a place under max_connections
	TotalTimeout        time.Duration // one whole Exchange; 0: no limit
	DrainTimeout        time.Duration // what tunnels and long bodies get at the end

	MaxHeaderBytes   int   // request line and fields together
	MaxTargetBytes   int   // the request target
	MaxHeaderCount   int   // field lines
	MaxBodyBytes     int64 // request body; 0: no limit
	MaxConnections   int   // client connections; 0: what the descriptor limit allows
	MaxIdlePerServer int   // idle connections kept to one server, over all loops
	QueueLength      int   // waiting Exchanges per pool

	Retries     int // further Attempts after a request was sent
	RetryBudget int // retries per 100 requests of a pool

	Forwarded   bool           // send RFC 7239 Forwarded too
	RequestID   bool           // make an X-Request-Id where there is none
	DNSInterval time.Duration  // between two resolutions of a server's name
	Loops       int            // event loops; 0: one per CPU
	IOUring     bool           // collect what is sent, where the kernel can take it at once
	ErrorPages  map[int][]byte // status to HTML body, read from the files the operator named
}

// DefaultDefaults is what an empty file means.
var DefaultDefaults = Defaults{
	ConnectTimeout:      2 * time.Second,
	ResponseTimeout:     time.Minute,
	ResponseBodyTimeout: time.Minute,
	HeaderTimeout:       10 * time.Second,
	BodyTimeout:         30 * time.Second,
	WriteTimeout:        30 * time.Second,
	// The client's side outlasts the server's, as browsers reuse for about a minute.
	KeepAliveTimeout: 75 * time.Second,
	// Below the 60 s and 75 s after which common servers close, so that we close first.
	UpstreamKeepAlive: 50 * time.Second,
	HandshakeTimeout:  10 * time.Second,
	UDPTimeout:        30 * time.Second,
	TunnelTimeout:     time.Hour,
	QueueTimeout:      5 * time.Second,
	DrainTimeout:      30 * time.Second,

	MaxHeaderBytes:   32 << 10,
	MaxTargetBytes:   16 << 10,
	MaxHeaderCount:   128,
	MaxIdlePerServer: 256,
	QueueLength:      1024,

	Retries:     2,
	RetryBudget: 20,
	DNSInterval: 5 * time.Second,
	IOUring:     true,
}

// Log says what the program tells about itself.
type Log struct {
	Level  zapcore.Level
	Format string // auto, console or json; auto is console on a terminal
}

// DefaultLog is what an empty file means.
var DefaultLog = Log{Level: zapcore.InfoLevel, Format: "auto"}

// AccessLog is one line per Exchange.
type AccessLog struct {
	Path   string // a file, or "stdout"; "" is off
	Format string // json or combined
}

// DefaultAccessLog is what an empty file means.
var DefaultAccessLog = AccessLog{Format: "json"}

// Admin is the listener of the API and the metrics.
type Admin struct {
	Address string // host:port; "" is off
}

// DefaultAdmin is what an empty file means.
var DefaultAdmin = Admin{Address: "127.0.0.1:8080"}
