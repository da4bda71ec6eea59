package discovery

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"arzur.net/lb/rules"
)

const (
	// Each answer about the catalog holds all of it, so it is not looked at more often.
	catalogPace = 250 * time.Millisecond
	servicePace = 20 * time.Millisecond
	// catalogPause is what a catalog that is suddenly empty gets to come back: a
	// server that restarts may answer before it has read all it knows.
	catalogPause = time.Second
	servicePause = 200 * time.Millisecond
)

// consulQuery is which instances are asked for.
type consulQuery struct {
	name, dc, namespace, partition string
	tags                           string // all of which they bear, joined by "&tag="
}

// String is the query as logs and problems name it: service blog@dc2?tag=v2.
func (q consulQuery) String() string {
	text := "service " + q.name
	if q.dc != "" {
		text += "@" + q.dc
	}
	var params []string
	for _, p := range [][2]string{{"ns", q.namespace}, {"partition", q.partition}, {"tag", q.tags}} {
		if p[1] != "" {
			params = append(params, p[0]+"="+p[1])
		}
	}
	if len(params) > 0 {
		text += "?" + strings.Join(params, "&")
	}
	return text
}

// tagSeparator stands between tags; it is not part of any.
const tagSeparator = "&tag="

// consulWish is a service as a rule names it.
type consulWish struct {
	name  string
	query consulQuery
}

// parseWishes reads NAME[@DATACENTER][?tag=T&ns=N&partition=P] behind ConsulPrefix.
func parseWishes(names []string) (wishes []consulWish, problems []rules.Problem) {
	for _, name := range names {
		q, err := parseWish(strings.TrimPrefix(name, ConsulPrefix))
		if err != nil {
			problems = append(problems, rules.Problem{Origin: name, Fatal: true, Reason: err.Error()})
			continue
		}
		wishes = append(wishes, consulWish{name, q})
	}
	return wishes, problems
}

func parseWish(text string) (consulQuery, error) {
	service, params, _ := strings.Cut(text, "?")
	var q consulQuery
	q.name, q.dc, _ = strings.Cut(service, "@")
	if q.name == "" {
		return q, fmt.Errorf("want consul:NAME, consul:NAME@DATACENTER or consul:NAME?tag=TAG")
	}
	values, err := url.ParseQuery(params)
	if err != nil {
		return q, fmt.Errorf("behind the question mark: %w", err)
	}
	for key, list := range values {
		switch key {
		case "tag":
			slices.Sort(list)
			q.tags = strings.Join(slices.Compact(list), tagSeparator)
		case "ns":
			q.namespace = list[0]
		case "partition":
			q.partition = list[0]
		default:
			return q, fmt.Errorf("unknown %q; want tag, ns or partition%s", key, nearest(key, "tag", "ns", "partition"))
		}
	}
	return q, nil
}

func nearest(word string, known ...string) string {
	if near := rules.NearMisses(word, known); len(near) > 0 {
		return fmt.Sprintf("; did you mean %q?", near[0])
	}
	return ""
}

// consulService is what is known of a service that matters. It is Watch's.
type consulService struct {
	cancel    context.CancelFunc
	answered  bool
	instances []consulInstance // by node and ID
	variants  []consulVariant  // of one label set each, if the catalog lists it
}

// consulInstance is one instance, those that get no requests included: their
// labels still make rules.
type consulInstance struct {
	id      string // node and ID
	serving bool
	host    string
	port    uint16
	weight  int
	text    string // the labels; equal texts are equal labels
	labels  map[string]string
}

func (i *consulInstance) same(o *consulInstance) bool {
	a, b := *i, *o
	return a.id == b.id && a.serving == b.serving && a.host == b.host && a.port == b.port && a.weight == b.weight && a.text == b.text
}

// loses says whether an address gets no requests any more.
func loses(before, now []consulInstance) bool {
	return slices.ContainsFunc(before, func(b consulInstance) bool {
		return b.serving && !slices.ContainsFunc(now, func(n consulInstance) bool {
			return n.serving && n.host == b.host && n.port == b.port
		})
	})
}

// followCatalog keeps an eye on which services there are.
func (w *consulWatch) followCatalog() {
	first := true
	var last []string
	ask(w.ctx, w, question[map[string][]string]{
		what: "catalog",
		ask:  w.client.Catalog().Services,
		wipes: func(services map[string][]string) bool {
			return len(last) > 0 && len(w.routed(services)) == 0
		},
		pause: catalogPause,
		pace:  catalogPace,
		use: func(services map[string][]string) {
			names := w.routed(services)
			if slices.Equal(names, last) && !first {
				return
			}
			last = names
			w.tell(func() {
				w.heard(&first)
				w.catalog = names
				w.watchServices()
			})
		},
		fail: func() { w.tell(func() { w.heard(&first) }) },
	})
}

// routed are those services of the catalog that matter, sorted.
func (w *consulWatch) routed(services map[string][]string) (names []string) {
	for name, tags := range services {
		if name == "consul" {
			continue // Consul's own servers
		}
		if w.Config.Labels.ExposedByDefault || slices.ContainsFunc(tags, w.Config.routes) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// followService keeps an eye on the instances of one service.
func (w *consulWatch) followService(ctx context.Context, q consulQuery, s *consulService) {
	had := false
	health := w.client.Health()
	ask(ctx, w, question[[]*api.ServiceEntry]{
		what:  q.String(),
		slots: w.slots,
		ask: func(o *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) {
			o.Datacenter = cmp.Or(q.dc, o.Datacenter)
			o.Namespace = cmp.Or(q.namespace, o.Namespace)
			o.Partition = cmp.Or(q.partition, o.Partition)
			o.Filter = w.Config.Filter
			var tags []string
			if q.tags != "" {
				tags = strings.Split(q.tags, tagSeparator)
			}
			return health.ServiceMultipleTags(url.PathEscape(q.name), tags, false, o)
		},
		wipes: func(entries []*api.ServiceEntry) bool { return had && len(entries) == 0 },
		pause: servicePause,
		pace:  servicePace,
		use: func(entries []*api.ServiceEntry) {
			had = len(entries) > 0
			instances := w.Config.instances(entries)
			w.tell(func() {
				if s.answered && slices.EqualFunc(s.instances, instances, func(a, b consulInstance) bool { return a.same(&b) }) {
					return
				}
				w.urgent = w.urgent || loses(s.instances, instances)
				s.answered, s.instances = true, instances
				s.group(q.name)
				w.news = true
			})
		},
		fail: func() { w.tell(func() { s.answered = true }) },
	})
}

// instances reads an answer.
func (c *ConsulConfig) instances(entries []*api.ServiceEntry) []consulInstance {
	list := make([]consulInstance, 0, len(entries))
	heaviest := 0
	for _, e := range entries {
		if e.Node == nil || e.Service == nil || e.Service.Kind != api.ServiceKindTypical {
			continue // a sidecar or gateway speaks TLS with certificates of its own
		}
		i := consulInstance{id: e.Node.Node + "/" + e.Service.ID, labels: c.labelsOf(e.Service)}
		i.text = c.labelText(i.labels)
		i.host, i.port = c.address(e)
		i.serving, i.weight = c.judge(e)
		heaviest = max(heaviest, i.weight)
		list = append(list, i)
	}
	for i := range list {
		list[i].weight = scaled(list[i].weight, heaviest)
	}
	slices.SortFunc(list, func(a, b consulInstance) int { return strings.Compare(a.id, b.id) })
	return list
}

// judge says whether an instance gets requests, and with which weight.
func (c *ConsulConfig) judge(e *api.ServiceEntry) (serving bool, weight int) {
	weights := e.Service.Weights
	if weights == (api.AgentWeights{}) {
		weights = api.AgentWeights{Passing: 1, Warning: 1} // registered without: the agent's default
	}
	switch e.Checks.AggregatedStatus() {
	case api.HealthPassing:
		return true, weights.Passing
	case api.HealthWarning:
		return c.Require == api.HealthWarning, weights.Warning
	}
	return false, 0
}

// maxWeight is the heaviest that a target can be.
const maxWeight = 256

// scaled fits a weight of Consul, up to 65535, into ours.
func scaled(weight, heaviest int) int {
	if heaviest <= maxWeight || weight == 0 {
		return weight
	}
	return max(1, weight*maxWeight/heaviest)
}

// address is the service's, else its node's; a tagged one where it exists.
func (c *ConsulConfig) address(e *api.ServiceEntry) (host string, port uint16) {
	host, number := cmp.Or(e.Service.Address, e.Node.Address), e.Service.DefaultPort()
	if tagged, there := e.Service.TaggedAddresses[c.TaggedAddress]; there && tagged.Address != "" {
		host, number = tagged.Address, cmp.Or(tagged.Port, number)
	} else if node := e.Node.TaggedAddresses[c.TaggedAddress]; node != "" && e.Service.Address == "" {
		host = node
	}
	if number < 0 || number > 65535 {
		number = 0
	}
	return host, uint16(number)
}

// instance is i as a Service lists it.
func (i *consulInstance) instance() rules.Instance {
	r := rules.Instance{Host: i.host, Port: i.port, Weight: &i.weight}
	if addr, err := netip.ParseAddr(i.host); err == nil && addr.Zone() == "" {
		r.Addr = addr.Unmap()
	}
	return r
}
