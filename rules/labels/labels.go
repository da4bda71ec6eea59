// Package labels turns the labels of containers and services into Rules. It
// speaks several dialects, one file each. Like package rules it is pure.
package labels

import "arzur.net/lb/rules"

// Subject is what carries labels: a container, a Swarm service, an instance of a
// Consul service.
type Subject struct {
	Name    string            // as its platform calls it, without a leading slash: "blog-1"
	Service string            // the group that it is one of, as Traefik names it: "blog-shop" for compose's service blog of project shop, else Name
	Group   string            // the same in our words: "shop/blog" for compose projects and Swarm stacks, else Name
	Project string            // compose project or Swarm stack, "" outside
	Member  string            // the service's name inside Project, "" outside
	Origin  string            // for problems: "container blog-1", "service cdn"
	Labels  map[string]string // all of them; those of others are passed over
	Ports   []uint16          // exposed TCP ports, in ascending order
	Swarm   bool              // a Swarm service: it exposes no ports, so a label has to name one
}

// Options are what a Source's configuration says for all its Subjects.
type Options struct {
	ExposedByDefault  bool
	DefaultRule       string            // Go template that makes a Traefik 3 expression of .Name, .ContainerName and .Labels; "": DefaultRule
	RuleSyntax        string            // the language of Traefik rules that do not say it, and of DefaultRule: "v3" or "v2"; "" is v3
	Domain            string            // Traefik 1: the default rule is Host:<service>.<domain>
	EntryPoints       map[string]uint16 // what entry point names mean
	DefaultEntryPoint string            // for rules that name none
	Constraints       string            // which Subjects count: an expression over Label and LabelRegex
	Shared            *Shared           // what the Subjects of the Source define for each other; nil: nothing
}

// DefaultOptions are what an empty configuration means.
var DefaultOptions = Options{
	ExposedByDefault:  true,
	DefaultRule:       "Host(`{{ normalize .Name }}`)",
	RuleSyntax:        "v3",
	EntryPoints:       map[string]uint16{"web": 80, "websecure": 443, "http": 80, "https": 443},
	DefaultEntryPoint: "web",
}

// Wants is what the labels of one Subject ask for.
type Wants struct {
	Hidden          string          // why it is not exposed, "" if it is
	Rules           []rules.Rule    // their Services are Groups, of this Subject or another of the Source
	Groups          []Group         // the services that the Subject is an instance of
	Network         string          // the network whose address is to be used
	VIP             bool            // Swarm: the virtual IP instead of the tasks
	AllowNonRunning bool            // keep the rule, without this instance, while it does not run
	Problems        []rules.Problem // labels that are not in force; Origin names Subject and label

	refusal string // not "": no rule may serve, and why
}

// Group is one service that a Subject is an instance of.
type Group struct {
	Service rules.Service // no Instances
	Port    uint16        // 0: the Subject's only exposed port, else the lowest
	Scheme  string        // "http"
	Host    string        // a fixed address instead of the Subject's own
	Weight  *int          // nil: 1

	PortLabel string // the label that says or would say Port
}
