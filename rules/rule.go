// Package rules turns what operators and labels ask for into an immutable Table
// that answers "which Entry?". It is pure: the same input gives the same Table.
package rules

import (
	"net/netip"
	"time"

	"arzur.net/lb/health"
)

// PathMatch says how a Rule's Path is compared with a request's.
type PathMatch uint8

const (
	// PathPrefix: whole segments; /foo takes /foo and /foo/bar, not /foobar.
	PathPrefix PathMatch = iota
	// PathExact: the whole path, byte for byte.
	PathExact
	// PathRegexp: an RE2 expression, unanchored, over the path.
	PathRegexp
	// PathRaw: Rancher's: a plain string prefix, case-insensitive, no segment boundary.
	PathRaw
	// PathStarts: fabio's: a plain string prefix, no segment boundary.
	PathStarts
)

// Order is the relation that puts the rules of one port into the order in which they are tried.
type Order uint8

const (
	// OrderDefault: priority, exact host, longer wildcard, no host; inside that exact path, longer path.
	OrderDefault Order = iota
	// OrderRancher: priority, then the classes host+path, host, wildcard+path, wildcard, path, default.
	OrderRancher
)

// Rule is what an operator or a label asks for: a match, options and a service.
type Rule struct {
	Name     string     // how logs and metrics call it; Compile derives one when empty
	Origin   string     // where it was written: "rules.yml:14", a container and its label, ...
	Port     uint16     // source_port
	Address  netip.Addr // bind address; the zero Addr means all, IPv4 and IPv6
	Protocol string     // one of Protocols; "" means http

	Hostname  string // exact, *.suffix, prefix.*, or "" for any
	Path      string // "" for any
	PathMatch PathMatch
	Expr      string // Traefik 3 matcher language, instead of Hostname and Path
	Priority  int    // lower first; 0 means none
	Order     Order  // OrderRancher for rules of a Rancher stack

	Service     string  // the name of a Service of the same input; "" only with Redirect
	TargetPort  uint16  // 0: same as Port
	Weight      *int    // of this rule's share when pools merge; nil: 1
	Share       float64 // fabio's: the part of the traffic that each server gets, up to MostShare; 0: an even part of what others leave. Not together with Weight.
	Divides     bool    // Weight is the part of the whole Service even if all rules of the match weigh the same, as in Traefik's weighted services
	BackendName string  // names the pool

	StripPrefix string
	AddPrefix   string
	ReplacePath string
	Rewrites    []Rewrite // after the three above, each on the result of the one before
	Redirect    *Redirect
	ServerHost  bool   // send the server's own address as Host
	ProxyIn     bool   // the port's connections begin with a PROXY protocol header, if they come from a trusted peer
	ACME        bool   // get certificates for its hostnames by ACME; with https and tls
	Refuse      string // not "": answer 503 with this reason, because the rule asks for protection that cannot be given

	RequestHeaders  HeaderEdit
	ResponseHeaders HeaderEdit
}

// MostShare is the most that a Share can be. Those above 1 leave nothing to others,
// and keep their proportion among each other.
const MostShare = 1000

// forwards says whether requests of the rule may reach a Service.
func (r *Rule) forwards() bool {
	return r.Refuse == "" && (r.Redirect == nil || r.Redirect.Pattern != "" && r.Service != "")
}

// Redirect answers with a Location instead of a backend. Empty parts stay as in the request.
type Redirect struct {
	Scheme string
	Host   string
	Port   uint16
	Path   string
	Code   int // 301, 302, 303, 307 or 308; 0 means 302

	// ByMethod takes the code from the method: 302, or 301 if Permanent, for GET
	// and HEAD; 307 or 308 for others, which keep their method and body.
	ByMethod  bool
	Permanent bool

	// Pattern and Replacement make the Location of the whole URL
	// (scheme://host[:port]/path?query). A URL that Pattern does not match is
	// served by the rule's Service, not redirected.
	Pattern     string
	Replacement string
}

// RewriteKind says how a Rewrite changes the path.
type RewriteKind uint8

const (
	// StripPrefixes removes the first of Prefixes that matches, as plain text, and
	// sends it as X-Forwarded-Prefix.
	StripPrefixes RewriteKind = iota
	// StripPrefixRegexp removes what Pattern matches at the start, likewise.
	StripPrefixRegexp
	// AddPrefix puts Replacement in front.
	AddPrefix
	// ReplacePath makes Replacement the path, and sends the old one as X-Replaced-Path.
	ReplacePath
	// ReplacePathRegexp replaces what Pattern matches, likewise.
	ReplacePathRegexp
)

// Rewrite is one edit of the path that is sent on.
type Rewrite struct {
	Kind        RewriteKind
	Prefixes    []string
	Pattern     string // RE2
	Replacement string // $1 or ${1} stand for what a group of Pattern matched
}

// HeaderEdit changes header fields: Remove first, then Set replaces, then Add appends.
type HeaderEdit struct {
	Set    []HeaderField
	Add    []HeaderField
	Remove []string
}

// HeaderField is one field of a HeaderEdit.
type HeaderField struct{ Name, Value string }

// Empty says whether the edit does nothing.
func (e *HeaderEdit) Empty() bool { return len(e.Set) == 0 && len(e.Add) == 0 && len(e.Remove) == 0 }

// WhenAllDown says what a Pool does when no Target is usable.
type WhenAllDown uint8

const (
	// Fail answers 503.
	Fail WhenAllDown = iota
	// Try picks among all Targets as if they were usable.
	Try
)

// Service is a named group of instances as a Source announced it.
type Service struct {
	Name      string // "blog", or "stack/blog"
	Origin    string
	Instances []Instance
	Balance   string // "round-robin"; "" means that
	Check     *health.Check

	MaxConnections  int           // per server, over all loops; 0: no limit
	QueueLength     int           // waiting exchanges per pool, used with MaxConnections; 0: the default
	QueueTimeout    time.Duration // how long one may wait for a place; 0: the default
	ConnectTimeout  time.Duration // 0: the default
	ResponseTimeout time.Duration // to the response head; 0: the default
	Retries         *int          // further attempts after one that was sent; nil: the default
	WhenAllDown     WhenAllDown
	TLS             *health.TLS   // how its servers are spoken to over TLS; nil: in the clear
	ProxyProtocol   ProxyProtocol // the header that its servers get before anything else
	// Hold is how long a request that no instance can take waits for one that can,
	// 0 not at all; nil: as long as the Source thinks right.
	Hold *time.Duration
}

// DefaultBalance is the policy of a Service that names none.
const DefaultBalance = "round-robin"

// Instance is one address of a Service.
type Instance struct {
	Host   string     // as written: an IP address or a DNS name
	Addr   netip.Addr // set once known: at once for an IP address, by the resolver for a name
	Port   uint16     // 0: the rule's target port
	Weight *int       // nil: 1; 0: no new traffic
	Backup bool       // used only while no other instance is usable
}

// Problem is something in the input that Compile could not or should not use.
type Problem struct {
	Origin string // of the rule or service at fault
	Other  string // origin of the second rule, when two are involved
	Rule   string // its name
	Reason string // in words, with the fix
	Fatal  bool   // the rule is not in the Table; else it is, and this is a warning
	Risk   bool   // it was asked for in words, and is in force: no error in a rules file either
}
